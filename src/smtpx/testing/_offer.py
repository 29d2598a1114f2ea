"""What the reply to EHLO shows (RFC 5321 §4.1.1.1)."""

from __future__ import annotations

from ._extensions import Extension
from ._options import AuthForm, ServerOptions


def extensions_offered(options: ServerOptions, *, tls: bool) -> frozenset[Extension]:
    """Return what `options` amount to in this session."""
    offered = set(options.extensions)
    if tls or not options.starttls:
        offered.discard(Extension.STARTTLS)
    if not tls:
        offered.discard(Extension.REQUIRETLS)
    if not (options.users or options.any_login) or (options.auth_needs_tls and not tls):
        offered.discard(Extension.AUTH)
    if Extension.CHUNKING not in offered:
        offered.discard(Extension.BINARYMIME)
    return frozenset(offered)


def ehlo_lines(options: ServerOptions, offered: frozenset[Extension]) -> list[str]:
    """Write a line for each extension, then the verbatim ones."""
    lines: list[str] = []
    for extension in Extension:
        if extension not in offered:
            continue
        match extension:
            case Extension.SIZE if options.size_limit is not None:
                lines.append(f"SIZE {options.size_limit}")
            case Extension.AUTH:
                names = " ".join(mechanism.name for mechanism in options.mechanisms)
                if options.auth_form is not AuthForm.OLD:
                    lines.append(f"AUTH {names}")
                if options.auth_form is not AuthForm.STANDARD:
                    lines.append(f"AUTH={names}")
            case Extension.LIMITS:
                lines.append("LIMITS" + _limits(options))
            case Extension.FUTURERELEASE:
                lines.append("FUTURERELEASE 604800 2099-12-31T23:59:59Z")
            case _:
                lines.append(extension.value)
    return [*lines, *options.ehlo_lines]


def _limits(options: ServerOptions) -> str:
    limits = {
        "MAILMAX": options.mail_limit,
        "RCPTMAX": options.recipient_limit,
        "RCPTDOMAINMAX": options.domain_limit,
    }
    return "".join(f" {name}={limit}" for name, limit in limits.items() if limit is not None)
