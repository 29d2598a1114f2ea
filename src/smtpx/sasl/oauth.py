"""The mechanisms that send an access token: OAUTHBEARER (RFC 7628), XOAUTH2 (Google, Microsoft)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from smtpx.sasl.credentials import Credentials
from smtpx.sasl.mechanism import ANY_CHANNEL, Channel, Mechanism, check_given

__all__ = ["OAuthBearer", "XOAuth2"]


class _Bearer(Mechanism):
    """What both have: one message, and a refusal that is explained in JSON."""

    reveals_secret = True
    _acknowledgement = b""

    def __init__(self, credentials: Credentials, channel: Channel = ANY_CHANNEL) -> None:
        check_given(credentials, channel)
        self._credentials = credentials
        self._token = credentials.known_token
        self._channel = channel
        self._details: Mapping[str, str] = {}

    def respond(self, challenge: bytes) -> bytes:
        """The server has said why it is going to refuse; let it."""
        self._details = _explanation(challenge)
        return self._acknowledgement

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The message and the token."""
        return self.initial() or b"", self._token.encode()

    @property
    def details(self) -> Mapping[str, str]:
        """The fields of the server's JSON: ``status``, ``scope``, ``schemes`` and what else."""
        return self._details


class OAuthBearer(_Bearer):
    """OAUTHBEARER (RFC 7628)."""

    name = "OAUTHBEARER"
    # RFC 7628 §3.2.3
    _acknowledgement = b"\x01"

    def initial(self) -> bytes:
        """The header of GS2, and key-value pairs between ^A (RFC 7628 §3.1)."""
        whom = self._credentials.authzid or self._credentials.user
        # RFC 5801 §4: a comma ends the name, and an equals sign escapes.
        name = whom.replace("=", "=3D").replace(",", "=2C")
        pairs = ["n," + (f"a={name}" if name else "") + ","]
        if self._channel.host:
            pairs += [f"host={self._channel.host}", f"port={self._channel.port}"]
        pairs += [f"auth=Bearer {self._token}", "", ""]
        return "\x01".join(pairs).encode()


class XOAuth2(_Bearer):
    """XOAUTH2, which came before OAUTHBEARER and is what most servers have."""

    name = "XOAUTH2"

    def __init__(self, credentials: Credentials, channel: Channel = ANY_CHANNEL) -> None:
        check_given(credentials, channel)
        credentials.refuse_authzid()
        super().__init__(credentials, channel)

    def initial(self) -> bytes:
        """``user=… ^A auth=Bearer … ^A ^A``."""
        return f"user={self._credentials.user}\x01auth=Bearer {self._token}\x01\x01".encode()


def _explanation(challenge: bytes) -> dict[str, str]:
    try:
        found: object = json.loads(challenge)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    fields = cast("dict[str, object]", found)
    return {
        name: value if isinstance(value, str) else repr(value) for name, value in fields.items()
    }
