"""A pytest plugin: a mail server for each test, and what it received.

pytest loads it at every start, so it imports pytest alone; the rest comes with the first fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from smtpx.testing import Mails, Server

_SERVERS = pytest.StashKey[list[Any]]()
_PASSED = pytest.StashKey[bool]()
_DJANGOS = pytest.StashKey[Any]()
"""The server that Django's own backend mails to."""
_KNOWN = ("breaches", "unstruck")
_SHOWN = 20
"""Sessions, and mails, of a test that fails: the last ones."""
_SHOWN_LINES = 200


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "smtp(**options): how smtp_server behaves; tls='starttls', faults=['MAIL: close'], "
        "extensions='-CHUNKING', breaches='allow', unstruck='allow', and all that "
        "smtpx.testing.Server takes",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the dialogue and the mail of a test that failed."""
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    if report.failed:
        servers: list[Any] = item.stash.get(_SERVERS, list[Any]())
        if "session_smtp_server_factory" in getattr(item, "fixturenames", ()):
            servers = servers + item.session.stash.get(_SERVERS, list[Any]())
        for server in servers:
            report.sections.append(("SMTP dialogue", _dialogue(server)))
            report.sections.append(("mail received", _received(item, server)))
    return report


def _factory(request: pytest.FixtureRequest) -> Generator[Callable[..., Server]]:
    started: list[tuple[Server, dict[str, Any]]] = []
    stash: pytest.Stash = request.node.stash
    # A test may be run again; what it was before is told already.
    servers = stash[_SERVERS] = list[Any]()
    stash[_PASSED] = request.scope == "session"

    def start(**options: Any) -> Server:
        allowed = {name: options.pop(name) for name in _KNOWN if name in options}
        for name, value in allowed.items():
            if value != "allow":
                pytest.fail(f"{name}={value!r}: write 'allow', or leave it out", pytrace=False)
        server = _started(options)
        if isinstance(server, str):
            pytest.fail(server, pytrace=False)
        _ = stack.callback(server.close)
        started.append((server, allowed))
        servers.append(server)
        return server

    with ExitStack() as stack:
        yield start
    wrong: list[str] = []
    if not stash[_PASSED]:
        return  # It has failed, or was skipped half-way: nothing follows from what is missing.
    for server, allowed in started:
        if "breaches" not in allowed:
            is_djangos = stash.get(_DJANGOS, None) is server
            wrong += [
                f"the client broke the protocol: {each}"
                for each in server.breaches
                if not (is_djangos and _of_django(each))
            ]
        if "unstruck" not in allowed:
            wrong += [f"a fault never struck: {_fault(each)}" for each in server.unstruck]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture
def smtp_server_factory(request: pytest.FixtureRequest) -> Generator[Callable[..., Server]]:
    """Start mail servers, each by the options of the marker `smtp`; they end with the test."""
    yield from _factory(request)


@pytest.fixture(scope="session")
def session_smtp_server_factory(
    request: pytest.FixtureRequest,
) -> Generator[Callable[..., Server]]:
    """The same for fixtures of a class, a module or a session; they end with the session."""
    yield from _factory(request)


@pytest.fixture
def smtp_server(
    request: pytest.FixtureRequest,
    smtp_server_factory: Callable[..., Server],
) -> Generator[Server]:
    """A mail server for this test; its URL is in SMTPX_URL, and in Django's settings."""
    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("smtp"))):
        if marker.args:
            given = ", ".join(map(repr, marker.args))
            problem = "give options by name, such as tls='starttls'"
            pytest.fail(f"@pytest.mark.smtp({given}): {problem}", pytrace=False)
        options.update(marker.kwargs)
    server = smtp_server_factory(**options)
    with pytest.MonkeyPatch.context() as patch, _django(request, server):
        patch.setenv("SMTPX_URL", _client_url(server))
        yield server


@pytest.fixture
def smtp_url(smtp_server: Server) -> str:
    """The URL of the test's mail server, with what a client has to know of its TLS."""
    return _client_url(smtp_server)


@pytest.fixture
def mailbox(smtp_server: Server) -> Mails:
    """The mail that the test's server has received."""
    from smtpx.testing import Mails

    return Mails(smtp_server)


