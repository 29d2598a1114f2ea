"""Whether a name in a certificate is that of a host (RFC 6125 §6.4); pure."""

from __future__ import annotations

__all__ = ["is_named"]


def is_named(name: str, pattern: str) -> bool:
    """``*`` stands for one whole label, the first (RFC 6125 §6.4.3)."""
    name, pattern = name.lower().rstrip("."), pattern.lower().rstrip(".")
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:] and "." in pattern[2:]
    return name == pattern
