"""What holds for every test."""

import signal

import hypothesis

pytest_plugins = ["tests.secrecy", "pytester"]

# How long an example takes says more about the machine than about us.
hypothesis.settings.register_profile("untimed", deadline=None, max_examples=30)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("untimed")

# Who runs the tests in the background has them ignore Ctrl-C, and what they start as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    _ = signal.signal(signal.SIGINT, signal.default_int_handler)
