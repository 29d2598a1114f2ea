"""Many messages over one session, pipelined across messages."""
