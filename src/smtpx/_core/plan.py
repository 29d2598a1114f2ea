"""A mail transaction's commands, made and checked before the first of them is sent."""

from __future__ import annotations

from smtpx._core.connection import Connection
from smtpx._values import Value
from smtpx._wire import commands
from smtpx._wire.commands import Command
from smtpx._wire.content import SMALL, Content
from smtpx._wire.parameters import mail_parameters, rcpt_parameters, size_parameter
from smtpx.envelope import BodyType, Envelope, keep_paths
from smtpx.errors import LocalProtocolError

# An Enum's attributes are slow to look up until Python 3.12, and this is asked for every message.
_SEVEN_BIT = BodyType.SEVEN_BIT


class Plan(Value):
    """A transaction's commands, made and checked before the first of them is sent."""

    mail: Command
    rcpt: list[Command]
    body: BodyType
    chunked: bool
    """The content goes by BDAT."""


def plan_of(connection: Connection, envelope: Envelope, content: Content) -> Plan:
    """Make the commands of a transaction, with the parameters that this server takes.

    Raises:
        ExtensionMissing, LocalProtocolError: they cannot be made.
    """
    body = body_of(connection, envelope, content)
    parameters = parameters_of(connection, envelope, content)
    extensions, drop = connection.extensions, envelope.drop_unsupported
    rcpt = [
        commands.rcpt(recipient.address, rcpt_parameters(recipient, extensions, drop=drop))
        for recipient in envelope.recipients
    ]
    chunked = body is BodyType.BINARY or _goes_by_chunks(connection, content)
    return Plan(commands.mail(envelope.sender, parameters), rcpt, body, chunked)


def body_of(connection: Connection, envelope: Envelope, content: Content) -> BodyType:
    """What BODY the content is sent as.

    Raises:
        LocalProtocolError: the envelope says 7-bit, and it is not.
    """
    body, eight_bit = envelope.body, content.eight_bit
    if body is None:
        if eight_bit is None:  # shows only in reading: ask for room where there is some
            eight_bit = connection.extensions.eight_bit_mime
        return BodyType.EIGHT_BIT if eight_bit else _SEVEN_BIT
    if body is _SEVEN_BIT and eight_bit:
        raise LocalProtocolError("body=SEVEN_BIT was asked for content with octets above 127")
    return body


def _goes_by_chunks(connection: Connection, content: Content) -> bool:
    """True for large content, which BDAT takes as it is: no dot is looked for, and none doubled."""
    if connection.lmtp or not connection.extensions.chunking:
        return False
    return content.size is None or content.size > SMALL


def parameters_of(connection: Connection, envelope: Envelope, content: Content) -> str:
    """The parameters of MAIL, as this server takes them.

    Raises:
        ExtensionMissing, LocalProtocolError: they cannot be made.
    """
    return mail_parameters(
        envelope,
        connection.extensions,
        size=content.size,
        body=body_of(connection, envelope, content),
        smtputf8=envelope.needs_smtputf8 or content.internationalized_header,
        tls=connection.tls,
    )


def plain_group(
    connection: Connection, envelope: Envelope, content: Content, reset: bool, then: str = ""
) -> bytes:
    """The commands before the content of a message without options, composed as one.

    With RSET before them if asked, and `then`, a command line, after. It takes half the time, and
    nearly every message goes this way; what is refused or goes wrong is judged like any other.

    Raises:
        ExtensionMissing, LocalProtocolError: they cannot be made.
    """
    if envelope._is_bare and content.eight_bit is False:
        parameters = size_parameter(content.size, connection.extensions)
    else:
        parameters = parameters_of(connection, envelope, content)
    paths = envelope._paths
    if paths is None:
        paths = commands.paths_of(envelope.sender, envelope._spelt)
        keep_paths(envelope, paths)
    return commands.envelope_commands(paths, parameters, reset, then)
