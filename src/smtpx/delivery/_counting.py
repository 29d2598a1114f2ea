"""What a session, or a policy that was not to be had, is for a TLS report (RFC 8460 §4.3); pure."""

from __future__ import annotations

from smtpx.errors import ReplyError, SMTPError, TLSFailure, TLSPolicyError, TLSRefused

from ._resolving import TLSA_UNKNOWN, TLSA_UNUSABLE, Exchanger, Route
from ._steps import Count, Said
from ._terms import Level, Terms
from .mta_sts import FetchFailed, Mode, Policy, PolicyError
from .tls_reports import AppliedPolicy, PolicyType, ResultType, SessionFailure, bounded, plain

__all__ = ["is_tried", "of_host", "of_policy", "of_session"]

_RESULTS = {
    TLSFailure.STARTTLS_MISSING: ResultType.STARTTLS_NOT_SUPPORTED,
    TLSFailure.CERTIFICATE_EXPIRED: ResultType.CERTIFICATE_EXPIRED,
    TLSFailure.CERTIFICATE_OF_ANOTHER_HOST: ResultType.CERTIFICATE_HOST_MISMATCH,
    TLSFailure.CERTIFICATE_NOT_YET_VALID: ResultType.CERTIFICATE_NOT_TRUSTED,
    TLSFailure.CERTIFICATE_SELF_SIGNED: ResultType.CERTIFICATE_NOT_TRUSTED,
    TLSFailure.UNKNOWN_AUTHORITY: ResultType.CERTIFICATE_NOT_TRUSTED,
    TLSFailure.CERTIFICATE_INVALID: ResultType.CERTIFICATE_NOT_TRUSTED,
}


def is_tried(host: Exchanger, route: Route) -> bool:
    """True if a policy that is in testing has to be tried first, so that it can be told of."""
    policy = route.policy
    return (
        policy is not None
        and policy.mode is Mode.TESTING
        and policy.matches(host.name)
        and host.terms.level < Level.VERIFIED
    )


def of_policy(domain: str, policy: Policy | None, error: Exception) -> Count:
    """A policy that could not be had; `policy` is the one that is still held."""
    if isinstance(error, PolicyError):
        result = ResultType.STS_POLICY_INVALID
    elif isinstance(error, FetchFailed) and error.is_certificate:
        result = ResultType.STS_WEBPKI_INVALID
    else:
        result = ResultType.STS_POLICY_FETCH_ERROR
    applied = _of_sts(domain, policy) if policy else AppliedPolicy(PolicyType.STS, domain)
    return Count(applied, SessionFailure(result, reason=plain(str(error))))


def of_host(host: Exchanger, route: Route) -> Count | None:
    """A host to which no session is opened because of its policy."""
    skipped = host.skipped
    if skipped is None:
        return None
    reason = plain(str(skipped))
    policy = route.policy
    if host.row == TLSA_UNKNOWN:
        applied = AppliedPolicy(PolicyType.TLSA, route.next_hop, mx_hosts=(host.name,))
        return Count(applied, SessionFailure(ResultType.DNSSEC_INVALID, host.name, reason=reason))
    if host.terms.level is Level.VERIFIED and policy is not None:
        failure = SessionFailure(ResultType.VALIDATION_FAILURE, host.name, reason=reason)
        return Count(_of_sts(route.next_hop, policy), failure)
    return None


def of_session(
    host: Exchanger, address: str, terms: Terms, route: Route, said: Said
) -> Count | None:
    """What a session is counted as; nothing, if it has not come as far as TLS."""
    if terms.level is Level.NONE:
        return None
    policy, result = _applied(host, terms, route), _result(said)
    reason = "" if said.error is None else plain(_reason(said.error))
    if result is None and said.protection is None:
        if said.result is None:
            return None
        result, reason = ResultType.STARTTLS_NOT_SUPPORTED, ""
    mismatch = route.policy is not None and not route.policy.matches(host.name)
    if result is None and policy.type is PolicyType.STS and mismatch:
        result, reason = ResultType.VALIDATION_FAILURE, "the policy does not name this host"
    elif result is None and terms.level is Level.ENCRYPTED and host.row == TLSA_UNUSABLE:
        result, reason = ResultType.TLSA_INVALID, "none of the TLSA records can be used"
    if result is None:
        return Count(policy)
    return Count(policy, SessionFailure(result, host.name, address, reason=reason))


def _reason(error: SMTPError) -> str:
    """What was said, by the server or by TLS, without what our own user could do about it."""
    if isinstance(error, ReplyError):
        return str(error.reply)
    if isinstance(error, TLSPolicyError):
        if error.reason is TLSFailure.STARTTLS_MISSING:
            return ""  # That is all that there is to say.
        if isinstance(error.__cause__, OSError):
            return error.__cause__.strerror or str(error.__cause__)
    return str(error)


def _applied(host: Exchanger, terms: Terms, route: Route) -> AppliedPolicy:
    if terms.level is Level.DANE:
        records = bounded(str(each) for each in terms.records)
        return AppliedPolicy(PolicyType.TLSA, route.next_hop, records, (host.name,))
    policy = route.policy
    if policy is not None and policy.mode is not Mode.NONE:
        return _of_sts(route.next_hop, policy)
    if host.row == TLSA_UNUSABLE:
        return AppliedPolicy(PolicyType.TLSA, route.next_hop, mx_hosts=(host.name,))
    return AppliedPolicy(PolicyType.NONE, route.next_hop)


def _of_sts(domain: str, policy: Policy) -> AppliedPolicy:
    hosts = bounded(policy.mx)
    lines = ["version: STSv1", f"mode: {policy.mode.value}"]
    lines += [f"mx: {name}" for name in hosts]
    lines.append(f"max_age: {policy.max_age}")
    return AppliedPolicy(PolicyType.STS, domain, tuple(lines), hosts)


def _result(said: Said) -> ResultType | None:
    """What went wrong with TLS, if anything did."""
    error: SMTPError | None = said.error
    if said.result is not None or error is None:
        return None
    if isinstance(error, TLSPolicyError):
        return _RESULTS.get(error.reason, ResultType.VALIDATION_FAILURE)
    if isinstance(error, TLSRefused):
        return ResultType.STARTTLS_NOT_SUPPORTED
    return ResultType.VALIDATION_FAILURE if said.is_lost_in_tls else None
