"""A report value to text: CSV, JSON, JSONL and the terminal's table. Reads and writes nothing itself."""
