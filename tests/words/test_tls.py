"""How a connection is protected, as a value."""

from __future__ import annotations

import ssl

import pytest

from smtpx.tls import TLSMode, TLSPolicy


def test_a_mode_alone_is_a_policy() -> None:
    policy = TLSPolicy(TLSMode.STARTTLS)
    assert (policy.ca_file, policy.context, policy.server_hostname) == (None, None, None)
    assert policy == TLSPolicy(TLSMode("starttls"))


def test_authorities_and_a_context_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="not both"):
        TLSPolicy(TLSMode.IMPLICIT, ca_file="ca.pem", context=ssl.create_default_context())
    assert TLSPolicy(TLSMode.IMPLICIT, ca_file="ca.pem").ca_file == "ca.pem"
