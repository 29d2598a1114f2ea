"""A test kit: an embedded mail server, strict or faulty as you please, and a script player.

`Server` is a real server on the loopback interface or a unix socket. `ServerProtocol` is the same
without I/O. The faults are what can go wrong with it. `play` runs a procedure against a dialogue.
`NameServer` is a real name server beside it, with faults of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._extensions import (
        ALL_EXTENSIONS,
        USUAL_EXTENSIONS,
        Extension,
    )
    from ._mailbox import (
        Mailbox,
        ReceivedMessage,
        Via,
    )
    from ._mails import (
        Mail,
        Mails,
    )
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
    from ._options import (
        AuthForm,
        ServerOptions,
    )
    from ._reader import (
        Command,
    )
    from ._records import (
        Said,
        SessionRecord,
    )
    from ._scram import (
        SCRAM_MECHANISMS,
        scram,
    )
    from ._spelling import (
        fault_text,
        read_fault,
    )
    from ._texts import (
        codes_in,
        links_in,
    )
    from ._unittest import (
        MailTestCase,
    )
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
    from .name_faults import (
        Misanswer,
        NameFault,
    )
    from .name_server import (
        NameServer,
    )
    from .replay import (
        Replay,
    )
    from .script import (
        Mode,
        Played,
        TranscriptMismatch,
        play,
    )
    from .server import (
        Server,
        ServerTLS,
    )
    from .server_protocol import (
        Answer,
        ServerProtocol,
        Then,
    )

_HOMES = {
    "_extensions": "ALL_EXTENSIONS Extension USUAL_EXTENSIONS",
    "_mailbox": "Mailbox ReceivedMessage Via",
    "_mails": "Mail Mails",
    "_mechanisms": "ANONYMOUS AuthContext CRAM_MD5 EXTERNAL LOGIN MechanismError "
    "OAUTHBEARER PLAIN STANDARD_MECHANISMS ServerMechanism XOAUTH2",
    "_options": "AuthForm ServerOptions",
    "_reader": "Command",
    "_records": "Said SessionRecord",
    "_scram": "SCRAM_MECHANISMS scram",
    "_spelling": "fault_text read_fault",
    "_texts": "codes_in links_in",
    "_unittest": "MailTestCase",
    "faults": "AppendToReply Close CutContent CutInput CutOutput Drip Ending Endless "
    "Fault Latency Refuse ReplaceReply Reset Shutdown Stall TruncateReply",
    "name_faults": "Misanswer NameFault",
    "name_server": "NameServer",
    "replay": "Replay",
    "script": "Mode Played TranscriptMismatch play",
    "server": "Server ServerTLS",
    "server_protocol": "Answer ServerProtocol Then",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

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
    "Mail",
    "MailTestCase",
    "Mailbox",
    "Mails",
    "MechanismError",
    "Misanswer",
    "Mode",
    "NameFault",
    "NameServer",
    "Played",
    "ReceivedMessage",
    "Refuse",
    "ReplaceReply",
    "Replay",
    "Reset",
    "Said",
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
    "codes_in",
    "fault_text",
    "links_in",
    "play",
    "read_fault",
    "scram",
]


def __getattr__(name: str) -> Any:
    # Each is loaded when it is first used: pytest loads the plugin, which is in here, every time.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"smtpx.testing.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
