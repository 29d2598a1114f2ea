"""How long sentences are: ``python -m tools.prose FILE …`` lists those of more than 25 words.

And those that speak of *who* does something, without a noun.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LIMIT", "long_sentences", "nameless", "sentences"]

LIMIT = 25
"""Words that a sentence has at most."""

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"`[^`]*`")
# What ends by a full stop and is no end of a sentence.
_SHORT = re.compile(r"\b(e\.g|i\.e|etc|vs)\.")
_END = re.compile(r"(?<=[.!?])\s+(?=[\w*])| · ")
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=\|)")
# What nobody reads: code, comments, where links lead, and tags.
_UNREAD = re.compile(r"^```.*?^```$|^<!--.*?-->$|^\[[^\]]+\]: .*?$|</?a\b[^>]*>", re.M | re.S)
_NAMELESS = re.compile(
    r"(?:^W|[:;] w)ho(?:ever)?\b(?! (?:we|you)\b)(?=.*\.$)|\b(?:of|for|to|than) who\b"
)
# A list of names is looked through, and not read word by word.
_NAMES = re.compile(r"code(?:, code)+")
_WORD = re.compile(r"\w[\w'’./-]*")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a page: of its paragraphs, items and cells, without code."""
    text = re.sub(r"^(#+ .*)$", r"\1\n", _UNREAD.sub("", text), flags=re.M)
    for block in _BLOCK.split(text):
        if set(block.strip()) <= set("|-: "):
            continue
        for cell in block.split("|") if block.lstrip().startswith("|") else [block]:
            plain = _CODE.sub("code", _LINK.sub(r"\1", " ".join(cell.split())))
            plain = _NAMES.sub("code", plain)
            plain = re.sub(r"^#+ |^(?:[-*]|\d+\.) |\*\*", "", _SHORT.sub(r"\1", plain))
            yield from filter(None, _END.split(plain))


def long_sentences(text: str) -> list[tuple[int, str]]:
    """Those with more words than `LIMIT`, with how many they have."""
    counted = [(len(_WORD.findall(each)), each) for each in sentences(text)]
    return [(count, each) for count, each in counted if count > LIMIT]


def nameless(text: str) -> list[str]:
    """Those that speak of *who* does something, and give him no noun."""
    return [each for each in sentences(text) if _NAMELESS.search(each)]


def _main(names: list[str]) -> int:
    found = 0
    for name in names:
        text = Path(name).read_text(encoding="utf-8")
        whole = [each for each in sentences(text) if each.endswith((".", "!", "?"))]
        counts = [len(_WORD.findall(each)) for each in whole]
        mean = sum(counts) / max(1, len(counts))
        longest = max(counts, default=0)
        print(f"{name}: {len(counts)} sentences of {mean:.1f} words, the longest {longest}")
        for count, sentence in long_sentences(text):
            print(f"  {count} words: {sentence}")
            found += 1
        for sentence in nameless(text):
            print(f"  who? {sentence}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
