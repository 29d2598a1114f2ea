"""What is wrong with the rows of a table: each kind is told once, with its first row."""

from __future__ import annotations

from smtpx.cli._console import Console, counted, printable
from smtpx.cli._exits import Exit, Stop

__all__ = ["RowProblems"]

_MOST = 10


class RowProblems:
    """Found while the rows are looked at, and told after the last of them."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}
        self._end: Stop | None = None

    def add(self, where: str, why: str) -> None:
        """Note what is wrong with a row."""
        first, count = self._found.get(why, (where, 0))
        self._found[why] = first, count + 1

    def stop(self, stop: Stop) -> None:
        """Note why no further row can be read."""
        self._end = stop

    def tell(self, console: Console) -> None:
        """Tell the first of them.

        Raises:
            Stop: there are any.
        """
        told = [self._sentence(why) for why in self._found]
        if self._end is not None:
            if not told:
                raise self._end
            told.insert(0, str(self._end))
        if not told:
            return
        if len(told) == 1:
            raise Stop(told[0], Exit.CONTENT_REFUSED)
        for sentence in told[:_MOST]:
            console.problem(printable(sentence))
        rows = counted(sum(count for _, count in self._found.values()), "row")
        more = len(told) - _MOST
        rest = f", and {counted(more, 'problem')} more are not listed" if more > 0 else ""
        raise Stop(f"{rows} cannot be merged{rest}: nothing was sent", Exit.CONTENT_REFUSED)

    def _sentence(self, why: str) -> str:
        where, count = self._found[why]
        others = f" (and {counted(count - 1, 'other row')})" if count > 1 else ""
        return f"{where}: {why}{others}"
