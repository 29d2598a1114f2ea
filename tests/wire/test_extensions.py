"""EHLO keywords, typed (RFC 5321 §4.1.1.1 and the RFC of each extension)."""

from __future__ import annotations

import copy
import pickle
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx._wire.extensions import NO_EXTENSIONS, Extensions
from smtpx.replies import Reply


def offered(*lines: str) -> Extensions:
    return Extensions.of(Reply.of(250, "mx.test greets you", *lines))


FLAGS = {
    "PIPELINING": "pipelining",
    "8BITMIME": "eight_bit_mime",
    "SMTPUTF8": "smtputf8",
    "DSN": "dsn",
    "STARTTLS": "starttls",
    "CHUNKING": "chunking",
    "ENHANCEDSTATUSCODES": "enhanced_status_codes",
    "REQUIRETLS": "require_tls",
    "RRVS": "rrvs",
}


@pytest.mark.parametrize("keyword", FLAGS)
def test_a_keyword_turns_on_its_property_and_no_other(keyword: str) -> None:
    for written in (keyword, keyword.lower(), f" {keyword} ", f"{keyword} with parameters"):
        extensions = offered(written)
        assert [name for name in FLAGS.values() if getattr(extensions, name)] == [FLAGS[keyword]]
        assert keyword in extensions
        assert keyword.lower() in extensions
    assert not getattr(NO_EXTENSIONS, FLAGS[keyword])


@pytest.mark.requirement("RFC 5321 §4.1.1.1")
def test_the_first_line_is_the_domain_and_no_keyword() -> None:
    assert not Extensions.of(Reply.of(250, "DSN")).dsn
    assert not Extensions.of(Reply.of(250, "SIZE 100", "DSN")).keywords.get("SIZE")


@pytest.mark.requirement("RFC 3030 §3")
def test_binary_mime_needs_chunking() -> None:
    assert offered("BINARYMIME", "CHUNKING").binary_mime
    assert not offered("BINARYMIME").binary_mime
    assert not offered("CHUNKING").binary_mime


def test_every_keyword_is_kept_as_the_server_wrote_its_parameters() -> None:
    keywords = offered("X-Thing Foo bar ", "size 10", "VRFY").keywords
    assert dict(keywords) == {"X-THING": "Foo bar", "SIZE": "10", "VRFY": ""}
    with pytest.raises(TypeError):
        keywords["DSN"] = ""  # type: ignore[index] # read-only


def test_a_tab_parts_keyword_and_parameters_too() -> None:
    extensions = offered("AUTH\tPLAIN\tLOGIN", "SIZE\t1000")
    assert extensions.auth == ("PLAIN", "LOGIN")
    assert extensions.size == 1000


@pytest.mark.parametrize("line", ["", " ", "-X", "_X", "X_Y", "ÜX", "(DSN)", "\0", "=X"])
def test_a_line_that_is_no_keyword_is_passed_over(line: str) -> None:
    assert dict(offered(line, "DSN").keywords) == {"DSN": ""}


@pytest.mark.requirement("RFC 1870 §4")
@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("SIZE 35882577", 35882577),
        ("SIZE=1000", 1000),
        ("size  1000 more", 1000),
        ("SIZE 99999999999999999999", 99999999999999999999),
        ("SIZE 0", None),
        ("SIZE", None),
        ("SIZE unlimited", None),
        ("SIZE -1", None),
        ("SIZE +1", None),
        ("SIZE 1_000", None),
        ("SIZE 1.5", None),
        ("SIZE ١٠", None),
        ("SIZE ²", None),
        ("SIZE 100000000000000000000", None),
        ("SIZE " + "9" * 5000, None),
        ("DSN", None),
    ],
)
def test_size_is_a_decimal_number_and_0_means_none(line: str, size: int | None) -> None:
    assert offered(line).size == size


@pytest.mark.requirement("RFC 4954 §3")
@pytest.mark.parametrize(
    ("lines", "mechanisms"),
    [
        (["AUTH PLAIN LOGIN"], ("PLAIN", "LOGIN")),
        (["AUTH=PLAIN LOGIN"], ("PLAIN", "LOGIN")),
        (["auth plain  login"], ("PLAIN", "LOGIN")),
        (["AUTH PLAIN", "AUTH=LOGIN PLAIN"], ("PLAIN", "LOGIN")),
        (["AUTH=LOGIN", "AUTH CRAM-MD5"], ("LOGIN", "CRAM-MD5")),
        (["AUTH"], ()),
        (["AUTH", "AUTH PLAIN"], ("PLAIN",)),
        ([], ()),
    ],
)
def test_auth_lists_each_mechanism_once_in_the_servers_order(
    lines: list[str], mechanisms: tuple[str, ...]
) -> None:
    assert offered(*lines).auth == mechanisms


