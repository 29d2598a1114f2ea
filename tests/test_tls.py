"""How a connection is protected, as a value."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import ssl
from typing import Any

import pytest

from smtpx.pins import Pin, PinKind
from smtpx.tls import ClientCertificate, Protection, TLSMode, TLSPolicy, TLSVersion

PIN = Pin(PinKind.CERTIFICATE, bytes(32))
CONTEXT = ssl.create_default_context()
OWN = ClientCertificate("me.pem")


def test_a_mode_alone_is_a_policy() -> None:
    policy = TLSPolicy(TLSMode.STARTTLS)
    assert (policy.ca_file, policy.context, policy.server_hostname) == (None, None, None)
    assert (policy.pins, policy.pins_suffice) == ((), False)
    assert policy == TLSPolicy(TLSMode("starttls"))
    assert policy != TLSPolicy(TLSMode.IMPLICIT)


def test_pins_are_values_or_strings_one_or_more() -> None:
    for pins in (PIN, str(PIN), [PIN], iter([str(PIN)])):
        assert TLSPolicy(TLSMode.STARTTLS, pins=pins).pins == (PIN,)


def test_it_is_a_value() -> None:
    policy = TLSPolicy(TLSMode.STARTTLS, pins=PIN, client_certificate=OWN)
    assert dataclasses.replace(policy) == policy
    assert hash(dataclasses.replace(policy)) == hash(policy)
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.pins = ()  # type: ignore[misc] # that is the point


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context": CONTEXT, "ca_file": "ca.pem"}, "a context or a ca_file"),
        ({"context": CONTEXT, "minimum_version": TLSVersion.TLS_1_2}, "or a minimum_version"),
        ({"context": CONTEXT, "client_certificate": OWN}, "or a client_certificate"),
        ({"context": CONTEXT, "pins": PIN, "pins_suffice": True}, "CERT_NONE"),
        ({"pins_suffice": True}, "needs pins"),
        ({"pins": PIN, "pins_suffice": True, "ca_file": "ca.pem"}, "leave out ca_file"),
        ({"mode": TLSMode.OPPORTUNISTIC, "pins": PIN}, "use TLSMode.STARTTLS"),
        ({"pins": "md5:00"}, "sha256//BASE64"),
        ({"server_hostname": ""}, "host name"),
        ({"server_hostname": "."}, "host name"),
        ({"server_hostname": "mail.example.org\0.example.net"}, "host name"),
        ({"server_hostname": "müller.example"}, "A-labels"),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _ = TLSPolicy(**{"mode": TLSMode.STARTTLS, **options})


@pytest.mark.parametrize(
    "option",
    [
        {"ca_file": "ca.pem"},
        {"context": CONTEXT},
        {"server_hostname": "mail.example.org"},
        {"minimum_version": TLSVersion.TLS_1_2},
        {"pins": PIN},
        {"client_certificate": OWN},
        {"pins_suffice": True},
    ],
)
def test_no_protection_takes_no_settings(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"protects nothing|needs pins"):
        _ = TLSPolicy(TLSMode.NONE, **option)


def test_the_password_of_a_key_is_not_shown() -> None:
    certificate = ClientCertificate("me.pem", password="s3cret")
    assert "s3cret" not in repr(TLSPolicy(TLSMode.STARTTLS, client_certificate=certificate))


def test_what_is_long_is_not_shown() -> None:
    shown = repr(Protection("TLSv1.3", "TLS_AES_128_GCM_SHA256", b"der", names=("mx.example",)))
    assert "mx.example" in shown
    assert "der" not in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "starttls"}, "mode: give a smtpx.TLSMode, not str"),
        ({"minimum_version": ssl.TLSVersion.TLSv1_3}, "give a smtpx.TLSVersion"),
        ({"minimum_version": "TLSv1.3"}, "give a smtpx.TLSVersion"),
        ({"pins": [bytes(32)]}, "give a smtpx.Pin"),
        ({"client_certificate": "me.pem"}, "give a smtpx.ClientCertificate"),
    ],
)
def test_what_only_looks_like_a_setting_is_not_passed_over(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        _ = TLSPolicy(**{"mode": TLSMode.STARTTLS, **options})


@pytest.mark.requirement("T26")
def test_the_password_of_a_key_is_not_pickled() -> None:
    secretive = ClientCertificate("me.pem", password="hunter2-of-ann")
    for holder in (secretive, TLSPolicy(TLSMode.IMPLICIT, client_certificate=secretive)):
        with pytest.raises(TypeError, match="not pickled"):
            _ = pickle.dumps(holder)
        assert copy.deepcopy(holder) == holder
    policy = TLSPolicy(TLSMode.IMPLICIT, client_certificate=OWN)
    assert pickle.loads(pickle.dumps(policy)) == policy
