"""The paper and nothing else: networks, losses, schedule."""
