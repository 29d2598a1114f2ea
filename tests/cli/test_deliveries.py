"""``smtpx send --deliver`` and the doctor's rows of a domain, against real name servers."""

from __future__ import annotations

import hashlib
import socket
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.cli._plans import Route
from smtpx.delivery import Exchanger, Plan, Terms
from smtpx.delivery.mta_sts import Policy
from smtpx.pins import key_of
from smtpx.testing import Misanswer, NameFault, NameServer, Refuse, Server, ServerTLS, TruncateReply

from .command import Done
from .command import smtpx as smtpx_command
from .conftest import Run

LOOPBACK = "127.0.0.0/8"
ZONE = """
example.net MX 10 mx.example.net.
example.net MX 20 mx2.example.net.
mx.example.net A 127.0.0.1
mx2.example.net A 127.0.0.2
_smtp._tls.example.net TXT "v=TLSRPTv1; rua=mailto:tls@example.net"
example.org MX 1 mx.example.net.
null.example MX 0 .
private.example MX 1 private.example.
private.example A 10.0.0.1
inside.example MX 1 private.example.
own.example A 127.0.0.1
self.example MX 1 self.example.
self.example A 127.0.0.1
"""


def rows(done: Done) -> dict[str, tuple[str, str]]:
    (target,) = done.json["targets"]
    return {row["name"]: (row["verdict"], row["text"]) for row in target["rows"]}


def by(names: NameServer, server: Server | None = None) -> list[str]:
    port = ["--port", str(server.port)] if server is not None else []
    allow = ["--allow", LOOPBACK, "--client-name", "mail.example.org"]
    return [*allow, *port, "--resolver", f"{names.host}:{names.port}"]


def send(run: Run, names: NameServer, server: Server | None, *words: str) -> Done:
    return run("send", "--json", "--deliver", "letter.eml", *by(names, server), *words)


def test_it_is_delivered_to_each_domain(run: Run) -> None:
    with Server() as server, NameServer(ZONE) as names:
        done = send(run, names, server, "--to", "bob@example.net", "--to", "zoe@example.org")
        assert len(server.messages) == 2
        assert server.sessions[0].commands[0] == "EHLO mail.example.org"
    assert done.code == 0
    (bob, _) = done.json["outcomes"]
    assert bob["status"] == "accepted"
    assert bob["host"] == "mx.example.net"
    assert bob["address"] == "127.0.0.1"
    assert bob["terms"] == "OPPORTUNISTIC"
    assert bob["failure"] is None
    assert bob["attempts"] == ["mx.example.net [127.0.0.1], OPPORTUNISTIC"]


CODES: list[tuple[str, int, list[str], dict[str, Any]]] = [
    ("no such domain", 68, ["bob@gone.example"], {}),
    ("null MX", 68, ["bob@null.example"], {}),
    ("a private address", 68, ["bob@private.example"], {}),
    ("a failed look-up", 75, ["bob@later.example"], {}),
    ("some of them", 3, ["bob@example.net", "bob@null.example"], {}),
    ("now and never", 75, ["bob@null.example", "bob@later.example"], {}),
    ("never in two ways", 67, ["bob@null.example", "bob@own.example"], {"refuse_recipients": True}),
    ("in doubt", 4, ["bob@example.net"], {"faults": [TruncateReply("END-OF-DATA", keep=0)]}),
    ("refused", 67, ["bob@example.net"], {"refuse_recipients": True}),
    ("not now", 75, ["bob@own.example"], {"faults": [Refuse("GREETING", "421 4.3.2 no")]}),
]


@pytest.mark.parametrize(("name", "code", "to", "options"), CODES, ids=[case[0] for case in CODES])
def test_exit_codes(name: str, code: int, to: list[str], options: dict[str, Any], run: Run) -> None:
    if options.pop("refuse_recipients", False):
        options["refuse_recipients"] = lambda _: "550 5.1.1 no"
    fault = NameFault(Misanswer.SERVFAIL, "later.example")
    with Server(**options) as server, NameServer(ZONE, faults=[fault]) as names:
        done = send(run, names, server, *(word for one in to for word in ("--to", one)))
    assert done.code == code, done.err
    assert done.json["command"] == "send"
    assert done.err


