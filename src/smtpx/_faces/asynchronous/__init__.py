"""The asynchronous face: one task for each call, of asyncio or of trio."""
