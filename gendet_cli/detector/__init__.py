"""Weights on disk to calibrated scores."""
