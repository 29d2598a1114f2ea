"""The file of a ledger is moved away, deleted or replaced under an open outbox: no mail is lost."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpx import Envelope
from smtpx.outbox import LedgerMisconfigured, LedgerUnavailable, Outbox, State
from tests.outbox.judge import Judge

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows moves no file that is open"),
]

MESSAGE = b"Subject: x\r\n\r\n", Envelope("a@example.org", "b@example.net")
MANY = 10


def waiting(outbox: Outbox) -> int:
    return outbox.counts()[State.WAITING]


def refuses(outbox: Outbox, words: str) -> None:
    """It says so for as long as it is so."""
    for _ in range(3):
        with pytest.raises(LedgerUnavailable, match=words):
            outbox.put(*MESSAGE)
        with pytest.raises(LedgerUnavailable, match=words):
            outbox.counts()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = tmp_path / "some # where"
    directory.mkdir()
    return directory / "mail.db"


def url_of(path: Path) -> str:
    return f"sqlite:///{str(path).replace('#', '%23')}"


def filled(path: Path) -> Outbox:
    outbox = Outbox(url_of(path))
    for _ in range(MANY):
        outbox.put(*MESSAGE)
    return outbox


def file_away(path: Path) -> Callable[[], object]:
    away = path.rename(path.with_name("away"))
    return lambda: away.rename(path)


def directory_away(path: Path) -> Callable[[], object]:
    away = path.parent.rename(path.parent.with_name("away"))
    return lambda: away.rename(path.parent)


@pytest.mark.parametrize("move", [file_away, directory_away])
def test_a_file_that_is_moved_away_is_waited_for(
    path: Path, move: Callable[[Path], Callable[[], object]]
) -> None:
    with filled(path) as outbox:
        move_back = move(path)
        refuses(outbox, "put it back")
        assert not path.exists()
        move_back()
        assert waiting(outbox) == MANY
        outbox.put(*MESSAGE)
        with Outbox(url_of(path)) as another:
            assert waiting(another) == MANY + 1


def test_another_process_makes_no_file_beside_the_log_of_the_old_one(path: Path) -> None:
    """What was committed last is in the log beside it, which SQLite would throw away."""
    with filled(path) as outbox:
        move_back = file_away(path)
        for empty in (False, True):
            if empty:
                path.touch()
            with pytest.raises(LedgerMisconfigured, match=r"mail\.db-wal .* put the file back"):
                Outbox(url_of(path))
        move_back()
        assert waiting(outbox) == MANY


def test_an_outbox_that_was_closed_makes_no_file(path: Path) -> None:
    with filled(path) as outbox:
        outbox.close()
        move_back = file_away(path)
        refuses(outbox, "put it back")
        assert not path.exists()
        move_back()
        assert waiting(outbox) == MANY


def test_a_file_that_is_deleted_is_not_made_anew(path: Path) -> None:
    with filled(path) as outbox:
        for each in path.parent.iterdir():
            each.unlink()
        refuses(outbox, "put it back")
        assert not list(path.parent.iterdir())
    with Outbox(url_of(path)) as anew:
        assert waiting(anew) == 0


def test_another_file_in_its_place_is_left_alone(path: Path) -> None:
    """The log that is beside it belongs to the file that was there before."""
    with filled(path) as outbox:
        with sqlite3.connect(path) as reader, sqlite3.connect(path.with_name("backup")) as backup:
            reader.backup(backup)
        backup.close()
        reader.close()
        outbox.put(*MESSAGE)
        before = path.rename(path.with_name("before"))
        path.with_name("backup").rename(path)
        octets = path.read_bytes()
        refuses(outbox, "another file is in its place")
        assert path.read_bytes() == octets
        before.rename(path)
        assert waiting(outbox) == MANY + 1


def test_a_backup_is_restored_into_the_file_under_a_worker(path: Path) -> None:
    with filled(path) as outbox, Judge() as judge:
        backup = sqlite3.connect(path.with_name("backup"))
        with sqlite3.connect(path) as reader:
            reader.backup(backup)
        reader.close()
        outbox.put(*MESSAGE)
        with sqlite3.connect(path) as restored:
            backup.backup(restored)
        restored.close()
        backup.close()
        assert waiting(outbox) == MANY
        outbox.run(judge.url, until_empty=True)
        assert outbox.counts()[State.ACCEPTED] == MANY == len(judge.taken)


def test_a_log_that_is_removed_is_saved(path: Path) -> None:
    """Whoever takes it for a temporary file removes what was committed last."""
    with filled(path) as outbox:
        path.with_name("mail.db-wal").unlink()
        path.with_name("mail.db-shm").unlink()
        refuses(outbox, r"mail\.db-wal was removed")
        saved = shutil.copy(path, path.with_name("saved.db"))
    for each in (path, Path(saved)):
        with Outbox(url_of(each)) as anew:
            assert waiting(anew) == MANY


PUTTER = """
import sys, smtpx
with smtpx.Outbox(sys.argv[1]) as outbox:
    for _ in range(10):
        outbox.put(b"Subject: x\\r\\n\\r\\n", smtpx.Envelope("a@example.org", "b@example.net"))
