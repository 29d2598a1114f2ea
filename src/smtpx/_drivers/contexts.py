"""TLS policies into `ssl` contexts."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from smtpx.errors import LocalProtocolError
from smtpx.tls import NOTHING_MISSING, ClientCertificate, Missing, TLSPolicy, TLSVersion

if TYPE_CHECKING:
    import ssl
    from os import PathLike


def context_for(policy: TLSPolicy) -> ssl.SSLContext:
    """The context that does what the policy says.

    Certificate and name are verified, and nothing older than TLS 1.2 is spoken, unless the
    policy brings a context of its own. Its files are read now.

    Raises:
        LocalProtocolError: one of them cannot be read.
    """
    if policy.context is not None:
        return policy.context
    own = (policy.ca_file, policy.minimum_version, policy.client_certificate)
    if own == (None, None, None) and not policy.pins_suffice:
        return _system_context()
    context = _pinning_context() if policy.pins_suffice else _verifying_context(policy.ca_file)
    if policy.minimum_version is TLSVersion.TLS_1_3:
        context.minimum_version = type(context.minimum_version).TLSv1_3
    if policy.client_certificate is not None:
        _load(context, policy.client_certificate)
    return context


@cache
def _system_context() -> ssl.SSLContext:
    # Reading the system's authorities takes tens of milliseconds: done once, shared by all.
    return _verifying_context(None)


def _verifying_context(ca_file: str | PathLike[str] | None) -> ssl.SSLContext:
    import ssl

    if ca_file is None and (kind := _system_kind()) is not None:
        context = kind(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
    # Without a descriptor OpenSSL finds no authorities, and says nothing of it.
    with open(os.devnull, "rb", buffering=0):  # noqa: PTH123 - pathlib is not loaded for it
        pass
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise LocalProtocolError(
            f"TLSPolicy.ca_file={str(ca_file)!r} cannot be read as PEM: {error}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _system_kind() -> type[ssl.SSLContext] | None:
    """A context of `truststore`, if it is installed: it asks the system, also on macOS."""
    try:
        from truststore import SSLContext
    except ImportError:
        return None
    return SSLContext


def missing_from(context: ssl.SSLContext) -> Missing:
    """The authorities that this Python looks for, and does not find, where the context has none."""
    import ssl

    if context.cert_store_stats()["x509_ca"]:
        return NOTHING_MISSING
    paths = ssl.get_default_verify_paths()
    places = [
        # What is in a folder is loaded when it is needed, and not counted.
        (paths.openssl_cafile_env, paths.openssl_cafile, bool(paths.cafile)),
        (paths.openssl_capath_env, paths.openssl_capath, _has_files(paths.capath)),
    ]
    is_all = not any(is_there for _, _, is_there in places)
    return Missing(
        tuple(
            f"{os.environ[variable]} ({variable})" if variable in os.environ else default
            for variable, default, is_there in places
            # A default that is not there is no mistake: many systems have one of the two.
            if not is_there and (is_all or variable in os.environ)
        ),
        is_all,
    )


def _has_files(folder: str | None) -> bool:
    try:
        with os.scandir(folder or "") as entries:
            return any(entries)
    except OSError:
        return False


def _pinning_context() -> ssl.SSLContext:
    """A context that verifies nothing: the core looks at the pins, and believes nothing else."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    try:
        # Without any password OpenSSL would ask for it on the terminal.
        context.load_cert_chain(
            certificate.file, certificate.key_file, certificate.password or _missing_password
        )
    except OSError as error:
        files = ", ".join(str(file) for file in (certificate.file, certificate.key_file) if file)
        raise LocalProtocolError(
            f"TLSPolicy.client_certificate ({files}) cannot be read as PEM, or its key does not "
            f"belong to it, or its password is wrong: {error}"
        ) from error


def _missing_password() -> str:
    raise LocalProtocolError(
        "the key of TLSPolicy.client_certificate is encrypted: give ClientCertificate(password=…)"
    )