@pytest.fixture
def smtp_dialogue() -> Generator[Callable[[str], Any]]:
    """Play a recorded dialogue as a server: the text of an ``.smtp`` script, once."""
    from smtpx.testing import Replay

    entered: list[Any] = []

    def play(script: str) -> Replay:
        replay = Replay(script)
        entered.append(replay)
        return replay.__enter__()

    yield play
    for replay in entered:
        replay.__exit__(None, None, None)


def _started(options: dict[str, Any]) -> Server | str:
    """A server; or what is wrong with its options."""
    from smtpx.testing import Server

    try:
        server = Server(**_spelt(options))
        server.start()
    except (TypeError, ValueError, OSError) as error:
        return f"the mail server cannot be made: {error}"
    return server


def _spelt(options: dict[str, Any]) -> dict[str, Any]:
    """Options as a marker spells them, as the server takes them."""
    from inspect import signature

    from smtpx import _checks
    from smtpx.testing import USUAL_EXTENSIONS, Extension, Server, ServerTLS, read_fault

    known = {*signature(Server).parameters, *_KNOWN}
    if options.keys() - known:
        raise _checks.unknown("option", options.keys() - known, sorted(known))
    spelt = dict(options)
    if isinstance(spelt.get("tls"), str):
        spelt["tls"] = _named(ServerTLS, "tls", spelt["tls"])
    if "faults" in spelt:
        faults = [spelt["faults"]] if isinstance(spelt["faults"], str) else spelt["faults"]
        spelt["faults"] = [read_fault(each) if isinstance(each, str) else each for each in faults]
    if isinstance(spelt.get("extensions"), str):
        words = spelt["extensions"].replace(",", " ").split()
        changed = any(word[0] in "+-" for word in words)
        extensions = set(USUAL_EXTENSIONS) if changed else set[Extension]()
        for word in words:
            extension = _named(Extension, "extensions", word.lstrip("+-").upper())
            (extensions.discard if word.startswith("-") else extensions.add)(extension)
        spelt["extensions"] = frozenset(extensions)
    return spelt


def _named(kind: Any, what: str, name: str) -> Any:
    try:
        return kind(name)
    except ValueError:
        known = ", ".join(each.value for each in kind)
        raise ValueError(f"{what}: {name!r} is not known; there are {known}") from None


def _client_url(server: Server) -> str:
    from smtpx.testing._client_url import client_url

    return client_url(server)


def _fault(fault: Any) -> str:
    from smtpx.testing import fault_text

    return fault_text(fault)


def _django(request: pytest.FixtureRequest, server: Server) -> Any:
    """Django's settings for as long as the test runs, where Django is there and configured."""
    from smtpx.testing._django_settings import pointed_at

    changed, is_djangos = pointed_at(server)
    if is_djangos:
        request.node.stash[_DJANGOS] = server
    return changed


def _of_django(breach: str) -> bool:
    from smtpx.testing._django_settings import is_djangos_own

    return is_djangos_own(breach)


def _dialogue(server: Server) -> str:
    lines: list[str] = []
    for session in server.sessions[-_SHOWN:]:
        lines.append(f"# session {session.number}")
        for said in session.dialogue[:_SHOWN_LINES]:
            who = "#" if said.speaker is None else f"{said.speaker.value}:"
            lines.append(f"{said.at * 1000:8.1f} ms  {who} {said.text}")
            lines += [f"             ^ {breach}" for breach in said.breaches]
    return "\n".join(lines) or "nobody connected"


def _received(item: pytest.Item, server: Server) -> str:
    from smtpx.testing import Mail

    if not server.messages:
        return "nothing"
    factory: Any = getattr(item.config, "_tmp_path_factory", None)
    folder = None if factory is None else factory.mktemp("mail")
    told: list[str] = []
    for number, received in enumerate(server.messages[-_SHOWN:], 1):
        told.append(repr(Mail(received)))
        if folder is not None:
            path = folder / f"{number:03}.eml"
            _ = path.write_bytes(received.content)
            told.append(f"  {path}")
    return "\n".join(told)
