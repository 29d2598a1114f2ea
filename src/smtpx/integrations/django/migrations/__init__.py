"""What Django notes of the models; the tables are the outbox's own."""
