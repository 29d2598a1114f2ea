"""An inbox for mail that a test server took: it keeps it, searches it, and shows it in a browser.

::

    inbox = Inbox()
    async with Server(refuse_content=inbox.take) as server:
        inbox.watch(server)
        ...  # serve `app(inbox)` by any ASGI server

`app` is an ASGI application (extra: ``inbox``) that mounts in another one as well. Nothing here
connects to anybody: no URL in a mail is ever fetched, and whoever made the inbox does a release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smtpx.errors import ExtraMissing
from smtpx.inbox._keeping import Inbox, Release

if TYPE_CHECKING:
    from smtpx.inbox._pages import app

__all__ = ["Inbox", "Release", "app"]


def __getattr__(name: str) -> Any:
    # Starlette comes along with this one, which the rest does without.
    if name == "app":
        try:
            from smtpx.inbox._pages import app
        except ModuleNotFoundError as error:
            raise ExtraMissing("inbox", str(error.name), "smtpx.inbox.app") from error
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
