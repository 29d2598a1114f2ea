"""Floor 3: answers the steps of a procedure from a real transport."""
