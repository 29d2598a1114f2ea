"""TLS policies into `ssl` contexts."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from smtpx.tls import TLSMode, TLSPolicy

if TYPE_CHECKING:
    import ssl


def context_for(policy: TLSPolicy) -> ssl.SSLContext | None:
    """The context that does what the policy says; ``None`` where TLS is never wanted.

    Certificate and name are verified, and nothing older than TLS 1.2 is spoken, unless the
    policy brings a context of its own.
    """
    if policy.mode is TLSMode.NONE:
        return None
    if policy.context is not None:
        return policy.context
    if policy.ca_file is None:
        return _system_context()
    return _verifying_context(str(policy.ca_file))


@cache
def _system_context() -> ssl.SSLContext:
    # Reading the system's authorities takes tens of milliseconds: done once, shared by all.
    return _verifying_context(None)


def _verifying_context(ca_file: str | None) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
