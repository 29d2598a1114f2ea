"""What a request asks for, read within bounds; what is none of it ends in 400."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

__all__ = [
    "MOST_ROWS",
    "NEWEST",
    "amount_of",
    "id_of",
    "json_of",
    "number_of",
    "off_loop",
    "texts_in",
]

T = TypeVar("T")

MOST_ROWS = 200
NEWEST = 2**53
"""Larger than any number of a message."""


async def off_loop(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    return await run_in_threadpool(function, *args, **kwargs)


def id_of(request: Request) -> int:
    """The message's number; one that is larger than any is nobody's."""
    return min(int(request.path_params["id"]), NEWEST)


def number_of(request: Request, name: str, otherwise: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not re.fullmatch(r"\d{1,15}", text):
        raise HTTPException(400, f"{name} is a whole number")
    return int(text)


def amount_of(request: Request, name: str, otherwise: float) -> float:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text):
        raise HTTPException(400, f"{name} is a number of seconds")
    return float(text)


async def json_of(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.body())
    except ClientDisconnect:
        raise HTTPException(400, "the end is missing") from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "that is no JSON") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "send a JSON object")
    return cast("dict[str, Any]", found)


def texts_in(value: object) -> list[str] | None:
    """A list of texts; None where it is something else."""
    if not isinstance(value, list):
        return None
    listed = cast("list[object]", value)
    texts = [each for each in listed if isinstance(each, str)]
    return texts if len(texts) == len(listed) else None