@pytest.mark.requirement("RFC 2852 §2")
@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("DELIVERBY", 0),
        ("DELIVERBY 240", 240),
        ("DELIVERBY 240,FOO", 240),
        ("DELIVERBY 240 , FOO", 240),
        ("DELIVERBY ,FOO", 0),
        ("DELIVERBY soon", 0),
        ("DSN", None),
    ],
)
def test_deliver_by_may_state_a_shortest_time(line: str, seconds: int | None) -> None:
    assert offered(line).deliver_by == seconds


@pytest.mark.requirement("RFC 4865 §3")
@pytest.mark.parametrize(
    ("line", "longest"),
    [
        ("FUTURERELEASE 86400 2030-01-01T00:00:00Z", (86400, "2030-01-01T00:00:00Z")),
        ("FUTURERELEASE 86400", (86400, None)),
        ("FUTURERELEASE", (None, None)),
        ("FUTURERELEASE long ago", (None, "ago")),
        ("DSN", None),
    ],
)
def test_future_release_states_its_longest_hold(
    line: str, longest: tuple[int | None, str | None] | None
) -> None:
    assert offered(line).future_release == longest


@pytest.mark.requirement("RFC 6710 §4")
def test_mt_priority_may_name_a_profile() -> None:
    assert offered("MT-PRIORITY MIXER").mt_priority == "MIXER"
    assert offered("MT-PRIORITY").mt_priority == ""
    assert offered("DSN").mt_priority is None


@pytest.mark.requirement("RFC 9422 §4")
@pytest.mark.parametrize(
    ("line", "limits"),
    [
        ("LIMITS MAILMAX=10 RCPTMAX=100", {"MAILMAX": 10, "RCPTMAX": 100}),
        ("limits rcptmax=5", {"RCPTMAX": 5}),
        ("LIMITS RCPTDOMAINMAX=1 NEW=x RCPTMAX=", {"RCPTDOMAINMAX": 1}),
        ("LIMITS RCPTMAX=0", {}),
        ("LIMITS RCPTMAX", {}),
        ("LIMITS RCPTMAX=-5 MAILMAX=1_0", {}),
        ("LIMITS", {}),
        ("DSN", {}),
    ],
)
def test_limits_are_positive_numbers_and_the_others_are_ignored(
    line: str, limits: dict[str, int]
) -> None:
    assert offered(line).limits == limits


@given(st.lists(st.text(max_size=30) | st.text("AUTHSIZE= -0123,٣", max_size=30), max_size=6))
def test_whatever_a_server_says_every_property_can_be_read(lines: list[str]) -> None:
    texts = [line.replace("\n", "").replace("\r", "") for line in lines]
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    extensions = offered(*texts, "SIZE " + (texts[0] if texts else ""))
    for name in dir(Extensions):
        if not name.startswith("_") and name != "of":
            getattr(extensions, name)
    assert repr(extensions).isascii()
    assert all(keyword == keyword.upper() for keyword in extensions.keywords)


def test_only_strings_are_keywords() -> None:
    assert 8 not in offered("8BITMIME")
    assert "8bitmime" in offered("8BITMIME")


@pytest.mark.requirement("T8")
@pytest.mark.parametrize("junk", ["A", "A-", "A ", "A=", " ", "9", "=", "AUTH "])
def test_a_megabyte_is_read_in_a_second(junk: str) -> None:
    began = process_time()
    extensions = offered(*[junk * (8000 // len(junk))] * 60, f"AUTH {junk * 100_000}"[:500_000])
    _ = extensions.auth, extensions.size, extensions.limits
    assert process_time() - began < 1


@pytest.mark.parametrize("copied", [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy])
def test_they_are_copied_as_they_are(copied):
    extensions = Extensions({"SIZE": "1000", "LIMITS": "RCPTMAX=20"})
    twin = copied(extensions)
    assert twin.keywords == extensions.keywords
    assert (twin.size, twin.rcpt_max) == (1000, 20)
