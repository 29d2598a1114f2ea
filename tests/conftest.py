"""What holds for every test."""

import gc
import signal
import sys
from collections.abc import Iterator

import hypothesis
import pytest

pytest_plugins = ["tests.secrecy", "pytester"]

# How long an example takes says more about the machine than about us.
hypothesis.settings.register_profile("untimed", deadline=None, max_examples=30)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("untimed")

# Who runs the tests in the background has them ignore Ctrl-C, and what they start as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    _ = signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection() -> None:
    """What twenty thousand tests are made of is no garbage, and nobody need look for any."""
    gc.disable()


def pytest_collection_finish() -> None:
    """No collection of garbage looks at them later, either: one would take 0.3 seconds."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module")
def nothing_is_kept_of_an_interrupted_finaliser() -> Iterator[None]:
    """pytest keeps its exception, and with its frames the places and sockets that they had.

    Nor does the next module's first test fail for what is collected in it.
    """
    _ = gc.collect()
    gc.freeze()  # These tests collect garbage a thousand times.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "unraisablehook", lambda _: None)
        yield
        _ = gc.collect()
