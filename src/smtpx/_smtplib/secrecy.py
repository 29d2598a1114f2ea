"""What is said in an AUTH exchange is shown nowhere: no debug output, no error text."""

from __future__ import annotations

import binascii
from base64 import b64decode

__all__ = ["Secrecy"]

_REDACTED = "[redacted]"


class Secrecy:
    """Follows one connection's dialogue and knows which parts of it are secret."""

    __slots__ = ("_forms", "challenged")

    def __init__(self) -> None:
        self.challenged = False
        """The last reply was a 334: the next line is the answer to it."""
        self._forms: list[bytes] = []

    def shown(self, said: str | bytes) -> str | bytes:
        """What may be shown of a line that is to be sent."""
        if not self._is_secret(said):
            return said
        text = said if isinstance(said, str) else said.decode("utf-8", "replace")
        line = text.rstrip("\r\n")
        end = text[len(line) :]
        if self.challenged:
            shown = _REDACTED + end
        else:
            words = line.split(" ", 2)
            shown = " ".join([*words[:2], *[_REDACTED for _ in words[2:]]]) + end
        return shown if isinstance(said, str) else shown.encode()

    def say(self, said: str | bytes) -> None:
        """Note a line that is being sent."""
        if not self._is_secret(said):
            if self._forms:
                self._forms = []
            return
        octets = said.encode("utf-8", "replace") if isinstance(said, str) else bytes(said)
        argument = octets.strip() if self.challenged else octets.split(None, 2)[2:]
        self.challenged = False
        for word in [argument] if isinstance(argument, bytes) else argument:
            self._keep(word.strip())

    def hide(self, heard: bytes) -> bytes:
        """A server's text without the secrets that it echoes."""
        for form in self._forms:
            heard = heard.replace(form, _REDACTED.encode())
        return heard

    def _is_secret(self, said: str | bytes) -> bool:
        if self.challenged:
            return True
        head = said[:5]
        return (head if isinstance(head, str) else head.decode("latin-1")).upper() == "AUTH "

    def _keep(self, argument: bytes) -> None:
        forms = {argument}
        try:
            decoded = b64decode(argument)
        except (binascii.Error, ValueError):
            pass  # not base64: it is its own only form
        else:
            forms |= {decoded, *decoded.split(b"\0")}
        forms |= set(self._forms)
        self._forms = sorted(forms - {b"", b"=", b"*"}, key=len, reverse=True)