def test_nobody_listens(run: Run) -> None:
    with Server() as server:
        port = server.port
    with NameServer(ZONE) as names:
        done = run(
            *("send", "--json", "--deliver", "letter.eml", "--to", "a@own.example"),
            *(*by(names), "--port", str(port)),
        )
    assert done.code == 74
    assert done.json["outcomes"][0]["failure"] == "UNREACHABLE"


def test_private_addresses_are_refused_by_default(run: Run) -> None:
    with Server() as server, NameServer(ZONE) as names:
        words = [word for word in by(names, server) if word not in ("--allow", LOOPBACK)]
        done = run("send", "--json", "--deliver", "letter.eml", "--to", "a@own.example", *words)
        assert not server.sessions
    assert done.code == 68
    assert "not to be dialled" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["smtp://localhost"], "finds the servers by itself"),
        (["--stop-after", "rcpt"], "--stop-after does not go with --deliver"),
        (["--all-or-nothing"], "--all-or-nothing does not go with --deliver"),
        (["--resolver", "dns.example"], "--resolver"),
        (["--resolver", "127.0.0.1:x"], "is no port"),
        (["--resolver", "[::1]:99999"], "is no port"),
        (["--allow", "everything", "--resolver", "[::1]:53"], "--allow"),
        (["--client-name", "host", "--resolver", "::1"], "client_name"),
        (["--port", "0", "--client-name", "a.test", "--resolver", "::1"], "port"),
    ],
)
def test_what_makes_no_sense_is_told(run: Run, words: list[str], told: str) -> None:
    done = run("send", "--deliver", "letter.eml", *words)
    assert done.code == 2, done.err
    assert told in done.err


def test_a_host_without_a_full_name_has_to_be_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    done = run("send", "--deliver", "letter.eml", "--resolver", "127.0.0.1:1")
    assert done.code == 2
    assert "laptop" in done.err
    assert "--client-name" in done.err


@pytest.mark.parametrize("command", ["send", "doctor"])
def test_without_the_extra_a_sentence_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "dns"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dns", None)
    words = ["--resolver", "127.0.0.1:1", "--client-name", "a.example.org"]
    if command == "send":
        done = run("send", "--deliver", "letter.eml", *words)
        assert done.code == 78
        assert "smtpx[delivery]" in done.err
    else:
        with Server() as server:
            monkeypatch.setattr("socket.getaddrinfo", _to(server))
            done = run("doctor", "--json", "bob@example.net", "--port", str(server.port), *words)
        found = rows(done)
        assert {found[name][0] for name in ("mx", "dane", "sts", "tlsrpt")} == {"skipped"}
        assert "smtpx[delivery]" in found["mx"][1]


def _to(server: Server, *hosts: str) -> Any:
    resolve = socket.getaddrinfo

    def found(host: Any, *words: Any, **options: Any) -> Any:
        if host in ("example.net", "submission.internal", *hosts):
            return [(2, 1, 6, "", (server.host, server.port))]
        return resolve(host, *words, **options)

    return found


# Many letters, by way of an outbox.

LETTER = (
    b"From: Ann <ann@example.org>\nTo: {{name}} <{{address}}>\nSubject: Hello {{name}}\n\n"
    b"Dear {{name}}\n"
)
ROWS = "name,address\nBob,bob@example.net\nZoe,zoe@example.org\nKim,kim@null.example\n"


