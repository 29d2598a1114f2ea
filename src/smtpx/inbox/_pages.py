"""The application: the page, and the JSON it lives on, which scripts and tests use as well."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable
from importlib import resources

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import BaseRoute, Match, Route

import smtpx
from smtpx import _checks
from smtpx.inbox import _html
from smtpx.inbox._asking import (
    MOST_ROWS,
    NEWEST,
    amount_of,
    id_of,
    json_of,
    number_of,
    off_loop,
    texts_in,
)
from smtpx.inbox._guard import Guard
from smtpx.inbox._keeping import Inbox
from smtpx.inbox._reading import Reading
from smtpx.inbox._server_pages import ServerPages
from smtpx.inbox._store import Kept
from smtpx.testing import codes_in, links_in

__all__ = ["app"]

_LONGEST_WAIT = 60.0
_LONGEST_TAGS = 200
_PATIENCE = 20.0
_PIECE = 1 << 18
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "app.js": ("app.js", "text/javascript; charset=utf-8"),
    "app.css": ("app.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
# A part is opened by the browser only as what cannot do harm.
_SHOWN_AS = {
    *("image/png", "image/jpeg", "image/gif", "image/webp"),
    *("application/pdf", "text/plain", "text/csv", "text/calendar"),
}


def app(
    inbox: Inbox,
    *,
    hosts: Iterable[str] = (),
    token: str | None = None,
    frame_ancestors: str = "'none'",
) -> Starlette:
    """Make an ASGI application of an inbox; mount it, or serve it by itself.

    It answers to loopback's names and to `hosts`. With `token` it asks whoever comes for that.
    `frame_ancestors` is what a Content-Security-Policy says there: who may show it in a frame.

    Raises:
        TypeError: an argument is of another kind.
    """
    if not isinstance(inbox, Inbox):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint("inbox", inbox, "a smtpx.inbox.Inbox")
    if isinstance(hosts, (str, bytes)) or not isinstance(hosts, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint("hosts", hosts, "several names")
    names = tuple(hosts)
    _checks.each("hosts", names, "names", str)
    _checks.text("token", token, or_none=True)
    _checks.text("frame_ancestors", frame_ancestors)
    if ";" in frame_ancestors or not frame_ancestors.isprintable():
        raise ValueError(f"frame_ancestors={frame_ancestors!r}: give sources alone")
    pages = _Pages(inbox)
    guard = Middleware(Guard, hosts=names, token=token, frame_ancestors=frame_ancestors)
    return Starlette(
        routes=pages.routes(),
        middleware=[guard],
        exception_handlers={HTTPException: _failed, ValueError: _mistaken},
    )


app.__module__ = "smtpx.inbox"


def _failed(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = {"Allow": ", ".join(_methods_at(request))} if status == 405 else None
    return JSONResponse({"error": getattr(error, "detail", "")}, status, headers)


def _methods_at(request: Request) -> list[str]:
    """What can be asked for at an address (RFC 9110 §15.5.6)."""
    routes: list[BaseRoute] = request.app.routes
    return sorted(
        method
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    )


def _mistaken(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


class _Pages:
    """Each method answers one route."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def routes(self) -> list[Route]:
        """Every address there is; ``openapi.json`` lists the same."""
        message, server = "/api/messages/{id:int}", ServerPages(self._inbox)
        return [
            *(Route(f"/{name}", _file(name), methods=["GET"]) for name in _FILES),
            Route("/m/{id:int}", _deep_link, methods=["GET"]),
            Route("/livez", self.livez, methods=["GET"]),
            Route("/api/openapi.json", self.openapi, methods=["GET"]),
            Route("/api/settings", self.settings, methods=["GET"]),
            Route("/api/messages", self.messages, methods=["GET"]),
            Route("/api/messages", self.remove_messages, methods=["DELETE"]),
            Route("/api/messages/wait", self.wait, methods=["GET"]),
            Route(message, self.message, methods=["GET"]),
            Route(message, self.remove_message, methods=["DELETE"]),
            Route(message, self.mark, methods=["PATCH"]),
            Route(f"{message}/source", self.source, methods=["GET"]),
            Route(f"{message}/html", self.html, methods=["GET"]),
            Route(f"{message}/text", self.text, methods=["GET"]),
            Route(f"{message}/headers", self.headers, methods=["GET"]),
            Route(f"{message}/parts/{{number:int}}", self.part, methods=["GET"]),
            Route(f"{message}/findings", self.findings, methods=["GET"]),
            Route(f"{message}/links", self.links, methods=["GET"]),
            Route(f"{message}/codes", self.codes, methods=["GET"]),
            Route(f"{message}/release", self.release, methods=["POST"]),
            Route("/api/sessions", server.sessions, methods=["GET"]),
            Route("/api/sessions/{number:int}", server.session, methods=["GET"]),
            Route("/api/faults", server.faults, methods=["GET"]),
            Route("/api/faults", server.put_faults, methods=["PUT"]),
            Route("/api/faults", server.clear_faults, methods=["DELETE"]),
            Route("/api/events", self.events, methods=["GET"]),
        ]

    async def livez(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def openapi(self, _: Request) -> Response:
        return Response(_read_file("openapi.json"), media_type="application/json")

    async def settings(self, _: Request) -> Response:
        return JSONResponse(self._inbox._settings())

    # Messages.

    async def messages(self, request: Request) -> Response:
        query = request.query_params.get("query", "")
        self._check_epoch(request)
        before = number_of(request, "before", 0) or None
        after = number_of(request, "after", 0) if "after" in request.query_params else None
        limit = max(1, min(number_of(request, "limit", 50), MOST_ROWS))
        _ = await self._inbox.read_so_far()
        page = await off_loop(
            self._inbox.store.page, query, before=before, after=after, limit=limit
        )
        return JSONResponse(
            {
                "epoch": self._inbox.store.epoch,
                "messages": page.rows,
                "next": page.next,
                "total": page.total,
            }
        )

    async def remove_messages(self, request: Request) -> Response:
        if "query" not in request.query_params:
            raise HTTPException(400, "say which: ?query=, empty for all")
        self._check_epoch(request)
        query = request.query_params["query"]
        before = number_of(request, "before", NEWEST)
        # What comes meanwhile stays.
        newest = await self._inbox.read_so_far() if query else self._inbox.store.newest
        newest = min(newest, before - 1)
        removed = await off_loop(self._inbox._remove_known, query, newest=newest)
        return JSONResponse({"removed": removed})

    async def wait(self, request: Request) -> Response:
        """Answer once so many messages match, or 408 when the time is up."""
        self._check_epoch(request)
        query = request.query_params.get("query", "")
        after = number_of(request, "after", 0)
        count = max(1, min(number_of(request, "count", 1), MOST_ROWS))
        timeout = min(amount_of(request, "timeout", 10.0), _LONGEST_WAIT)
        store = self._inbox.store
        # It watches before it looks, so that nothing is missed.
        watch = self._inbox.changes.watch()
        change = asyncio.ensure_future(anext(watch, None))
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(0)
                while True:
                    # What it says belongs to it: a subject may be what is waited for.
                    rows = await off_loop(
                        store.rows, query, after=after, limit=count, described=True
                    )
                    if len(rows) >= count:
                        return JSONResponse({"messages": rows})
                    if await asyncio.shield(change) is None:
                        break
                    change = asyncio.ensure_future(anext(watch, None))
        except TimeoutError:
            pass
        finally:
            _ = change.cancel()
            _ = await asyncio.gather(change, return_exceptions=True)
            await watch.aclose()
        return JSONResponse({"error": f"not so many messages within {timeout} s"}, 408)

    def _check_epoch(self, request: Request) -> None:
        """Refuse whoever knows numbers of another epoch: they mean other messages here."""
        epoch = request.query_params.get("epoch")
        if epoch not in (None, self._inbox.store.epoch):
            raise HTTPException(
                410, "the messages of that epoch are gone: the inbox has begun anew since"
            )

    def _number(self, request: Request) -> int:
        self._check_epoch(request)
        return id_of(request)

    async def _kept(self, request: Request) -> Kept:
        kept = await off_loop(self._inbox.store.get, self._number(request))
        if kept is None:
            raise HTTPException(404, "there is no such message, or no longer")
        return kept

    async def _reading(self, kept: Kept) -> Reading:
        return await off_loop(self._inbox.reading, kept)

    async def message(self, request: Request) -> Response:
        kept = await self._kept(request)
        if not kept.is_described:
            _ = await self._inbox.read_so_far()
            kept = await self._kept(request)
        reading = await self._reading(kept)
        recipients = list(kept.recipients)
        return JSONResponse(
            {
                **kept.row,
                "recipients": recipients,
                "bcc": [each for each in recipients if each.lower() not in reading.to],
                "subject": reading.subject,
                "from": reading.author,
                "message_id": reading.message_id,
                "parameters": kept.parameters,
                "helo": kept.helo,
                "via": kept.via,
                "problem": reading.problem,
                "has_text": reading.text is not None,
                "has_html": reading.html is not None,
                "parts": [
                    {
                        "number": part.number,
                        "kind": part.kind,
                        "name": part.name,
                        "size": part.size,
                        "attachment": part.is_attachment,
                    }
                    for part in reading.parts
                ],
            }
        )

    async def mark(self, request: Request) -> Response:
        wish = await json_of(request)
        seen, tags = wish.get("seen"), wish.get("tags")
        if not isinstance(seen, bool | None) or not isinstance(tags, str | None):
            raise HTTPException(400, "seen is true or false, tags is a text")
        if tags is not None and (len(tags) > _LONGEST_TAGS or not tags.isprintable()):
            raise HTTPException(400, f"tags are {_LONGEST_TAGS} characters at most")
        number = self._number(request)
        if not await off_loop(self._inbox.store.mark, number, seen=seen, tags=tags):
            raise HTTPException(404, "there is no such message, or no longer")
        self._inbox.changes.tell("marked")
        return JSONResponse({"id": number})

    async def remove_message(self, request: Request) -> Response:
        removed = await off_loop(self._inbox.remove, "", number=self._number(request))
        if not removed:
            raise HTTPException(404, "there is no such message, or no longer")
        return JSONResponse({"removed": removed})

    async def _content(self, kept: Kept) -> bytes:
        return await off_loop(self._inbox.store.content, kept.row["id"])

    async def source(self, request: Request) -> Response:
        kept = await self._kept(request)
        most = number_of(request, "limit", NEWEST)
        content = await self._content(kept)
        end = min(len(content), most)
        name = f"{kept.row['id']}.eml"
        return StreamingResponse(
            (content[at : min(end, at + _PIECE)] for at in range(0, end, _PIECE)),
            headers={
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": str(end),
                "Content-Disposition": f'attachment; filename="{name}"'
                if "download" in request.query_params
                else "inline",
                "Content-Security-Policy": "sandbox; default-src 'none'",
            },
        )

    async def html(self, request: Request) -> Response:
        kept = await self._kept(request)
        remote = request.query_params.get("images") == "remote"
        is_original = "original" in request.query_params
        reading = await self._reading(kept)
        try:
            async with asyncio.timeout(_PATIENCE):
                content = await self._content(kept)
                page = await off_loop(_html.shown, reading, content, is_original=is_original)
        except TimeoutError:
            page = None
        if page is None:
            raise HTTPException(404, reading.problem or "it has no HTML that could be shown")
        return Response(
            page.encode("utf-8", "replace"),
            headers={
                "Content-Type": "text/html; charset=utf-8",
                "Content-Security-Policy": _html.policy(remote_images=remote),
            },
        )

    async def text(self, request: Request) -> Response:
        reading = await self._reading(await self._kept(request))
        if reading.text is None:
            raise HTTPException(404, reading.problem or "it has no text")
        return PlainTextResponse(reading.text.encode("utf-8", "replace").decode())

    async def headers(self, request: Request) -> Response:
        reading = await self._reading(await self._kept(request))
        return JSONResponse({"headers": [list(field) for field in reading.fields]})

    async def part(self, request: Request) -> Response:
        """A part as a file: nothing in it runs in our origin, and its name is no path."""
        kept = await self._kept(request)
        reading = await self._reading(kept)
        number = int(request.path_params["number"])
        if number >= len(reading.parts):
            raise HTTPException(404, "there is no such part")
        part = reading.parts[number]
        kind = part.kind if part.kind in _SHOWN_AS else "application/octet-stream"
        name = re.sub(r"[^\w. -]", "_", part.name, flags=re.ASCII).strip(". ") or f"part-{number}"
        return StreamingResponse(
            part.octets(await self._content(kept)),
            headers={
                "Content-Type": kind,
                "Content-Length": str(part.size),
                "Content-Disposition": f'attachment; filename="{name[:100]}"',
                "Content-Security-Policy": "sandbox; default-src 'none'",
            },
        )

    async def findings(self, request: Request) -> Response:
        kept = await self._kept(request)
        found = await off_loop(self._inbox.findings, kept)
        signed = await off_loop(self._inbox.signatures, kept)
        return JSONResponse(
            {
                "findings": [_finding(each) for each in found],
                "dkim": [each._asdict() for each in signed],
            }
        )

    async def links(self, request: Request) -> Response:
        reading = await self._reading(await self._kept(request))
        found = await off_loop(links_in, reading.text or "", reading.html or "")
        return JSONResponse({"links": found})

    async def codes(self, request: Request) -> Response:
        reading = await self._reading(await self._kept(request))
        text = reading.text or reading.html or ""
        return JSONResponse({"codes": await off_loop(codes_in, reading.subject, text)})

    async def release(self, request: Request) -> Response:
        wish = await json_of(request)
        to = texts_in(wish.get("to"))
        if not to:
            raise HTTPException(400, 'say to whom: {"to": ["bob@example.net"]}')
        kept = await self._kept(request)
        try:
            result = await self._inbox.release(kept, to)
        except PermissionError as error:
            raise HTTPException(403, str(error)) from None
        except smtpx.AddressError as error:
            raise HTTPException(400, str(error)) from None
        except smtpx.SMTPError as error:
            if error.result is None:
                raise HTTPException(502, str(error)) from None
            result = error.result
        return JSONResponse(
            {
                "outcomes": [
                    {
                        "recipient": str(outcome.recipient),
                        "status": outcome.status.value,
                        "reply": None if outcome.reply is None else str(outcome.reply),
                    }
                    for outcome in result.outcomes
                ]
            },
            200 if result.complete else 502,
        )

    # What changes.

    async def events(self, _: Request) -> Response:
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncGenerator[str]:
        """What has changed, not what it is: a burst of mail is one event."""
        yield f"retry: 1000\nid: {self._inbox.store.newest}\n\n"
        async for kinds in self._inbox.changes.watch():
            if not kinds:
                yield ": ping\n\n"
            for kind in sorted(kinds):
                newest = self._inbox.store.newest
                yield f"event: {kind}\nid: {newest}\ndata: {json.dumps({'newest': newest})}\n\n"


# Small things.


def _finding(finding: smtpx.Finding) -> dict[str, str]:
    return {
        "rule": finding.rule.name,
        "severity": finding.severity.value,
        "where": finding.where,
        "problem": finding.problem,
        "section": finding.section,
        "remedy": finding.remedy,
    }


def _file(name: str) -> Callable[[Request], Response]:
    file, kind = _FILES[name]
    content = _read_file(file)

    def answer(_: Request) -> Response:
        return Response(content, headers={"Content-Type": kind})

    return answer


def _deep_link(request: Request) -> Response:
    root = request.scope.get("root_path", "")
    return RedirectResponse(f"{root}/#/m/{request.path_params['id']}", 303)


def _read_file(name: str) -> bytes:
    return resources.files("smtpx.inbox").joinpath("pages").joinpath(name).read_bytes()
