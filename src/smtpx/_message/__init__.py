"""A message: its header read and written, its parts encoded, and all of it as octets."""
