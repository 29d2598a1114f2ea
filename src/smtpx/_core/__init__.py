"""Floor 2: the connection and its procedures, without I/O."""
