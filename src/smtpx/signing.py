"""What is done to the content last, right before it is sent: DKIM, or a hook of your own.

RFC 6376 (DKIM), 8301 (its algorithms and key sizes), 8463 (Ed25519).
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from smtpx import _checks
from smtpx._values import Value, field
from smtpx.addresses import Address
from smtpx.errors import AddressError, ExtraMissing, LocalProtocolError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    PrivateKey: TypeAlias = RSAPrivateKey | Ed25519PrivateKey

__all__ = ["DKIMKey", "DKIMSigner", "Signer"]

Signer: TypeAlias = Callable[[bytes], bytes]
"""Takes the whole content, with CRLF line ends, and returns what is sent in its place.

DKIM and ARC put fields before it; S/MIME and OpenPGP write it anew. Signers that follow each other
are one that calls another: ``lambda content: dkim(smime(content))``. It is called for each time
a message is sent, maybe by several threads; an error of its own means that nothing is sent. One
that does not want a message raises a `LocalProtocolError`: any other says nothing of the message.
"""

_SELECTOR = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?", re.IGNORECASE)
_LEAST_BITS = 1024

# Signed once more than they are there, if only never: nobody can add one (RFC 6376 §8.15).
_SEALED = ("from", "to", "cc", "subject", "reply-to")
# The same, if they are there: a submission server may complete a message (RFC 6409 §8).
_SEALED_WHERE_PRESENT = (
    *("date", "sender", "message-id", "in-reply-to", "references"),
    *("mime-version", "content-type", "content-transfer-encoding", "content-language"),
    *("list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post", "list-subscribe"),
    *("list-post", "list-owner", "list-archive"),
    *("auto-submitted", "feedback-id", "cfbl-address", "cfbl-feedback-id"),
    *("tls-report-domain", "tls-report-submitter", "tls-required"),
)
# As often as they are there: who resends the message adds another block (RFC 5322 §3.6.6).
_AS_PRESENT = tuple(
    f"resent-{name}" for name in ("date", "from", "sender", "to", "cc", "message-id")
)


class _Signature(NamedTuple):
    signature: bytes


class _Digester(Value):
    """A private key as dkimpy calls one that signs a digest by itself."""

    sign_digest: Callable[[bytes], bytes]

    def sign(self, digest: bytes) -> _Signature:
        return _Signature(self.sign_digest(digest))


class DKIMKey(Value):
    """A private key, loaded, and where its public half is found: ``selector._domainkey.domain``."""

    domain: str
    """Who signs (``d=``); an internationalized domain as A-labels."""
    selector: str
    algorithm: str
    """``rsa-sha256`` or ``ed25519-sha256``, as the key is."""
    _private: _Digester = field(repr=False, compare=False)

    def __init__(self, domain: str, selector: str, key: str | bytes | PrivateKey) -> None:
        """Take the key as the contents of a PEM file, or as an object of `cryptography`.

        Raises:
            LocalProtocolError: it is no RSA or Ed25519 private key, an RSA key has less than 1024
                bits, or the domain or selector is none.
            ExtraMissing: the extra ``smtpx[dkim]`` is not installed.
        """
        _checks.text("domain", domain)
        _checks.text("selector", selector)
        try:
            domain = Address.parse(f"postmaster@{domain}").domain
        except AddressError:
            raise LocalProtocolError(
                f"domain={domain!r} is not a domain: give one such as 'example.org'"
            ) from None
        if not _SELECTOR.fullmatch(selector) or ".." in selector:
            raise LocalProtocolError(
                f"selector={selector!r} is not a DKIM selector: give the part of the TXT record's "
                "name that stands before ._domainkey"
            )
        algorithm, sign_digest = _loaded(_private_key(key))
        put = object.__setattr__
        put(self, "domain", domain)
        put(self, "selector", selector)
        put(self, "algorithm", algorithm)
        put(self, "_private", _Digester(sign_digest))


class DKIMSigner:
    """A `Signer` that puts one DKIM-Signature field a key before the content.

    Header section and body are ``relaxed``. Those fields are signed that RFC 6376 §5.4.1 names, as
    far as they are there. From, To, Cc, Subject and Reply-To are signed once more: a second one
    that somebody adds breaks the signature.
    """

    __slots__ = ("_dkimpy", "keys")

    keys: tuple[DKIMKey, ...]

    def __init__(self, *keys: DKIMKey) -> None:
        """Sign by each of the keys; an RSA and an Ed25519 key have selectors of their own.

        Raises:
            LocalProtocolError: there is no key, or a selector twice.
            ExtraMissing: the extra ``smtpx[dkim]`` is not installed.
        """
        if not keys:
            raise LocalProtocolError("DKIM needs at least one DKIMKey")
        for key in keys:
            _checks.instance("keys", key, DKIMKey)
        if len({(key.domain, key.selector) for key in keys}) < len(keys):
            raise LocalProtocolError(
                "two keys have the same selector: each needs a TXT record of its own"
            )
        self._dkimpy = _extra("dkim")
        self.keys = keys

    def __call__(self, content: bytes) -> bytes:
        """The content with its signatures.

        Raises:
            LocalProtocolError: it has no header section to be signed, or not exactly one From.
        """
        if not isinstance(content, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("content", content, "bytes")
        return b"".join([*self._fields(content), content])

    def _fields(self, content: bytes) -> Iterator[bytes]:
        dkimpy = self._dkimpy
        try:
            message = dkimpy.DKIM(content)
        except (dkimpy.DKIMException, IndexError) as error:
            raise LocalProtocolError(
                f"the content cannot be DKIM-signed, its header section is malformed: {error}"
            ) from error
        names: list[bytes] = [name.lower() for name, _ in message.headers]
        if names.count(b"from") != 1:
            raise LocalProtocolError(
                "the content cannot be DKIM-signed: it has "
                f"{names.count(b'from')} From fields and needs one (RFC 6376 §5.4)"
            )
        signed = _signed(names)
        policy = dkimpy.CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
        body_hash = b64encode(sha256(policy.canonicalize_body(message.body)).digest())
        now = b"%d" % time.time()
        message.hasher = sha256
        # dkimpy's own RSA is pure Python, several times as slow as OpenSSL's, and its time tells of
        # the key. What it takes for an Ed25519 key signs the digest by itself: so does every key.
        message.signature_algorithm = b"ed25519-sha256"
        for key in self.keys:
            tags = [
                (b"v", b"1"),
                (b"a", key.algorithm.encode()),
                (b"c", policy.to_c_value()),
                (b"d", key.domain.encode()),
                (b"s", key.selector.encode()),
                (b"t", now),
                (b"h", b" : ".join(signed)),
                (b"bh", body_hash),
                (b"b", b"0" * 60),  # Holds the place: so the field is folded before it as after.
            ]
            yield b"DKIM-Signature: " + message.gen_header(
                tags, signed, policy, b"DKIM-Signature", key._private
            )


def _signed(names: Sequence[bytes]) -> list[bytes]:
    """The names of ``h=``, for a header section that has these."""
    signed: list[bytes] = []
    for listed, more, always in (
        (_SEALED, 1, True),
        (_SEALED_WHERE_PRESENT, 1, False),
        (_AS_PRESENT, 0, False),
    ):
        for name in listed:
            count = names.count(name.encode())
            if count or always:
                signed += [name.encode()] * (count + more)
    return signed


def _extra(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ExtraMissing("dkim", module.partition(".")[0], "DKIM") from error


def _private_key(key: str | bytes | PrivateKey) -> Any:
    """A key of `cryptography`'s, from PEM if it is none yet."""
    if not isinstance(key, (str, bytes)):
        return key
    octets = key.encode() if isinstance(key, str) else key
    load = _extra("cryptography.hazmat.primitives.serialization").load_pem_private_key
    try:
        return load(octets, password=None)
    except TypeError as error:
        raise LocalProtocolError(
            "key= has a password: load it by cryptography's load_pem_private_key(), and give that"
        ) from error
    except Exception as error:  # ValueError, or one of cryptography's own.
        raise LocalProtocolError(f"key= is not a private key: {_advice(octets)}") from error


