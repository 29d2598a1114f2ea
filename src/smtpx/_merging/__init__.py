"""What a template is made of: fields in a text, in a header, in a body."""
