"""Floor 1: replies, extensions, parameters, commands and content as bytes."""