def test_each_row_is_delivered_to_its_domain(home: Path) -> None:
    (home / "template.eml").write_bytes(LETTER)
    (home / "rows.csv").write_text(ROWS + "Tom,tom@later.example\n")
    fault = NameFault(Misanswer.SERVFAIL, "later.example")
    words = ["send", "--json", "--deliver", "--merge", "rows.csv", "template.eml"]
    with Server() as server, NameServer(ZONE, faults=[fault]) as names:
        done = smtpx_command(*words, *by(names, server), home=home)
        again = smtpx_command(*words, "--resume", "rows.ledger", *by(names, server), home=home)
        subjects = [one.parsed["Subject"] for one in server.messages]
        assert sorted(subjects) == ["Hello Bob", "Hello Zoe"]
        assert server.sessions[0].commands[0] == "EHLO mail.example.org"
    for each in (done, again):
        assert each.code == 3, each.err
        assert each.json["counts"] == {"accepted": 2, "refused": 1, "waiting": 1}
    failures = (home / "rows.failures.csv").read_text()
    assert "kim@null.example,refused" in failures
    assert "tom@later.example,waiting" in failures


def test_an_outbox_sends_to_mail_exchangers(home: Path) -> None:
    (home / "template.eml").write_bytes(LETTER)
    (home / "rows.csv").write_text(ROWS)
    with smtpx.Outbox(f"sqlite:///{home / 'mail.db'}") as outbox:
        for to in ("bob@example.net", "zoe@example.org", "kim@null.example"):
            outbox.put(b"Subject: hi\r\n\r\nhello\r\n", smtpx.Envelope("ann@example.org", to))
    db = ("--db", "sqlite:///mail.db")
    with Server() as server, NameServer(ZONE) as names:
        words = ["outbox", "run", "--json", "--deliver", "--until-empty", *db]
        done = smtpx_command(*words, *by(names, server), home=home)
        assert done.code == 3, done.err
        assert len(server.messages) == 2
        assert names.packets["mx.example.net", "A"] == 1
    status = smtpx_command("outbox", "status", "--json", *db, home=home)
    counts = status.json["counts"]
    assert (counts["accepted"], counts["refused"]) == (2, 1)


def test_what_may_have_been_accepted_and_waits_is_told(home: Path) -> None:
    """A program reads it by a name, a person in the table; all that `Delivery` has is there."""
    with smtpx.Outbox(f"sqlite:///{home / 'mail.db'}") as outbox, Server() as server:
        envelope = smtpx.Envelope("ann@example.org", "bob@example.net")
        id = outbox.put(b"Subject: hi\r\n\r\nhello\r\n", envelope)
        server.add_fault(TruncateReply("END-OF-DATA", keep=0))
        outbox.run(server.url, until_empty=True)
        assert outbox.status(id).deliveries[0].doubted
    for what, which in (("show", id), ("list", "waiting")):
        words = ("outbox", what, which, "--db", "sqlite:///mail.db")
        (told,) = smtpx_command(*words, "--json", home=home).json["deliveries"]
        assert told["doubted"] is True
        assert told.keys() == {field.name for field in fields(smtpx.outbox.Delivery)}
        assert "waiting, doubted" in smtpx_command(*words, home=home).out
    status = ("outbox", "status", "--db", "sqlite:///mail.db")
    told = smtpx_command(*status, "--json", home=home).json
    assert (told["counts"]["waiting"], told["doubted"]) == (1, 1)
    assert smtpx_command(*status, home=home).out.splitlines()[-1].split() == ["doubted", "1"]
    words = ("outbox", "cancel", id, "--db", "sqlite:///mail.db")
    done = smtpx_command(*words, home=home)
    assert (done.code, done.out) == (1, f"{id}: 0 cancelled\n")
    assert "1 in doubt: it may have been sent" in done.err


def test_an_outbox_that_delivers_needs_no_server(run: Run, home: Path) -> None:
    (home / "mail.db").touch()
    words = ["--db", "sqlite:///mail.db", "--deliver", "--client-name", "a.example.org"]
    done = run("outbox", "run", "smtp://localhost", *words, "--resolver", "::1")
    assert done.code == 2
    assert "finds the servers by itself" in done.err


# The doctor.


