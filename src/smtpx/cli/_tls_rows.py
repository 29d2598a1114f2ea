"""What the doctor finds about a server's TLS: version, certificate, chain, STARTTLS."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import smtpx
from smtpx.cli import _peers
from smtpx.cli._verdicts import Case, Row, Verdict

__all__ = ["TLSRows"]


@dataclass(slots=True)
class TLSRows:
    """What was found; `look` fills it."""

    case: Case
    mode: smtpx.TLSMode
    address: Any
    """Where else it is asked; None of a Unix socket."""
    extensions: smtpx.Extensions
    """Those under TLS."""
    seconds: float
    """How long each dialling more may take."""
    rows: list[Row] = field(default_factory=list[Row])
    days_left: int | None = None

    def look(self, protection: smtpx.Protection | None, offered: smtpx.Extensions | None) -> None:
        """Look at how a session is protected, on which was `offered` so much before TLS."""
        case, mode = self.case, self.mode
        if protection is None:
            offers = offered is not None and offered.starttls
            is_safe = case.endpoint.is_local
            text = "none: STARTTLS is offered, and was not asked for" if offers else "none"
            self._add("tls.version", Verdict.NOTE if is_safe else Verdict.FAIL, text)
            return
        minimum = case.minimum
        is_old = minimum is smtpx.TLSVersion.TLS_1_3 and protection.version != "TLSv1.3"
        self._add(
            "tls.version",
            Verdict.FAIL if is_old else Verdict.OK,
            f"{protection.version}, {protection.cipher}",
        )
        self._look_at_certificate(protection, mode)
        if mode is not smtpx.TLSMode.IMPLICIT:
            self._look_at_starttls()
        if self.address is not None:
            old = _peers.old_version(case.endpoint, self.address, mode, self.seconds)
            if old is not None:
                self._add("tls.old_versions", Verdict.WARN, f"it still takes {old} (RFC 8996)")
            else:
                self._add("tls.old_versions", Verdict.OK, "nothing older than TLS 1.2")

    def _look_at_starttls(self) -> None:
        if self.extensions.starttls:
            self._add(
                "starttls.again", Verdict.WARN, "it is still offered under TLS (RFC 3207 §4.2)"
            )
        if self.address is None:
            return
        if _peers.obeys_injected(self.case.endpoint, self.address, self.seconds):
            text = "a command in plain text behind STARTTLS is obeyed under TLS (CVE-2011-0411)"
            self._add("starttls.injection", Verdict.FAIL, text)
        else:
            self._add("starttls.injection", Verdict.OK, "nothing is obeyed that came before TLS")

    def _look_at_certificate(self, protection: smtpx.Protection, mode: smtpx.TLSMode) -> None:
        chain: list[_peers.Certificate] = []
        if self.address is not None:
            chain = _peers.certificates(self.case.endpoint, self.address, mode, self.seconds)
        names = ", ".join(chain[0].names if chain else protection.names) or "without a name"
        text = f"for {names}"
        if chain:
            text += f", {chain[0].key}, issued by {chain[0].issuer}"
        self._add("tls.certificate", Verdict.OK if protection.is_verified else Verdict.NOTE, text)
        self._look_at_expiry(chain[0].expires if chain else protection.expires)
        if chain and not protection.is_verified:
            self._look_at_chain(chain)

    def _look_at_expiry(self, expires: datetime | None) -> None:
        if expires is None:
            return
        left = expires - datetime.now(UTC)
        self.days_left = left.days
        verdict = Verdict.OK if left.days >= self.case.days else Verdict.WARN
        if left.total_seconds() < 0:
            verdict = Verdict.FAIL
        told = f"{left.days} days left" if left.total_seconds() >= 0 else "it is over"
        self._add("tls.expiry", verdict, f"valid until {expires:%Y-%m-%d}, {told}")

    def _look_at_chain(self, chain: list[_peers.Certificate]) -> None:
        if chain[0].is_self_signed:
            text = "the certificate vouches for itself: no authority has signed it"
        elif len(chain) == 1:
            text = (
                f"the server shows its own certificate alone, without one of {chain[0].issuer}: "
                "an intermediate may be missing, so serve the full chain; for an authority of "
                "your own give ?ca=FILE"
            )
        else:
            text = f"{len(chain)} certificates; the last was issued by {chain[-1].issuer}"
        self._add("tls.chain", Verdict.NOTE, text)

    def _add(self, name: str, verdict: Verdict, text: str) -> None:
        self.rows.append(Row(name, verdict, text))