"""


def put_elsewhere(path: Path) -> None:
    """Another process puts as many in."""
    subprocess.run([sys.executable, "-c", PUTTER, url_of(path)], check=True, timeout=30)


@pytest.mark.parametrize("is_noticed", [False, True], ids=["closed", "noticed"])
def test_what_is_shared_of_the_log_is_removed_and_another_process_comes(
    path: Path, is_noticed: bool
) -> None:
    """They no longer see each other's locks, nor what the other one has written."""
    with filled(path) as outbox:
        path.with_name("mail.db-shm").unlink()
        put_elsewhere(path)
        if is_noticed:
            refuses(outbox, r"mail\.db-shm was removed")
            put_elsewhere(path)
        outbox.close()
        assert waiting(outbox) == MANY * (3 if is_noticed else 2)
        outbox.put(*MESSAGE)
    with Outbox(url_of(path)) as anew:
        assert waiting(anew) == MANY * (3 if is_noticed else 2) + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_what_is_shared_of_the_log_is_removed_before_a_fork(path: Path) -> None:
    with filled(path) as outbox:
        path.with_name("mail.db-shm").unlink()
        put_elsewhere(path)
        child = os.fork()
        if not child:
            os._exit(waiting(outbox) != 2 * MANY)
        assert os.waitpid(child, 0)[1] == 0
        assert waiting(outbox) == 2 * MANY


def test_what_others_do_with_the_log_is_nothing_that_was_removed(path: Path) -> None:
    """They come, and go, and write it into the file."""
    with filled(path) as outbox:
        put_elsewhere(path)
        connection = sqlite3.connect(path)
        for how in ("PASSIVE", "TRUNCATE"):
            assert connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()[0] == 0
        connection.execute("VACUUM")
        connection.close()
        assert waiting(outbox) == 2 * MANY
        outbox.put(*MESSAGE)


def test_a_second_name_of_the_file_is_refused(path: Path) -> None:
    """By each name it would have a log of its own."""
    with filled(path) as outbox:
        second = path.with_name("second.db")
        second.hardlink_to(path)
        for each in (path, second):
            with pytest.raises(LedgerMisconfigured, match=r"2 names \(hard links\).* remove all"):
                Outbox(url_of(each))
        refuses(outbox, "2 names")
        second.unlink()
        assert waiting(outbox) == MANY
        outbox.put(*MESSAGE)
        path.with_name("log").hardlink_to(path.with_name("mail.db-wal"))
        assert waiting(outbox) == MANY + 1


def test_large_contents_are_beside_the_file_whatever_link_leads_there(path: Path) -> None:
    """One release puts in, and the next one sends, each by a link of its own."""
    Outbox(url_of(path)).close()
    links = [path.parent / name / "mail.db" for name in ("first", "second")]
    for link in links:
        link.parent.mkdir()
        link.symlink_to(path)
    with Outbox(url_of(links[0])) as outbox:
        outbox.put(b"Subject: x\r\n\r\n" + b"x" * 400_000, MESSAGE[1])
    shutil.rmtree(links[0].parent)
    with Outbox(url_of(links[1])) as outbox, Judge() as judge:
        outbox.run(judge.url, until_empty=True)
        assert len(judge.taken) == 1


def test_a_killed_process_leaves_its_log_to_the_next(path: Path) -> None:
    code = f"""
import os, signal, smtpx
outbox = smtpx.Outbox({url_of(path)!r})
outbox.put(b"Subject: x\\r\\n\\r\\n", smtpx.Envelope("a@example.org", "b@example.net"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.run([sys.executable, "-c", code], check=False)
    assert process.returncode == -signal.SIGKILL
    assert path.with_name("mail.db-wal").stat().st_size
    with Outbox(url_of(path)) as outbox:
        assert waiting(outbox) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_makes_no_file(path: Path) -> None:
    with filled(path) as outbox:
        move_back = file_away(path)
        child = os.fork()
        if not child:
            code = 1
            try:
                outbox.put(*MESSAGE)
            except LedgerUnavailable:
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        refuses(outbox, "put it back")
        move_back()
        assert waiting(outbox) == MANY


def test_a_worker_ends_and_the_next_one_goes_on(path: Path) -> None:
    with filled(path) as outbox, Judge() as judge:
        move_back = file_away(path)
        with pytest.raises(LedgerUnavailable, match="put it back"):
            outbox.run(judge.url)
        move_back()
        outbox.run(judge.url, until_empty=True)
        assert outbox.counts()[State.ACCEPTED] == MANY == len(judge.taken)