@pytest.mark.requirement("D19")
def test_the_doctor_asks_the_best_exchanger_of_an_address(run: Run) -> None:
    with Server() as server, NameServer(ZONE, insecure=["example.net"]) as names:
        done = run("doctor", "--json", "bob@example.net", *by(names, server))
        assert server.breaches == []
    found = rows(done)
    assert found["mx"] == ("ok", "10 mx.example.net  20 mx2.example.net  not known to be signed")
    assert found["dane"][0] == "skipped"
    assert "--validating" in found["dane"][1]
    assert found["sts"] == ("note", "none")
    assert found["tlsrpt"] == ("ok", "reports go to mailto:tls@example.net")
    assert found["rcpt"][0] == "ok"
    (target,) = done.json["targets"]
    assert target["plan"]["exchangers"][0]["addresses"] == ["127.0.0.1"]
    assert target["plan"]["failure"] is None
    assert list(found)[:3] == ["mx", "connect", "greeting"]


def test_people_read_the_same(run: Run) -> None:
    with Server() as server, NameServer(ZONE) as names:
        done = run("doctor", "bob@example.net", "--validating", *by(names, server))
    assert "(mx.example.net, where example.net takes mail)" in done.out
    assert "  mx                 10 mx.example.net  20 mx2.example.net  signed (DNSSEC)" in done.out
    assert "  dane               none" in done.out
    assert "  tlsrpt             reports go to mailto:tls@example.net" in done.out


def test_another_exchanger_may_be_asked(run: Run) -> None:
    with Server(host="127.0.0.2") as server, NameServer(ZONE) as names:
        done = run("doctor", "--json", "example.net", "--mx", "2", *by(names, server))
        assert rows(done)["connect"][1].startswith("127.0.0.2:")
        done = run("doctor", "example.net", "--mx", "3", *by(names, server))
    assert done.code == 2
    assert "has 2 that can be asked" in done.err


@pytest.mark.parametrize("matches", [True, False])
def test_the_certificate_is_held_to_the_records(run: Run, matches: bool) -> None:
    with Server(tls=ServerTLS.STARTTLS, certificate_names=["mx.example.net"]) as server:
        digest = hashlib.sha256(key_of(_certificate(server))).hexdigest() if matches else "ab" * 32
        tlsa = f"_{server.port}._tcp.mx.example.net TLSA 3 1 1 {digest}"
        with NameServer(ZONE + tlsa) as names:
            done = run("doctor", "--json", "bob@example.net", "--validating", *by(names, server))
    found = rows(done)
    # Nobody knows the authority, which does not matter.
    assert found["tls.unknown_authority"][0] == "note"
    told = "1 of 2 hosts have TLSA records"
    if matches:
        assert found["dane"] == ("ok", f"{told}; one matches at mx.example.net")
        assert done.code == 0
    else:
        assert found["dane"][0] == "fail"
        assert done.code == 77


def _certificate(server: Server) -> bytes:
    policy = smtpx.TLSPolicy(
        smtpx.TLSMode.STARTTLS, ca_file=server.ca_file, server_hostname="mx.example.net"
    )
    with smtpx.Session(server.url, tls=policy) as session:
        assert session.protection is not None
        return session.protection.certificate


@pytest.mark.parametrize(
    ("domain", "fault", "code", "row", "told"),
    [
        ("null.example", None, 68, "mx", "null MX"),
        ("gone.example", None, 68, "mx", "no domain"),
        ("private.example", None, 68, "mx", "not to be dialled"),
        ("example.net", NameFault(Misanswer.SERVFAIL, type="MX"), 75, "mx", "SERVFAIL"),
        ("example.net", NameFault(Misanswer.BOGUS, type="TLSA"), 77, "dane", "cannot be had"),
    ],
)
def test_a_domain_to_which_nothing_goes(
    run: Run, domain: str, fault: NameFault | None, code: int, row: str, told: str
) -> None:
    with NameServer(ZONE, faults=[fault] if fault else []) as names:
        done = run("doctor", "--json", "--validating", f"bob@{domain}", *by(names))
    assert done.code == code
    found = rows(done)
    assert found[row][0] == "fail"
    assert told in found[row][1]
    assert "connect" not in found


