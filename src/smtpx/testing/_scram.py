"""The server's half of SCRAM (RFC 5802, RFC 7677), from the RFCs and nothing else."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata
from functools import partial

from smtpx import _checks

from ._mechanisms import AuthContext, Dialogue, MechanismError, ServerMechanism

_ITERATIONS = 4096


def scram(digest: str, *, plus: bool = False, iterations: int = _ITERATIONS) -> ServerMechanism:
    """Make SCRAM with a digest such as ``SHA-256``, bound to the TLS channel with `plus`."""
    _checks.one_of("digest", digest, ("SHA-1", "SHA-256", "SHA-512"))
    _checks.flag("plus", plus)
    _checks.count("iterations", iterations, 1)
    name = f"SCRAM-{digest}-PLUS" if plus else f"SCRAM-{digest}"
    algorithm = digest.replace("-", "").lower()
    return ServerMechanism(name, partial(_scram, name, algorithm, iterations))


scram.__module__ = "smtpx.testing"


def _scram(name: str, algorithm: str, iterations: int, context: AuthContext) -> Dialogue:
    """RFC 5802 §3: four messages, then an empty one, since the last is a challenge (RFC 4954)."""
    first = (yield b"").decode()
    flag, authzid, bare = _split(first, 2)
    if authzid:
        raise MechanismError(f"{name}: nobody may act for others here")
    if (problem := _binding_problem(name, flag, context)) is not None:
        _ = yield b"e=" + problem
        return None
    user, client_nonce = _fields(bare, "n", "r")
    user = user.replace("=2C", ",").replace("=3D", "=")
    nonce = client_nonce + secrets.token_urlsafe(18)
    # An unknown user is not told apart before the end.
    password = unicodedata.normalize("NFKC", context.users.get(user, secrets.token_hex()))
    salt = hashlib.sha256(user.encode()).digest()[:16]
    challenge = f"r={nonce},s={base64.b64encode(salt).decode()},i={iterations}"
    final = (yield challenge.encode()).decode()

    without_proof, _, proof = final.rpartition(",p=")
    binding, repeated = _fields(without_proof, "c", "r")
    if repeated != nonce:
        raise MechanismError(f"{name}: the nonce is not repeated (RFC 5802 §5.1)")
    header = f"{flag},{authzid},".encode()
    if _decoded(binding) != header + context.bindings.get(flag.removeprefix("p="), b""):
        _ = yield b"e=channel-bindings-dont-match"
        return None

    salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    message = f"{bare},{challenge},{without_proof}".encode()
    stored_key = hashlib.new(algorithm, client_key).digest()
    signature = hmac.digest(stored_key, message, algorithm)
    expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    if not hmac.compare_digest(expected, _decoded(proof)):
        _ = yield b"e=invalid-proof"
        return None
    server_key = hmac.digest(salted, b"Server Key", algorithm)
    verifier = base64.b64encode(hmac.digest(server_key, message, algorithm))
    if (yield b"v=" + verifier):
        raise MechanismError(f"{name}: the last answer is empty (RFC 4422 §3.6)")
    return user


def _binding_problem(name: str, flag: str, context: AuthContext) -> bytes | None:
    """What is wrong with the client's word on channel binding (RFC 5802 §6)."""
    if name.endswith("-PLUS"):
        if not flag.startswith("p="):
            raise MechanismError(f"{name} without a channel binding (RFC 5802 §6)")
        known = flag.removeprefix("p=") in context.bindings
        return None if known else b"unsupported-channel-binding-type"
    if flag.startswith("p="):
        raise MechanismError(f"{name} with a channel binding (RFC 5802 §6)")
    if flag == "y" and f"{name}-PLUS" in context.offered:
        return b"server-does-support-channel-binding"
    if flag not in ("y", "n"):
        raise MechanismError(f"{name}: {flag!r} is no flag of GS2 (RFC 5801 §4)")
    return None


def _split(text: str, commas: int) -> list[str]:
    parts = text.split(",", commas)
    if len(parts) <= commas:
        raise MechanismError("SCRAM: the header of GS2 is incomplete (RFC 5801 §4)")
    return parts


def _fields(text: str, *names: str) -> list[str]:
    parts = text.split(",")
    if [part[:2] for part in parts] != [f"{name}=" for name in names]:
        raise MechanismError(f"SCRAM: not {names} in this order (RFC 5802 §7): {text!r}")
    return [part[2:] for part in parts]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MechanismError(f"SCRAM: no base64: {error}") from error


SCRAM_MECHANISMS = (
    scram("SHA-512", plus=True),
    scram("SHA-256", plus=True),
    scram("SHA-1", plus=True),
    scram("SHA-512"),
    scram("SHA-256"),
    scram("SHA-1"),
)
