"""Who gets which connection, and when."""
