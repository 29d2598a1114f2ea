"""The application: the page, and the JSON it lives on, which scripts and tests use as well."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable
from importlib import resources
from typing import Any, TypeVar, cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

import smtpx
from smtpx import _checks
from smtpx.inbox import _html
from smtpx.inbox._guard import Guard
from smtpx.inbox._keeping import Inbox
from smtpx.inbox._reading import Reading
from smtpx.inbox._store import Kept
from smtpx.observing import Speaker
from smtpx.testing import (
    Server,
    SessionRecord,
    codes_in,
    fault_text,
    links_in,
    read_fault,
)

__all__ = ["app"]

T = TypeVar("T")

_MOST_ROWS = 200
_LONGEST_WAIT = 60.0
_NEWEST = 2**53
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


def _failed(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"error": getattr(error, "detail", "")}, status)


def _mistaken(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


class _Pages:
    """Each method answers one route."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def routes(self) -> list[Route]:
        """Every address there is; ``openapi.json`` lists the same."""
        message = "/api/messages/{id:int}"
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
            Route("/api/sessions", self.sessions, methods=["GET"]),
            Route("/api/sessions/{number:int}", self.session, methods=["GET"]),
            Route("/api/faults", self.faults, methods=["GET"]),
            Route("/api/faults", self.put_faults, methods=["PUT"]),
            Route("/api/faults", self.clear_faults, methods=["DELETE"]),
            Route("/api/events", self.events, methods=["GET"]),
        ]

    async def livez(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def openapi(self, _: Request) -> Response:
        return Response(_read_file("openapi.json"), media_type="application/json")

    async def settings(self, _: Request) -> Response:
        return JSONResponse(self._inbox.settings())

    # Messages.

    async def messages(self, request: Request) -> Response:
        query = request.query_params.get("query", "")
        before = _number(request, "before", 0) or None
        limit = max(1, min(_number(request, "limit", 50), _MOST_ROWS))
        page = await _off_loop(self._inbox.store.page, query, before=before, limit=limit)
        return JSONResponse({"messages": page.rows, "next": page.next, "total": page.total})

    async def remove_messages(self, request: Request) -> Response:
        if "query" not in request.query_params:
            raise HTTPException(400, "say which: ?query=, empty for all")
        removed = await _off_loop(self._inbox.remove, request.query_params["query"])
        return JSONResponse({"removed": removed})

    async def wait(self, request: Request) -> Response:
        """Answer once so many messages match, or 408 when the time is up."""
        query = request.query_params.get("query", "")
        after = _number(request, "after", 0)
        count = max(1, min(_number(request, "count", 1), _MOST_ROWS))
        timeout = min(_amount(request, "timeout", 10.0), _LONGEST_WAIT)
        store = self._inbox.store
        # It watches before it looks, so that nothing is missed.
        watch = self._inbox.changes.watch()
        change = asyncio.ensure_future(anext(watch, None))
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(0)
                while True:
                    # What it says belongs to it: a subject may be what is waited for.
                    rows = await _off_loop(
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

    async def _kept(self, request: Request) -> Kept:
        kept = await _off_loop(self._inbox.store.get, _id(request))
        if kept is None:
            raise HTTPException(404, "there is no such message, or no longer")
        return kept

    async def _reading(self, kept: Kept) -> Reading:
        return await _off_loop(self._inbox.reading, kept)

    async def message(self, request: Request) -> Response:
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
        wish = await _json(request)
        seen, tags = wish.get("seen"), wish.get("tags")
        if not isinstance(seen, bool | None) or not isinstance(tags, str | None):
            raise HTTPException(400, "seen is true or false, tags is a text")
        if tags is not None and (len(tags) > _LONGEST_TAGS or not tags.isprintable()):
            raise HTTPException(400, f"tags are {_LONGEST_TAGS} characters at most")
        number = _id(request)
        if not await _off_loop(self._inbox.store.mark, number, seen=seen, tags=tags):
            raise HTTPException(404, "there is no such message, or no longer")
        self._inbox.changes.tell("marked")
        return JSONResponse({"id": number})

    async def remove_message(self, request: Request) -> Response:
        removed = await _off_loop(self._inbox.remove, "", number=_id(request))
        if not removed:
            raise HTTPException(404, "there is no such message, or no longer")
        return JSONResponse({"removed": removed})

    async def _content(self, kept: Kept) -> bytes:
        return await _off_loop(self._inbox.store.content, kept.row["id"])

    async def source(self, request: Request) -> Response:
        kept = await self._kept(request)
        most = _number(request, "limit", _NEWEST)
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
                page = await _off_loop(_html.shown, reading, content, is_original=is_original)
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
        found = await _off_loop(self._inbox.findings, kept)
        signed = await _off_loop(self._inbox.signatures, kept)
        return JSONResponse(
            {
                "findings": [_finding(each) for each in found],
                "dkim": [each._asdict() for each in signed],
            }
        )

    async def links(self, request: Request) -> Response:
        reading = await self._reading(await self._kept(request))
        found = await _off_loop(links_in, reading.text or "", reading.html or "")
        return JSONResponse({"links": found})

    async def codes(self, request: Request) -> Response:
        reading = await self._reading(await self._kept(request))
        text = reading.text or reading.html or ""
        return JSONResponse({"codes": await _off_loop(codes_in, reading.subject, text)})

    async def release(self, request: Request) -> Response:
        wish = await _json(request)
        to = _texts(wish.get("to"))
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

    # Sessions and faults.

    def _server(self) -> Server:
        if self._inbox.server is None:
            raise HTTPException(404, "no server is watched")
        return self._inbox.server

    async def sessions(self, request: Request) -> Response:
        limit = max(1, min(_number(request, "limit", 50), _MOST_ROWS))
        newest = (await _off_loop(lambda: self._server().sessions))[::-1][:limit]
        return JSONResponse({"sessions": [_session(each) for each in newest]})

    async def session(self, request: Request) -> Response:
        number = request.path_params["number"]
        found = self._server().session(number) if number else None
        if found is None:
            raise HTTPException(404, "there is no such session, or no longer")
        lines = [
            {
                "ms": round(said.at * 1000, 2),
                "who": "" if said.speaker is None else said.speaker.value,
                "text": said.text,
                "breaches": list(said.breaches),
            }
            for said in found.dialogue
        ]
        return JSONResponse({**_session(found), "dialogue": lines, "test": _as_test(found)})

    async def faults(self, _: Request) -> Response:
        server = self._server()
        listed = [
            {"fault": fault_text(each), "struck": server.strikes(each)} for each in server.faults
        ]
        return JSONResponse({"faults": listed})

    async def put_faults(self, request: Request) -> Response:
        wish = await _json(request)
        texts = _texts(wish.get("faults"))
        if texts is None:
            raise HTTPException(400, 'say which: {"faults": ["RCPT bob@*: 451 4.3.0 later x2"]}')
        faults = [read_fault(each) for each in texts]
        server = self._server()
        server.clear_faults()
        server.add_fault(*faults)
        self._inbox.changes.tell("faults")
        return await self.faults(request)

    async def clear_faults(self, request: Request) -> Response:
        self._server().clear_faults()
        self._inbox.changes.tell("faults")
        return await self.faults(request)

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


async def _off_loop(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    return await run_in_threadpool(function, *args, **kwargs)


def _id(request: Request) -> int:
    """The message's number; one that is larger than any is nobody's."""
    return min(int(request.path_params["id"]), _NEWEST)


def _number(request: Request, name: str, otherwise: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not re.fullmatch(r"\d{1,15}", text):
        raise HTTPException(400, f"{name} is a whole number")
    return int(text)


def _amount(request: Request, name: str, otherwise: float) -> float:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text):
        raise HTTPException(400, f"{name} is a number of seconds")
    return float(text)


async def _json(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.body())
    except ClientDisconnect:
        raise HTTPException(400, "the end is missing") from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "that is no JSON") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "send a JSON object")
    return cast("dict[str, Any]", found)


def _texts(value: object) -> list[str] | None:
    """A list of texts; None where it is something else."""
    if not isinstance(value, list):
        return None
    listed = cast("list[object]", value)
    texts = [each for each in listed if isinstance(each, str)]
    return texts if len(texts) == len(listed) else None


def _finding(finding: smtpx.Finding) -> dict[str, str]:
    return {
        "rule": finding.rule.name,
        "severity": finding.severity.value,
        "where": finding.where,
        "problem": finding.problem,
        "section": finding.section,
        "remedy": finding.remedy,
    }


def _session(record: SessionRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "open": record.open,
        "quit": record.quit,
        "user": record.user,
        "tls": record.tls_version,
        "tls_resumed": record.tls_resumed,
        "tls_error": record.tls_error,
        "server_name": record.server_name,
        "round_trips": record.round_trips,
        "octets_in": record.bytes_in,
        "octets_out": record.bytes_out,
        "breaches": record.breaches[:100],
    }


def _as_test(record: SessionRecord) -> str:
    """The dialogue as a script that `smtpx.testing.Replay` and `play` take."""
    return "".join(
        f"{said.speaker.value}: {said.text}\n"
        for said in record.dialogue
        if said.speaker in (Speaker.CLIENT, Speaker.SERVER)
    )


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
