"""The main job, shown: a message with text, HTML and an attachment, to three recipients.

Starts a mail server on this machine, with STARTTLS and AUTH, which refuses one of the three; sends
over a real socket; prints the dialogue without its secrets, what became of each recipient, and
what arrived. Run it by `make demo`.
"""

from __future__ import annotations

import os
import sys
from email import message_from_bytes, policy
from email.message import EmailMessage

import smtpx
from smtpx.testing import Server, ServerTLS

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
    with Server(
        tls=ServerTLS.STARTTLS,
        users={"ann": "a secret nobody sees"},
        refuse_recipients={"gone@example.net": "550 5.1.1 No such user here"},
        hostname="mail.example.net",
    ) as server:
        heading("The dialogue")
        with smtpx.Client(
            f"submission://localhost:{server.port}",
            tls=smtpx.TLSPolicy(smtpx.TLSMode.STARTTLS, ca_file=server.ca_file),
            credentials=smtpx.Credentials("ann", "a secret nobody sees"),
            observer=show_line,
        ) as client:
            result = client.send(message)
        (received,) = server.messages
        round_trips = server.sessions[0].round_trips

    heading("What became of each recipient")
    for outcome in result.outcomes:
        good = outcome.status is smtpx.Status.ACCEPTED
        print(paint(GREEN if good else RED, f"  {'+' if good else '-'} {outcome}"))
    print(f"  The server calls it {result.queue_id}.")

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
    if not same or len(result.accepted) != 2:
        sys.exit("The demo did not come out as it should.")


def leaves(message: EmailMessage) -> list[EmailMessage]:
    """List the parts of a message that hold something."""
    return [part for part in message.walk() if not part.is_multipart()]


def octets_of(part: EmailMessage) -> bytes:
    """Read what a part holds, its transfer encoding undone."""
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.replace(b"\r\n", b"\n") if part.get_content_maintype() == "text" else octets


def show_line(event: smtpx.Event) -> None:
    """Print a line of the dialogue, the client's in blue."""
    if isinstance(event, smtpx.Line):
        print("  " + paint(BLUE if event.speaker is smtpx.Speaker.CLIENT else DIM, str(event)))


def heading(text: str) -> None:
    """Print a heading."""
    print(paint(BOLD, f"\n{text}"))


def paint(colour: str, text: str) -> str:
    """Colour the text, on a terminal."""
    return f"\x1b[{colour}m{text}\x1b[0m" if COLOURS else text


if __name__ == "__main__":
    main()
