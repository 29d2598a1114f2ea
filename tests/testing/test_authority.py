"""A certificate authority that is kept: who trusts it once need not be told again."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import smtpx
from smtpx.testing import Server, ServerTLS

POSIX = pytest.mark.skipif(os.name != "posix", reason="only POSIX says who may read a file")


def trusts(server: Server, ca_file: Path) -> bool:
    policy = smtpx.TLSPolicy(smtpx.TLSMode.STARTTLS, ca_file=ca_file)
    with smtpx.Session(server.url, tls=policy) as session:
        return session.protection is not None and session.protection.is_verified


def test_who_trusts_it_trusts_the_next_server(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    with Server(tls=ServerTLS.STARTTLS, authority=folder) as server:
        ca_file = server.ca_file
        assert ca_file == folder / "ca.pem"
        assert b"PRIVATE" not in ca_file.read_bytes()
    assert ca_file.exists()
    with Server(tls=ServerTLS.STARTTLS, authority=str(folder)) as server:
        assert trusts(server, ca_file)
        assert server.ca_file == ca_file
    ca_file.unlink()
    with Server(tls=ServerTLS.STARTTLS, authority=folder) as server:
        assert trusts(server, ca_file)


def test_each_other_server_has_one_of_its_own(tmp_path: Path) -> None:
    with (
        Server(tls=ServerTLS.STARTTLS, authority=tmp_path) as kept,
        Server(tls=ServerTLS.STARTTLS) as other,
        pytest.raises(smtpx.TLSPolicyError),
    ):
        _ = trusts(other, kept.ca_file)


@POSIX
def test_its_key_is_for_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with Server(tls=ServerTLS.STARTTLS, authority=folder):
        pass
    assert folder.stat().st_mode & 0o077 == 0
    key = folder / "authority.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    with pytest.raises(ValueError, match=r"chmod 600 .*authority\.pem"):
        Server(tls=ServerTLS.STARTTLS, authority=folder).start()


def test_of_several_that_begin_at_once_one_makes_it(tmp_path: Path) -> None:
    servers = [Server(tls=ServerTLS.STARTTLS, authority=tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        _ = list(pool.map(Server.start, servers))
    try:
        assert all(trusts(server, servers[0].ca_file) for server in servers)
        assert {path.name for path in tmp_path.iterdir()} == {"authority.pem", "ca.pem"}
    finally:
        for server in servers:
            server.close()


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_is_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    _ = path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ValueError, match=r"authority\.pem is no certificate authority: remove it"):
        Server(tls=ServerTLS.STARTTLS, authority=tmp_path).start()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    _ = (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        Server(tls=ServerTLS.STARTTLS, authority=tmp_path / "file" / "x").start()
