"""How long sentences are: ``python -m tools.prose FILE …`` lists those of more than 25 words."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LIMIT", "long_sentences", "sentences"]

LIMIT = 25
"""Words that a sentence has at most."""

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"`[^`]*`")
# What ends by a full stop and is no end of a sentence.
_SHORT = re.compile(r"\b(e\.g|i\.e|etc|vs)\.")
_END = re.compile(r"(?<=[.!?])\s+(?=\w)| · ")
_WORD = re.compile(r"\w[\w'’./-]*")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a page: of its paragraphs, items and cells, without code."""
    text = re.sub(r"^```.*?^```$|^<!--.*?-->$", "\n", text, flags=re.MULTILINE | re.DOTALL)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=\|)", text):
        if set(block.strip()) <= set("|-: "):
            continue
        for cell in block.split("|") if block.lstrip().startswith("|") else [block]:
            plain = _CODE.sub("code", _LINK.sub(r"\1", " ".join(cell.split())))
            plain = re.sub(r"^#+ |^(?:[-*]|\d+\.) |\*\*", "", _SHORT.sub(r"\1", plain))
            yield from filter(None, _END.split(plain))


def long_sentences(text: str) -> list[tuple[int, str]]:
    """Those with more words than `LIMIT`, with how many they have."""
    counted = [(len(_WORD.findall(each)), each) for each in sentences(text)]
    return [(count, each) for count, each in counted if count > LIMIT]


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
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
