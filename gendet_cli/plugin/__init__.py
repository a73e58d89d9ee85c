"""Hooks, the registry, and the API that plugin authors import."""
