"""What composing is made of: arguments, parts, and plain text out of HTML."""
