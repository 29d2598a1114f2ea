"""What composing is made of: field bodies, parts, and plain text out of HTML."""