@pytest.mark.parametrize(
    ("policy", "verdict", "told"),
    [
        ("mode: enforce\nmx: *.example.net", "ok", "enforce, for 86400 s, names every host"),
        ("mode: testing\nmx: mx.example.net", "warn", "it does not name mx2.example.net"),
        ("mode: enforce\nmx: other.example", "fail", "does not name mx.example.net, mx2"),
        ("mode: none", "note", "withdrawn"),
        (None, "warn", "MTA-STS: the policy cannot be had"),
    ],
)
def test_the_policy_of_a_domain(
    run: Run, monkeypatch: pytest.MonkeyPatch, policy: str | None, verdict: str, told: str
) -> None:
    from smtpx.delivery import blocking
    from smtpx.delivery.mta_sts import FetchFailed

    def fetched(*_: object) -> bytes:
        if policy is None:
            raise FetchFailed("404")
        text = f"version: STSv1\n{policy}\nmax_age: 86400\n"
        assert isinstance(Policy.parse(text), Policy)
        return text.encode()

    monkeypatch.setattr(blocking.Delivery, "_fetch", fetched)
    sts = '_mta-sts.example.net TXT "v=STSv1; id=1"\nmta-sts.example.net A 127.0.0.1\n'
    with Server() as server, NameServer(ZONE + sts) as names:
        done = run("doctor", "--json", "bob@example.net", *by(names, server))
    found = rows(done)["sts"]
    assert found[0] == verdict
    assert told in found[1]


def test_a_host_is_asked_as_before(run: Run) -> None:
    with Server() as server, NameServer(ZONE) as names:
        done = run("doctor", "--json", "127.0.0.1", *by(names, server))
        assert done.code == 0
        assert rows(done)["mx"] == ("skipped", "127.0.0.1 is no domain")
        done = run("doctor", "--json", server.url)
        assert rows(done)["sts"] == ("skipped", "a server was named, and no domain")
    assert done.json["targets"][0]["plan"] is None


def test_a_host_to_which_no_mail_goes_is_asked_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server, NameServer(ZONE) as names:
        monkeypatch.setattr("socket.getaddrinfo", _to(server))
        done = run("doctor", "--json", "submission.internal", *by(names, server))
    assert done.code == 77  # TLS is asked of a host that is not near, and not offered
    assert rows(done)["mx"][0] == "warn"
    assert rows(done)["connect"][0] == "ok"


def test_a_domain_with_exchangers_that_cannot_be_asked_is_not_asked_in_their_stead(
    run: Run,
) -> None:
    with NameServer(ZONE) as names:
        done = run("doctor", "--json", "inside.example", *by(names))
    assert done.code == 68
    verdict, told = rows(done)["mx"]
    assert verdict == "fail"
    assert "not to be dialled" in told
    assert "connect" not in rows(done)


def test_the_port_is_one_of_the_mail_exchanger(run: Run) -> None:
    with Server() as server, NameServer(ZONE) as names:
        done = run("doctor", "--json", "example.net", *by(names, server))
        assert done.code == 0
        assert rows(done)["connect"][1].startswith("127.0.0.1:")
        done = run("doctor", "example.net", *by(names, server))
    assert "(mx.example.net, where example.net takes mail)" in done.out


