"""Rows to CSV, JSON, JSONL and tables."""
