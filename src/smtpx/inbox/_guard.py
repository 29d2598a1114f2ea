"""Who may ask: loopback is no border, for every page in the browser can reach it.

The host must be one of ours (else a name that was rebound reads everything); what changes
something needs our own origin and JSON (else any page could); and off loopback, a token.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["COOKIE", "Guard"]

COOKIE = "smtpx_inbox"
_SAFE = ("GET", "HEAD")
_OURS = ("same-origin", "none")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?")
_MOST_BODY = 64 * 1024
_LONGEST_PATH = 500

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors {ancestors}; require-trusted-types-for 'script'; trusted-types 'none'"
)


class Guard:
    """Stands before the application, and lets in whom it knows."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str],
        token: str | None,
        frame_ancestors: str,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in (*_LOOPBACK, *hosts))
        self._token = token
        self._policy = PAGE_POLICY.format(ancestors=frame_ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        outer = scope.get("app_root_path", "")
        if not scope["path"].startswith(outer):
            # A proxy has taken its prefix away, which ASGI has in the path, and a mount goes by.
            scope = {**scope, "path": outer + scope["path"]}
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in self._always(found):
                    found[name] = value
            await send(message)

        app = self._app if refusal is None else refusal
        await app(scope, receive, with_policy)

    def _always(self, found: MutableHeaders) -> list[tuple[str, str]]:
        policies = [
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("X-DNS-Prefetch-Control", "off"),
            ("Cache-Control", "no-store"),
        ]
        if "Content-Security-Policy" not in found:
            policies.append(("Content-Security-Policy", self._policy))
        return policies

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        match = _HOST.fullmatch(host)
        if match is None or match[1].lower() not in self._hosts:
            return Response(status_code=400)
        if len(scope["path"]) > _LONGEST_PATH:
            return _said(404, "there is no such page")
        ours = f"{scope['scheme']}://{host}"
        if any(origin != ours for origin in headers.getlist("origin")):
            return _said(403, "this comes from another page")
        if _is_from_elsewhere(headers):
            return _said(403, "this comes from another page")
        if scope["method"] not in _SAFE:
            refusal = _changing(headers)
            if refusal is not None:
                return refusal
        return None if self._token is None else self._unknown(scope, headers, self._token)

    def _unknown(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        """Whoever shows no token; the page takes it once, and keeps it as a cookie."""
        query = QueryParams(scope.get("query_string", b""))
        if scope["method"] == "GET" and _same(query.get("token"), token):
            response = RedirectResponse(scope.get("root_path", "") + "/", 303)
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return response
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(shown, token):
            return None
        if _same(_cookie(headers), token):
            return None
        challenge = {"WWW-Authenticate": "Bearer"}
        if scope["path"].removeprefix(scope.get("root_path", "")).startswith("/api/"):
            error = {"error": "show the token, with Authorization: Bearer"}
            return JSONResponse(error, 401, challenge)
        return PlainTextResponse(
            "Open the address with its token, as smtpx serve printed it.\n", 401, challenge
        )


def _site(headers: Headers) -> str:
    return headers.get("sec-fetch-site", "same-origin")


def _is_from_elsewhere(headers: Headers) -> bool:
    """True for what another page loads, even where it cannot read it; a link may lead here."""
    return _site(headers) not in _OURS and headers.get("sec-fetch-mode") != "navigate"


def _changing(headers: Headers) -> Response | None:
    """Why a request that changes something is refused."""
    length = headers.get("content-length", "0")
    has_body = length != "0" or "transfer-encoding" in headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and kind != "application/json":
        return _said(415, "send JSON, with Content-Type: application/json")
    if _site(headers) not in _OURS:
        return _said(403, "this comes from another page")
    if "transfer-encoding" in headers or not length.isdigit() or int(length) > _MOST_BODY:
        return _said(413, f"send at most {_MOST_BODY} octets, with Content-Length")
    return None


def _cookie(headers: Headers) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def _same(shown: str | None, token: str) -> bool:
    return shown is not None and hmac.compare_digest(shown.encode(), token.encode())


def _said(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
