"""The URL of a proxy."""

from __future__ import annotations

import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx._proxies import Proxy, ProxyKind
from smtpx.errors import EndpointError

S5, S4, H = ProxyKind.SOCKS5, ProxyKind.SOCKS4A, ProxyKind.HTTP


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("socks5://proxy.test", Proxy(S5, "proxy.test", 1080)),
        ("socks5h://proxy.test", Proxy(S5, "proxy.test", 1080)),
        ("SOCKS5://proxy.test:1", Proxy(S5, "proxy.test", 1)),
        ("socks4a://proxy.test/", Proxy(S4, "proxy.test", 1080)),
        ("socks4a://ann@proxy.test", Proxy(S4, "proxy.test", 1080, "ann")),
        ("http://[::1]:3128", Proxy(H, "::1", 3128)),
        ("http://ann:p%40@proxy.test", Proxy(H, "proxy.test", 8080, "ann", "p@")),
        ("http://ann:p%C3%BC@proxy.test", Proxy(H, "proxy.test", 8080, "ann", "pü")),
        ("http://ann@proxy.test", Proxy(H, "proxy.test", 8080, "ann")),
        ("socks5://ann:pw@proxy.test", Proxy(S5, "proxy.test", 1080, "ann", "pw")),
    ],
)
def test_a_url_is_read(url: str, proxy: Proxy) -> None:
    assert Proxy.parse(url) == proxy
    if proxy.password:
        with pytest.raises(TypeError, match="not pickled"):
            _ = pickle.dumps(proxy)
    else:
        assert pickle.loads(pickle.dumps(proxy)) == proxy


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("proxy.test:1080", "not scheme://host"),
        ("socks5://proxy.test\n", "not scheme://host"),
        ("socks4://proxy.test", "unknown scheme"),
        ("https://proxy.test", "unknown scheme"),
        ("socks5://", "names no host"),
        ("socks5://proxy.test:x", "port"),
        ("socks5://proxy.test/path", "ends with its port"),
        ("socks5://proxy.test?tls=none", "ends with its port"),
        ("socks5://ann@proxy.test", "both a user and a password"),
        ("socks5://:pw@proxy.test", "both a user and a password"),
        ("socks5://ann:%C3%BC@proxy.test", "255 ASCII"),
        ("socks5://ann:" + "x" * 256 + "@proxy.test", "255 ASCII"),
        ("socks4a://ann:pw@proxy.test", "no passwords"),
        ("socks4a://a%00b@proxy.test", "without NUL"),
        ("http://a%3Ab:pw@proxy.test", "without :"),
        ("http://ann:%E6%BC%A2@proxy.test", "Latin-1"),
        ("http://:pw@proxy.test", "no user"),
    ],
)
def test_a_mistake_is_named(url: str, why: str) -> None:
    with pytest.raises(EndpointError, match=f"^proxy: .*{why}"):
        _ = Proxy.parse(url)


@pytest.mark.requirement("T26")
@given(
    st.sampled_from(["Zq7Kw", "Zq7Kw漢", "Zq7Kw@", "Zq7Kw/x", "Zq7Kw?"]),
    st.sampled_from(["socks5", "socks4a", "http", "ftp"]),
    st.sampled_from(["@proxy.test", "@proxy.test:x", "@", "@[::1", ""]),
)
def test_the_password_shows_nowhere(password: str, scheme: str, rest: str) -> None:
    try:
        proxy = Proxy.parse(f"{scheme}://ann:{password}{rest}")
        shown = str(proxy) + repr(proxy)
    except EndpointError as error:
        shown = "".join(traceback.format_exception(error, chain=True, limit=0)) + repr(error)
    assert "Zq7Kw" not in shown
