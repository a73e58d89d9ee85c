"""A name to pixels: find, read, decode, prepare."""
