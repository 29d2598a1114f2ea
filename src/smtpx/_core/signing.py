"""The caller's signer, called when the content is as it would be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx._wire.content import Content
from smtpx.errors import (
    AddressError,
    LocalProtocolError,
    MarkRefused,
    SessionFull,
    SignerFailed,
)

if TYPE_CHECKING:
    from smtpx.signing import Signer

# By what a signer says that it does not want a message.
_OF_THE_MESSAGE = (LocalProtocolError, AddressError)
_OF_OTHERS = (SessionFull, MarkRefused)


def signed(signer: Signer, content: Content, *, binary: bool) -> Content:
    """What the signer makes of the content.

    Raises:
        LocalProtocolError, AddressError: it cannot be signed, as the signer or the content is.
        SignerFailed: the signer did not work.
    """
    if not content.is_repeatable:
        raise LocalProtocolError(
            "a signature goes before the content that it is made of, so that a file or an iterator "
            "would have to be read as a whole: give bytes, or send it without a signer"
        )
    if binary:
        raise LocalProtocolError(
            "what is signed has lines, and BODY=BINARYMIME has none: encode the content"
        )
    octets = content.whole
    try:
        made = signer(b"".join(content.pieces()) if octets is None else octets)
    except Exception as error:
        if isinstance(error, _OF_THE_MESSAGE) and not isinstance(error, _OF_OTHERS):
            raise
        # An OSError, say, would be taken for the connection's.
        raise SignerFailed(f"the signer failed: {error!r}") from error
    if not isinstance(made, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise SignerFailed(
            f"a signer returns the content as bytes, and this one {type(made).__name__}"
        )
    return Content(made)
