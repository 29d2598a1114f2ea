"""What holds for every test."""

import hypothesis

pytest_plugins = ["tests.secrecy"]

# How long an example takes says more about the machine than about us.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
