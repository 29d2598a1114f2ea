"""Floor 4: the classes people use."""
