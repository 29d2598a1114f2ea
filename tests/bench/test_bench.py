"""The bench's pieces do what its figures rest on: nothing lost, nothing miscounted. No timings."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email import message_from_bytes, policy
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench.contest import Contender, Contest

import smtpx
from bench import (
    bounces,
    client,
    cold,
    contest,
    dkim,
    limit,
    merge,
    plot,
    processes,
    sink,
    throughput,
)
from smtpx.sasl import Credentials

ENVELOPE = smtpx.Envelope("ann@example.org", ["bob@example.net", "carol@example.net"])
PATHS = b"<ann@example.org><bob@example.net><carol@example.net>"
DOTS = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nlast\r\n"


@contextmanager
def session(
    *, without: Sequence[str] = (), limits: smtpx.Limits | None = None
) -> Iterator[tuple[smtpx.Session, processes.Service]]:
    with processes.sink(without=without) as server:
        opened = smtpx.Session(f"smtp://127.0.0.1:{server.port}", limits=limits)
        with opened:
            yield opened, server


@pytest.mark.parametrize("without", [(), ("CHUNKING",), ("CHUNKING", "PIPELINING")])
def test_the_sink_has_each_message_with_its_envelope_as_it_was(without):
    contents = [DOTS, b"", b".\r\n", b"x" * 900 + b"\r\n"]
    with session(without=without) as (opened, server):
        for content in contents:
            assert opened.send(content, ENVELOPE).accepted
        taken = server.report()
    assert taken["messages"] == len(contents)
    assert taken["digest"] == sink.digest((PATHS, content) for content in contents)


def test_the_sink_takes_what_comes_in_pieces():
    dialogue = b"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\nline\r\n..\r\n.\r\n"
    dialogue += b"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nBDAT 2 LAST\r\nx\nRSET\r\n"
    with (
        processes.sink() as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in dialogue:
            connection.sendall(bytes([octet]))
        replies = connection.makefile("rb")
        codes = [replies.readline()[:3] for _ in range(9)]
        taken = server.report()
    assert codes == [b"220", b"250", b"250", b"354", b"250", b"250", b"250", b"250", b"250"]
    assert taken["digest"] == sink.digest(
        [(b"<a@b.c><d@e.f>", b"line\r\n.\r\n"), (b"<a@b.c><d@e.f>", b"x\n")]
    )


def test_a_digest_tells_what_was_lost_doubled_damaged_or_misdirected():
    one, two = (b"<a><b>", b"one"), (b"<a><b>", b"two")
    right = sink.digest([one, two])
    assert sink.digest([two, one]) == right
    for wrong in ([one], [one, one], [one, two, two], [one, (b"<a><b>", b"tw0")]):
        assert sink.digest(wrong) != right
    assert sink.digest([one, (b"<a><c>", b"two")]) != right


def test_every_contender_sends_what_it_is_given():
    modes = [*client.BLOCKING, *client.ASYNC, *client.ON_TRIO]
    if find_spec("aiosmtplib") is None:
        modes.remove("aiosmtplib")
    all_of_them = [Contender(mode, mode, 7) for mode in modes]
    results = contest.hold(Contest("few", all_of_them, size="3k", recipients=2, rounds=1))
    assert [result.contender.mode for result in results] == modes


def test_the_limit_of_each_mode_sends_what_it_is_given_and_is_told_beside_it():
    modes = [*limit.BLOCKING, *limit.ASYNC]
    bare = [Contender(f"bare {mode}", mode, 70, command=processes.THE_LIMIT) for mode in modes]
    results = contest.hold(
        Contest("few", [*bare, Contender("call", "call", 7)], recipients=2, rounds=1)
    )
    shares = {result.contender.name: result.of_limit for result in results}
    assert shares["bare call"] == 1
    assert shares["call"]


@pytest.mark.parametrize(
    "content",
    [b"a\nb\r\n", b"a\rb\r\n", b"a\r\nb", b"\xfc\r\n", b"a\r\nDATA\r\n", b"bdat 1\r\n"],
)
def test_the_limit_looks_at_each_content(content: bytes):
    limit.check_chunk(b"Subject: a\r\n\r\nb\r\n")
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        limit.check_chunk(content)


@pytest.mark.parametrize("said", [b"250 a\r\n550 b\r\n", b"250 a\r\n250 b\r\n250 c\r\n"])
def test_the_limit_looks_at_each_reply(said: bytes):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        exchange = limit.Exchange(ours)
        exchange.look()
        theirs.sendall(b"250 a\r\n250 b\r\n")
        exchange.read(2, limit.positives(2))
        theirs.sendall(said)
        with pytest.raises(AssertionError):
            exchange.read(2, limit.positives(2))
        theirs.sendall(said)
        with pytest.raises(AssertionError):
            exchange.look()


def test_a_contender_uses_as_many_connections_as_asked():
    with processes.sink() as server:
        command = (*processes.CLIENT, "call")
        report = processes.run_client(command, server.port, 5, "2k", 1, connections=3)
        taken = server.report()
    assert report["msgs"] == 5
    assert taken["messages"] == 5 + report["extra"] == 8


def test_a_file_arrives_whole():
    assert contest.hold(Contest("file", [Contender("file", "file", 1)], size="300k", rounds=1))


def test_a_contender_that_loses_a_message_ends_the_run():
    program = 'print(\'{"msgs": 1, "wall": 1, "cpu": 1, "rss_kb": 0}\')'
    idle = Contender("idle", "", 1, command=(sys.executable, "-c", program))
    with pytest.raises(SystemExit, match="idle sent 1 messages, 0 came"):
        contest.hold(Contest("lost", [idle], rounds=1))


def test_the_wire_counts_what_a_client_waited_for():
    with processes.sink() as server, processes.wire(server, 20) as wire:
        with smtpx.Session(f"smtp://127.0.0.1:{wire.port}") as opened:
            _ = opened.noop()
            opened.abort()
        assert wire.report() == 4  # TCP, the greeting, EHLO, NOOP
        assert wire.report() == 0


def test_a_cold_start_is_counted_for_both():
    counts = cold.round_trips(cold.COLD_STARTS[0])
    assert counts["smtplib"] == 9
    assert counts["smtpx"] <= 7


def test_the_sink_wants_no_particular_password():
    with processes.sink(tls="starttls") as server:
        policy = smtpx.TLSPolicy(smtpx.TLSMode.STARTTLS, context=client.unverified())
        url = f"smtp://127.0.0.1:{server.port}"
        with smtpx.Session(url, tls=policy, credentials=Credentials("a", "b")) as opened:
            assert opened.protection


def test_a_plot_is_drawn_of_what_was_measured(tmp_path: Path):
    points = [(float(rtt), 1000 / (1 + rtt)) for rtt in throughput.ROUND_TRIPS]
    drawn = plot.figure({"smtplib": points, "a & b": points, plot.OURS[0]: points}, "2 KB")
    root = ElementTree.fromstring(drawn)
    names = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"smtplib", "a & b", "2 KB"} <= set(names)


def test_what_is_rendered_arrives_over_the_wire():
    sent = merge.headline(count=300, rtt=5)
    assert 3000 < sent.octets < 4000


def test_a_letter_is_the_same_by_both_ways():
    row = next(merge.rows(1))
    composed = merge.letter(row)
    copy, _ = smtpx.Template(merge.letter()).render(row)
    rendered = message_from_bytes(copy, policy=policy.default)
    for name in ("To", "Subject", "List-Unsubscribe"):
        assert rendered[name] == composed[name]
    for ours, theirs in zip(rendered.walk(), composed.walk(), strict=True):
        assert ours.get_content_type() == theirs.get_content_type()
        if not ours.is_multipart():
            assert ours.get_content().split() == theirs.get_content().split()


def test_what_the_bench_signs_is_signed():
    for name, sign in dkim.contenders().items():
        signed = sign()
        assert signed.endswith(dkim.CONTENT)
        assert signed.count(b"DKIM-Signature:") == (2 if " and " in name else 1)
    assert len(list(dkim.lines(dict.fromkeys(dkim.contenders(), 0.001)))) == 6


def test_what_of_reports_is_read_right(tmp_path: Path):
    said = (
        "From: MAILER-DAEMON\n\n<bob@example.net>: user unknown\n<carol@example.com>: full quota\n"
    )
    _ = (tmp_path / "one.eml").write_text(said)
    _ = (tmp_path / "expected.tsv").write_text(
        "one.eml\tbob@example.net\tINACTIVE|POLICY\none.eml\tcarol@example.com\tMAILBOX_FULL\n"
        "one.eml\tdora@example.com\n"
    )
    assert list(bounces.lines(tmp_path)) == [
        "one.eml: dora@example.com not in ['bob@example.net', 'carol@example.com']",
        "one.eml: BAD_MAILBOX, not INACTIVE|POLICY: user unknown",
        "recipients found: 2 of 3 (66.7%)",
        "reasons right: 1 of 2 (50.0%); 1 of the others are BAD_MAILBOX",
    ]
