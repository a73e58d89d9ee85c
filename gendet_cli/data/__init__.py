"""Data layouts, the feature store and degradations."""