def _advice(octets: bytes) -> str:
    if b"PUBLIC KEY" in octets:
        return "it is the public one, which belongs into the DNS"
    if b"-----BEGIN" not in octets:
        return 'give the contents of the PEM file, as by Path("dkim.pem").read_bytes()'
    return "its PEM is damaged, or of a kind that is not known"


def _loaded(key: Any) -> tuple[str, Callable[[bytes], bytes]]:
    """Its algorithm, and what signs a SHA-256 digest by it."""
    primitives = "cryptography.hazmat.primitives"
    ed25519 = _extra(f"{primitives}.asymmetric.ed25519")
    rsa = _extra(f"{primitives}.asymmetric.rsa")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519-sha256", key.sign  # RFC 8463 §3: PureEdDSA, of the digest.
    if not isinstance(key, rsa.RSAPrivateKey):
        raise LocalProtocolError(
            f"key= is neither an RSA nor an Ed25519 private key, but {type(key).__name__}"
        )
    if key.key_size < _LEAST_BITS:
        raise LocalProtocolError(
            f"key= has {key.key_size} bits, and a verifier takes none of less than {_LEAST_BITS} "
            "(RFC 8301 §3.2): make one of 2048"
        )
    padding = _extra(f"{primitives}.asymmetric.padding").PKCS1v15()
    digest_of = _extra(f"{primitives}.asymmetric.utils").Prehashed(
        _extra(f"{primitives}.hashes").SHA256()
    )
    return "rsa-sha256", lambda digest: key.sign(digest, padding, digest_of)