def test_a_port_does_not_have_a_domain_be_asked_in_the_stead_of_its_exchangers(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server, NameServer(ZONE) as names:
        monkeypatch.setattr("socket.getaddrinfo", _to(server, "inside.example"))
        done = run("doctor", "--json", "inside.example", *by(names, server))
        assert server.sessions == []
    assert done.code == 68
    assert "connect" not in rows(done)


@pytest.mark.parametrize("host", ["own.example", "self.example", "null.example"])
def test_a_host_that_is_its_own_exchanger_or_has_none_is_asked_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with Server() as server, NameServer(ZONE) as names:
        monkeypatch.setattr("socket.getaddrinfo", _to(server, host))
        done = run("doctor", "--json", host, *by(names, server))
    assert done.json["targets"][0]["server"].startswith(host)
    assert rows(done)["connect"][0] == "ok"


def test_port_465_of_a_mail_exchanger_begins_with_tls() -> None:
    exchanger = Exchanger("mx.example.net", 1, ("192.0.2.1",), Terms.OPPORTUNISTIC, "")
    route = Route(plan=Plan("example.net"), exchanger=exchanger)
    assert route.endpoint(465).tls is smtpx.TLSMode.IMPLICIT
    assert route.endpoint(587).tls is smtpx.TLSMode.OPPORTUNISTIC


def test_an_mx_less_domain_is_asked_itself(run: Run, tmp_path: Path) -> None:
    with Server() as server, NameServer(ZONE) as names:
        done = run("doctor", "--json", "bob@own.example", *by(names, server))
    assert done.code == 0
    assert rows(done)["mx"][1].startswith("0 own.example")


# Names.

NAMES = """
1.0.0.127.in-addr.arpa PTR mail.example.org.
mail.example.org A 127.0.0.1
3.0.0.127.in-addr.arpa PTR elsewhere.example.
elsewhere.example A 192.0.2.9
other.example A 192.0.2.9
"""


@pytest.mark.parametrize(
    ("host", "greets", "verdicts", "told"),
    [
        ("127.0.0.1", "mail.example.org", ("ok", "ok"), "mail.example.org, which has this address"),
        ("127.0.0.1", "MAIL.example.org.", ("ok", "ok"), "has this address"),
        ("127.0.0.1", "other.example", ("ok", "note"), "has other addresses: 192.0.2.9"),
        ("127.0.0.1", "gone.example", ("ok", "note"), "has no address"),
        ("127.0.0.1", "[127.0.0.1]", ("ok", "ok"), "[127.0.0.1]"),
        ("127.0.0.1", "localhost", ("ok", "note"), "no full name"),
        ("127.0.0.2", "mail.example.org", ("note", "note"), "127.0.0.2 has no name"),
        ("127.0.0.3", "elsewhere.example", ("note", "note"), "elsewhere.example, which has other"),
    ],
)
def test_the_names_of_a_server_lead_back_to_it(
    run: Run, host: str, greets: str, verdicts: tuple[str, str], told: str
) -> None:
    with Server(host=host, hostname=greets) as server, NameServer(NAMES) as names:
        done = run(
            *("doctor", "--json", "--fail-on", "warn", server.url),
            *("--resolver", f"{names.host}:{names.port}"),
        )
    found = rows(done)
    assert (found["names.address"][0], found["names.greeting"][0]) == verdicts
    assert told in found["names.address"][1] + found["names.greeting"][1]
    assert done.code == 0


@pytest.mark.parametrize("misanswer", [Misanswer.SERVFAIL, Misanswer.SILENCE])
def test_names_that_nobody_can_tell(
    run: Run, misanswer: Misanswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smtpx.cli import _names

    monkeypatch.setattr(_names, "_PATIENCE", 0.2)
    fault = NameFault(misanswer)
    with Server() as server, NameServer(NAMES, faults=[fault]) as names:
        resolver = f"{names.host}:{names.port}"
        done = run("doctor", "--json", server.url, "--resolver", resolver)
    assert rows(done)["names.address"][0] == "skipped"
    assert done.code == 0


def test_loopback_has_names_only_for_who_was_named(run: Run) -> None:
    """The system's name servers are not asked about this machine."""
    with Server() as server:
        found = rows(run("doctor", "--json", server.url))
    assert found["names.address"] == ("skipped", "127.0.0.1 is this machine itself")
    assert found["names.greeting"][0] == "skipped"
