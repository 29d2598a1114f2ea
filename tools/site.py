"""The site: ``python -m tools.site`` builds it, ``python -m tools.site serve`` shows it.

The pages are plain Markdown that GitHub shows. They are gathered into one folder first, so that
README, changes and the like are pages among them. Zensical draws them, and stops at a link or an
anchor that leads nowhere. What it drew is then looked at: nothing in it may ask another host for
anything, and every public name must be in it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from tools import reference

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "build" / "site-source"
SITE = ROOT / "build" / "site"
PROJECT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md")
"""Pages that stand in the project's own folder; README is the first page of the site."""

_LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def pages() -> list[tuple[str, str]]:
    """The pages in the order of the navigation, each as (section, path in the site's source)."""
    settings = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    return list(_pages("", settings["project"]["nav"]))


def _pages(section: str, entries: list[Any]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if isinstance(entry, str):
            yield section, entry
            continue
        ((title, inner),) = entry.items()
        if isinstance(inner, str):
            yield section, inner
        else:
            yield from _pages(title, inner)


def gather(source: Path = SOURCE) -> None:
    """Write what Zensical reads: only what has changed, so that it sees what has."""
    written = set[Path]()
    for path in _inputs():
        target = source / _place(path)
        octets = path.read_bytes()
        if path.suffix == ".md":
            text = re.sub(rf"(?m)^.*\b{reference.GITHUB}\b.*\n", "", octets.decode("utf-8"))
            octets = _placed(text, path).encode("utf-8")
        if not target.exists() or target.read_bytes() != octets:
            target.parent.mkdir(parents=True, exist_ok=True)
            _ = target.write_bytes(octets)
        written.add(target)
    for old in source.rglob("*"):
        if old.is_file() and old not in written:
            old.unlink()


def _inputs() -> Iterator[Path]:
    yield from (ROOT / name for name in (*PROJECT, "LICENSE", "zensical.toml"))
    for folder, pattern in (("docs", "*"), ("examples", "*.py")):
        yield from (path for path in (ROOT / folder).rglob(pattern) if path.is_file())


def _place(path: Path) -> PurePosixPath:
    inside = PurePosixPath(path.relative_to(ROOT).as_posix())
    if inside.parts[0] == "docs":
        return inside.relative_to("docs")
    return PurePosixPath("index.md") if inside.name == "README.md" else inside


def _placed(text: str, path: Path) -> str:
    """The page with its links to other files as they stand in the site's source."""

    def moved(match: re.Match[str]) -> str:
        target, hash_, anchor = match[2].partition("#")
        if not target or urlsplit(target).scheme:
            return match[0]
        meant = (path.parent / target).resolve()
        if not meant.is_file() or not meant.is_relative_to(ROOT):
            return match[0]  # It leads nowhere: Zensical says so.
        here = _place(path).parent
        up = [".."] * len(here.parts)
        return f"{match[1]}{'/'.join([*up, str(_place(meant))])}{hash_}{anchor}{match[3]}"

    return _LINK.sub(moved, text)


class _Page(HTMLParser):
    """What a page has to jump to, where it leads, and what it loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids = set[str]()
        self.links = list[str]()
        self.loads = list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag in ("a", "area"):
            self.links += [given["href"]] if "href" in given else []
            return
        if tag == "link" and given.get("rel") in ("canonical", "next", "prev"):
            return
        self.loads += [given[name] for name in ("src", "href", "srcset", "data") if name in given]


def faults(site: Path = SITE) -> list[str]:
    """What is wrong with what was built: a link that leads nowhere, and what another host has."""
    read = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = list[str]()
    for path, page in read.items():
        if path.name == "404.html":
            continue  # Its links are absolute: it is shown at any address.
        where = path.relative_to(site).as_posix()
        found += [f"{where} loads {url}" for url in page.loads if _is_elsewhere(url)]
        for url in {*page.links, *page.loads}:
            parts = urlsplit(url)
            if _is_elsewhere(url) or parts.scheme or parts.path.startswith("/"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(f"{where} leads to {url}, which is not there")
            elif target in read and unquote(parts.fragment) not in {"", *read[target].ids}:
                found.append(f"{where} leads to {url}, where there is no such anchor")
    for path in sorted(site.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        asked = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", text)
        found += [f"{path.relative_to(site).as_posix()} loads {url}" for url in asked]
    return found


def _is_elsewhere(url: str) -> bool:
    return url.startswith("//") or urlsplit(url).scheme in ("http", "https", "ws", "wss")


def missing(site: Path = SITE) -> list[str]:
    """The public names that the reference does not tell of."""
    ids = set[str]()
    for path in (site / "reference").rglob("*.html"):
        ids |= _Page(path.read_text(encoding="utf-8")).ids
    return [name for name in reference.public_names() if name not in ids]


def write_for_models(source: Path = SOURCE, site: Path = SITE) -> None:
    """Write ``llms.txt``, a list of the pages, and ``llms-full.txt``, all of them."""
    listed, whole = list[str](), list[str]()
    section = ""
    for part, path in pages():
        text = (source / path).read_text(encoding="utf-8")
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        if part != section:
            listed.append(f"\n## {part}\n")
            section = part
        listed.append(f"- [{title[1] if title else path}]({path}): {_first_sentence(text)}")
        text = re.sub(r"(?m)^::: (.+)$", lambda match: reference.described(match[1]), text)
        whole.append(f"<!-- {path} -->\n\n{text.strip()}\n")
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        _ = target.write_text(text, encoding="utf-8")
    about = _first_sentence((source / "index.md").read_text(encoding="utf-8"))
    head = f"# smtpx\n\n> {about}\n"
    _ = (site / "llms.txt").write_text(head + "\n".join(listed) + "\n", encoding="utf-8")
    _ = (site / "llms-full.txt").write_text("\n".join(whole), encoding="utf-8")


def _first_sentence(text: str) -> str:
    for paragraph in re.split(r"\n\s*\n", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)):
        if re.match(r"[A-Za-z`*]", paragraph):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|\*\*", r"\1", " ".join(paragraph.split()))
            return re.split(r"(?<=[.])\s", plain, maxsplit=1)[0].rstrip(":")
    return ""


def _zensical(*words: str) -> list[str]:
    return [sys.executable, "-m", "zensical", *words, "-f", str(ROOT / "zensical.toml")]


def build() -> int:
    """Build the site and look at it; return the exit code."""
    gather()
    shutil.rmtree(SITE, ignore_errors=True)
    if (done := subprocess.run(_zensical("build", "--strict"), cwd=ROOT, check=False)).returncode:
        return done.returncode
    write_for_models()
    found = faults() + [f"{name} is in no page of the reference" for name in missing()]
    for each in found:
        print(each, file=sys.stderr)
    print(f"{SITE.relative_to(ROOT)}: {len(list(SITE.rglob('*.html')))} pages")
    return 1 if found else 0


def serve() -> int:
    """Show the site at an address of this machine, and draw anew what is written."""
    gather()
    shown = subprocess.Popen(_zensical("serve"), cwd=ROOT)
    try:
        while True:
            try:
                return shown.wait(1)
            except subprocess.TimeoutExpired:
                gather()
    except KeyboardInterrupt:
        return 0
    finally:
        shown.terminate()
        _ = shown.wait()


if __name__ == "__main__":
    raise SystemExit(serve() if sys.argv[1:] == ["serve"] else build())
