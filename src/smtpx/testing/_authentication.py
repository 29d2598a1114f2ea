"""The AUTH exchange of a session (RFC 4954 §4)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import NamedTuple

from ._mechanisms import AuthContext, Dialogue, MechanismError
from ._options import ServerOptions


class Said(NamedTuple):
    """The parts of a reply."""

    code: int
    enhanced: str
    text: str


class Authentication:
    """Who the client says it is, and whether that is true; breaches go to `breaches`."""

    def __init__(self, options: ServerOptions, breaches: list[str]) -> None:
        self.user: str | None = None
        self.bindings: Mapping[str, bytes] = {}
        self.certificate_user: str | None = None
        self._options = options
        self._breaches = breaches
        self._dialogue: Dialogue | None = None

    def begin(self, argument: str) -> Said:
        """Answer ``AUTH mechanism [initial response]``; a 334 asks for a response."""
        name, space, initial = argument.partition(" ")
        mechanism = next((m for m in self._options.mechanisms if m.name == name.upper()), None)
        if mechanism is None:
            self._breaches.append(f"AUTH with mechanism {name!r}, which was not offered")
            return Said(504, "5.5.4", "Unrecognized authentication type")
        if space and not mechanism.client_first:
            self._breaches.append(f"initial response to {name}, where the server speaks first")
            return Said(501, "5.7.0", "No initial response here")
        context = AuthContext(
            self._options.users,
            frozenset(mechanism.name for mechanism in self._options.mechanisms),
            self.bindings,
            self.certificate_user,
            self._options.any_login,
        )
        self._dialogue = mechanism.dialogue(context)
        challenge = next(self._dialogue)
        if not space:
            return _challenge(challenge)
        if not initial:
            return self._malformed("an empty initial response is written = (RFC 4954 §4)")
        return self._respond("" if initial == "=" else initial)

    def respond(self, line: str) -> Said:
        """Answer a line the client sent after a 334."""
        if line == "*":
            self.cancel()
            return Said(501, "5.7.0", "Authentication cancelled")
        return self._respond(line)

    def cancel(self) -> None:
        """Forget the exchange."""
        self._dialogue = None

    def _respond(self, text: str) -> Said:
        if self._dialogue is None:
            raise AssertionError("a response is read within an AUTH exchange only")
        try:
            challenge = self._dialogue.send(base64.b64decode(text.encode(), validate=True))
        except StopIteration as result:
            self.cancel()
            self.user = result.value
            if self.user is None:
                return Said(535, "5.7.8", "Authentication credentials invalid")
            return Said(235, "2.7.0", "Authentication successful")
        except (binascii.Error, UnicodeDecodeError, MechanismError) as error:
            return self._malformed(str(error))
        return _challenge(challenge)

    def _malformed(self, why: str) -> Said:
        self.cancel()
        self._breaches.append(f"AUTH: malformed response: {why}")
        return Said(501, "5.5.2", "Cannot decode the response")


def _challenge(challenge: bytes) -> Said:
    return Said(334, "", base64.b64encode(challenge).decode())
