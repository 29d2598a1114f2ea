"""Many rounds in several processes, and the figure that they come to."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from tests.certainty.plans import FACES, WORLDS, plan

ROOT = Path(__file__).parents[2]


def worlds_here() -> tuple[str, ...]:
    """The asynchronous worlds that are installed."""
    return tuple(world for world in WORLDS if find_spec(world) is not None)


def seeds(first: int, theme: str = "", faces: tuple[str, ...] = FACES) -> Iterator[int]:
    """The rounds of a run; only those with one theme, if that is asked for."""
    every = count(first * 1_000_000)
    return (seed for seed in every if not theme or plan(seed, faces, worlds_here()).theme == theme)


@dataclass(slots=True)
class Ledger:
    """What the rounds came to."""

    rounds: int = 0
    messages: int = 0
    recipients: int = 0
    excused: int = 0
    words: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    seeds: dict[str, list[int]] = field(default_factory=dict)
    """By kind of violation, the rounds in which there was one."""
    by_face: Counter[str] = field(default_factory=Counter)

    def add(self, report: dict[str, Any]) -> None:
        self.rounds += 1
        self.messages += report["messages"]
        self.recipients += report["recipients"]
        self.excused += report["excused"]
        self.words.update(report["words"])
        self.by_face[report["face"]] += report["messages"]
        for kind, _ in report["violations"]:
            self.kinds[kind] += 1
            seeds = self.seeds.setdefault(kind, [])
            if report["seed"] not in seeds:
                seeds.append(report["seed"])

    def __str__(self) -> str:
        lines = [f"{number:6} messages by {face}" for face, number in self.by_face.most_common()]
        lines += [
            f"{number:6} × {kind}, in {len(self.seeds[kind])} rounds: {self.seeds[kind][:8]}"
            for kind, number in self.kinds.most_common()
        ]
        lines += [f"{number:6} told {word}" for word, number in self.words.most_common()]
        violations = self.kinds.total()
        lines.append(f"{self.excused:6} untrue words excused: the server lied")
        lines.append(
            f"{self.messages} messages, {self.recipients} recipients, {violations} violations"
        )
        return "\n".join(lines)


def run(
    seeds: Iterable[int],
    *,
    messages: int,
    faces: tuple[str, ...] = FACES,
    workers: int = 2,
    plant: str = "",
    tell: Callable[[str], object] = lambda text: None,
    in_full: bool = False,
    keep: Path | None = None,
    until: tuple[str, ...] = (),
    ledgers: str = "",
) -> Ledger:
    """Run rounds until there were so many messages, or such a violation; tell of each round."""
    tally = Ledger()
    lock = threading.Lock()
    source = iter(seeds)

    def next_seed() -> int | None:
        with lock:
            enough = tally.messages >= messages or not tally.kinds.keys().isdisjoint(until)
            return None if enough else next(source, None)

    def work() -> None:
        while (seed := next_seed()) is not None:
            with Process(faces, plant, ledgers) as process:
                while seed is not None:
                    report = process.run(seed)
                    with lock:
                        tally.add(report)
                        tell(shown(report, in_full=in_full))
                        if keep is not None and report["violations"]:
                            keep.mkdir(parents=True, exist_ok=True)
                            _ = (keep / str(seed)).write_text(shown(report, in_full=True))
                    if report.get("dead"):
                        break
                    seed = next_seed()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def shown(report: dict[str, Any], *, in_full: bool) -> str:
    """A line for each round, and more for one that failed."""
    found = report["violations"]
    line = f"{report['seed']}: {report['plan']}: {len(found)} violations in {report['seconds']} s"
    lines = [line]
    for kind, each in Counter(kind for kind, _ in found).items():
        of_kind = [what for other, what in found if other == kind]
        lines.append(f"    {each} × {kind}: " + "; ".join(of_kind[: 100 if in_full else 2]))
    if in_full:
        lines += ["    " + each for each in report["transcript"]]
    return "\n".join(lines)


class Process:
    """One that runs rounds."""

    def __init__(self, faces: tuple[str, ...], plant: str, ledgers: str) -> None:
        self._faces = faces
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        command = [sys.executable, "-m", "tests.certainty", "--work", "--faces", ",".join(faces)]
        self._process = subprocess.Popen(
            [*command, "--plant", plant, "--ledgers", ledgers],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *failure: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        _ = self._process.wait(30)
        self._errors.close()

    def run(self, seed: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(seed, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        planned = plan(seed, self._faces, worlds_here())
        if line:
            return {**json.loads(line), "face": planned.face}
        _ = self._process.wait(30)
        self._errors.seek(0)
        what = self._errors.read()
        kind = "a hang" if "Timeout (" in what else "the end of the process"
        return {
            "seed": seed,
            "plan": str(planned),
            "face": planned.face,
            "messages": planned.count,
            "recipients": 0,
            "excused": 0,
            "words": {},
            "seconds": 0,
            "violations": [[kind, what[-6000:]]],
            "transcript": [],
            "dead": True,
        }
