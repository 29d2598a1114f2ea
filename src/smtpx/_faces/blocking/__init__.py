"""The blocking face: one thread for each call."""
