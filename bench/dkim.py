"""What a DKIM signature costs a message: CPU of one process, beside dkimpy's own `dkim.sign()`."""

from __future__ import annotations

import statistics
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping

from bench.table import WIDTH, span

ROUNDS = 5
MESSAGES = 40
CONTENT = (
    b"From: Ann <ann@example.org>\r\nTo: Bob <bob@example.net>\r\nSubject: news\r\n"
    b"Date: Thu, 26 Nov 2026 09:30:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
) + (b"A line of the news, as long as lines are when a program wraps them.\r\n" * 40)
DOMAIN, SELECTOR = "example.org", "news"


def contenders() -> dict[str, Callable[[], bytes]]:
    """By name, what signs the content once; the keys are loaded."""
    import dkim  # type: ignore[import-untyped]
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    from smtpx import DKIMKey, DKIMSigner

    rsa_key = rsa.generate_private_key(65537, 2048)
    pem = rsa_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    ed25519_key = ed25519.Ed25519PrivateKey.generate()
    seed = b64encode(ed25519_key.private_bytes_raw())

    def dkimpy(key: bytes, algorithm: bytes) -> bytes:
        field: bytes = dkim.sign(
            CONTENT,
            SELECTOR.encode(),
            DOMAIN.encode(),
            key,
            canonicalize=(b"relaxed", b"relaxed"),
            signature_algorithm=algorithm,
        )
        return field + CONTENT

    def smtpx(*keys: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> Callable[[], bytes]:
        signer = DKIMSigner(*(DKIMKey(DOMAIN, f"s{i}", key) for i, key in enumerate(keys)))
        return lambda: signer(CONTENT)

    return {
        "dkimpy, RSA 2048": lambda: dkimpy(pem, b"rsa-sha256"),
        "smtpx, RSA 2048": smtpx(rsa_key),
        "smtpx, RSA 2048 and Ed25519": smtpx(rsa_key, ed25519_key),
        "dkimpy, Ed25519": lambda: dkimpy(seed, b"ed25519-sha256"),
        "smtpx, Ed25519": smtpx(ed25519_key),
    }


def measure(messages: int = MESSAGES) -> dict[str, float]:
    """Seconds of CPU a message, by contender: medians of rounds in which they take turns."""
    signing = contenders()
    rounds: dict[str, list[float]] = {name: [] for name in signing}
    for _ in range(ROUNDS):
        for name, sign in signing.items():
            start = time.process_time()
            for _ in range(messages):
                _ = sign()
            rounds[name].append((time.process_time() - start) / messages)
    return {name: statistics.median(taken) for name, taken in rounds.items()}


def lines(costs: Mapping[str, float]) -> Iterator[str]:
    base = costs["dkimpy, RSA 2048"]
    title = f"Signing a message of {len(CONTENT) / 1000:.1f} kB"
    yield f"\n{title}\n{'':{WIDTH}}{'CPU':>11}{'messages/s':>12}{'speed':>9}"
    for name, cost in costs.items():
        yield f"  {name:{WIDTH - 2}}{span(cost):>11}{1 / cost:12,.0f}{base / cost:8.2f}x"
