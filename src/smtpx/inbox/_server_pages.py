"""What is told of the server that is watched: its sessions, and faults, which can be changed."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from smtpx.inbox._asking import MOST_ROWS, json_of, number_of, off_loop, texts_in
from smtpx.inbox._keeping import Inbox
from smtpx.observing import Speaker
from smtpx.testing import Server, SessionRecord, fault_text, read_fault

__all__ = ["ServerPages"]


class ServerPages:
    """Each method answers one route."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def _server(self) -> Server:
        if self._inbox.server is None:
            raise HTTPException(404, "no server is watched")
        return self._inbox.server

    async def sessions(self, request: Request) -> Response:
        limit = max(1, min(number_of(request, "limit", 50), MOST_ROWS))
        newest = (await off_loop(lambda: self._server().sessions))[::-1][:limit]
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
        wish = await json_of(request)
        texts = texts_in(wish.get("faults"))
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
