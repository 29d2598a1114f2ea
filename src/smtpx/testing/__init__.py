"""A test kit: an embedded mail server, strict or faulty as you please, and a script player.

`Server` is a real server on the loopback interface or a unix socket; `ServerProtocol` is the same
without I/O; the faults are what can go wrong with it; `play` runs a procedure against a dialogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._extensions import ALL_EXTENSIONS, USUAL_EXTENSIONS, Extension
from ._mailbox import Mailbox, ReceivedMessage, Via
from ._mechanisms import (
    ANONYMOUS,
    CRAM_MD5,
    EXTERNAL,
    LOGIN,
    OAUTHBEARER,
    PLAIN,
    STANDARD_MECHANISMS,
    XOAUTH2,
    AuthContext,
    MechanismError,
    ServerMechanism,
)
from ._options import AuthForm, ServerOptions
from ._reader import Command
from ._scram import SCRAM_MECHANISMS, scram
from ._spelling import fault_text, read_fault
from .faults import (
    AppendToReply,
    Close,
    CutContent,
    CutInput,
    CutOutput,
    Drip,
    Ending,
    Endless,
    Fault,
    Latency,
    Refuse,
    ReplaceReply,
    Reset,
    Shutdown,
    Stall,
    TruncateReply,
)
from .script import Mode, Played, TranscriptMismatch, play
from .server_protocol import Answer, ServerProtocol, Then

if TYPE_CHECKING:
    from ._records import SessionRecord
    from .replay import Replay
    from .server import Server, ServerTLS

__all__ = [
    "ALL_EXTENSIONS",
    "ANONYMOUS",
    "CRAM_MD5",
    "EXTERNAL",
    "LOGIN",
    "OAUTHBEARER",
    "PLAIN",
    "SCRAM_MECHANISMS",
    "STANDARD_MECHANISMS",
    "USUAL_EXTENSIONS",
    "XOAUTH2",
    "Answer",
    "AppendToReply",
    "AuthContext",
    "AuthForm",
    "Close",
    "Command",
    "CutContent",
    "CutInput",
    "CutOutput",
    "Drip",
    "Ending",
    "Endless",
    "Extension",
    "Fault",
    "Latency",
    "Mailbox",
    "MechanismError",
    "Mode",
    "Played",
    "ReceivedMessage",
    "Refuse",
    "ReplaceReply",
    "Replay",
    "Reset",
    "Server",
    "ServerMechanism",
    "ServerOptions",
    "ServerProtocol",
    "ServerTLS",
    "SessionRecord",
    "Shutdown",
    "Stall",
    "Then",
    "TranscriptMismatch",
    "TruncateReply",
    "Via",
    "fault_text",
    "play",
    "read_fault",
    "scram",
]


def __getattr__(name: str) -> Any:
    # These bring asyncio, ssl and threading along, which scripts and protocols do without.
    if name in ("Server", "ServerTLS", "SessionRecord"):
        from . import server

        return getattr(server, name)
    if name == "Replay":
        from .replay import Replay

        return Replay
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
