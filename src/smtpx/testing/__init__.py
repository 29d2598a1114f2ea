"""A test kit: an embedded mail server, strict or faulty as you please, and a script player."""
