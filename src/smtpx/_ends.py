"""What is raised by the caller's own code, and would be taken for the end of ours (PEP 479)."""

from __future__ import annotations

__all__ = ["no_end"]

_ENDS = (StopIteration, StopAsyncIteration)


def no_end(error: BaseException, whose: str) -> BaseException:
    """The same error, or what stands for it where it means the end of a generator.

    Python itself puts a `RuntimeError` in its place, on which nothing hangs of what was to be told.
    So we do that, wherever code of the caller's has run, and before anything is hung on it.
    """
    if not isinstance(error, _ENDS):
        return error
    said = f": {error}" if error.args else ""
    other = RuntimeError(f"{whose} raised {type(error).__name__}{said}")
    other.__cause__ = error
    return other
