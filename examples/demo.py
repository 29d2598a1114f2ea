"""The main job, shown: a message with text, HTML and an attachment, to three recipients.

Starts a mail server on this machine, with STARTTLS and AUTH, which refuses one of the three; sends
over a real socket; prints what became of each recipient, the dialogue without its secrets, and
what arrived; and shows the mail in the inbox. Run it by `make demo`; with DEMO_STAY=1 the inbox
stays open.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

import uvicorn

import smtpx
from smtpx.inbox import Inbox, app
from smtpx.testing import ReceivedMessage, Server, ServerTLS

COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
BOLD, DIM, RED, GREEN, BLUE = "1", "2", "31", "32", "34"


def main() -> None:
    """Compose, send, and show."""
    message = smtpx.compose(
        sender="Ann <ann@example.org>",
        to=["bob@example.net", "carol@example.net", "gone@example.net"],
        subject="Grüße from smtpx",
        text="Hello,\n\n.this line begins with a dot, and arrives so.\n",
        html="<p>Hello, <b>in HTML</b>.</p>\n",
        attachments=[smtpx.Attachment(bytes(range(256)), "bytes.bin")],
    )
    said: list[str] = []
    with (
        Inbox() as inbox,
        Server(
            tls=ServerTLS.STARTTLS,
            users={"ann": "a secret nobody sees"},
            refuse_recipients={"gone@example.net": "550 5.1.1 No such user here"},
            refuse_content=inbox.take,
            hostname="mail.example.net",
        ) as server,
    ):
        inbox.watch(server)
        with smtpx.Client(
            f"submission://localhost:{server.port}",
            tls=smtpx.TLSPolicy(smtpx.TLSMode.STARTTLS, ca_file=server.ca_file),
            credentials=smtpx.Credentials("ann", "a secret nobody sees"),
            observer=lambda event: said.append(shown(event)),
        ) as client:
            result = client.send(message)
        (received,) = server.messages
        round_trips = server.sessions[0].round_trips
        show_result(result)
        heading("The dialogue")
        print("\n".join(filter(None, said)))
        show_message(received, message, round_trips)
        if len(result.accepted) != 2:
            sys.exit("The demo did not come out as it should.")
        show_inbox(inbox)


def show_result(result: smtpx.SendResult) -> None:
    """Tell what became of each recipient."""
    heading("What became of each recipient")
    for outcome in result.outcomes:
        good = outcome.status is smtpx.Status.ACCEPTED
        print(paint(GREEN if good else RED, f"  {'+' if good else '-'} {outcome}"))
    print(f"  The server calls it {result.queue_id}.")


def show_message(received: ReceivedMessage, message: EmailMessage, round_trips: int) -> None:
    """Tell what arrived."""
    heading("What arrived")
    arrived = message_from_bytes(received.content, policy=policy.default)
    assert isinstance(arrived, EmailMessage)
    print(f"  for        {', '.join(received.recipients)}")
    print(f"  under TLS  {'yes' if received.tls else 'no'}, sent by {received.user}")
    print(f"  subject    {arrived['Subject']}")
    for part in leaves(arrived):
        print(f"  part       {part.get_content_type()}, {len(octets_of(part))} octets")
    same = [octets_of(part) for part in leaves(arrived)] == [
        octets_of(part) for part in leaves(message)
    ]
    print(f"  unchanged  {'yes, every part' if same else 'NO'}")
    print(f"  in         {round_trips} round trips from the greeting to the end")
    if not same:
        sys.exit("The demo did not come out as it should.")


def leaves(message: EmailMessage) -> list[EmailMessage]:
    """List the parts of a message that hold something."""
    return [part for part in message.walk() if not part.is_multipart()]


def octets_of(part: EmailMessage) -> bytes:
    """Read what a part holds, its transfer encoding undone."""
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.replace(b"\r\n", b"\n") if part.get_content_maintype() == "text" else octets


def shown(event: smtpx.Event) -> str:
    """A line of the dialogue, the client's in blue; nothing for other events."""
    if not isinstance(event, smtpx.Line):
        return ""
    return "  " + paint(BLUE if event.speaker is smtpx.Speaker.CLIENT else DIM, str(event))


def show_inbox(inbox: Inbox) -> None:
    """Serve the inbox, look into it, and keep it open if that is wanted."""
    with serving(inbox) as url:
        with urllib.request.urlopen(f"{url}api/messages/wait?timeout=30") as answer:
            (row,) = json.load(answer)["messages"]
        heading("The inbox")
        print(f"  {row['subject']}, for {row['recipient_count']}, at {paint(BLUE, url)}")
        if os.environ.get("DEMO_STAY"):
            print("  It stays open until Ctrl-C.")
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                print()
        else:
            print("  DEMO_STAY=1 make demo keeps it open.")
    heading("What to try next")
    print("  smtpx serve                 a mail server for development, with this inbox")
    print("  smtpx doctor HOST           what a server would do with your mail")
    print("  smtpx send --help           mail from the command line")


@contextmanager
def serving(inbox: Inbox) -> Iterator[str]:
    """The inbox at a free port of this machine, by its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pages = uvicorn.Server(uvicorn.Config(app(inbox), log_level="error", lifespan="off"))
        thread = threading.Thread(target=pages.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            inbox.changes.close()
            pages.should_exit = True
            thread.join()


def heading(text: str) -> None:
    """Print a heading."""
    print(paint(BOLD, f"\n{text}"))


def paint(colour: str, text: str) -> str:
    """Colour the text, on a terminal."""
    return f"\x1b[{colour}m{text}\x1b[0m" if COLOURS else text


if __name__ == "__main__":
    main()
