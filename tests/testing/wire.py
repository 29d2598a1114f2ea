"""A client with no opinions: it writes what it is told and reads replies."""

import socket


class Wire:
    def __init__(self, server, *, context=None, timeout=5.0):
        if server.path is not None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(server.path))
        else:
            self.socket = socket.create_connection((server.host, server.port), timeout)
        self.socket.settimeout(timeout)
        self.buffer = b""
        if context is not None:
            self.start_tls(context)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def start_tls(self, context, name="localhost"):
        self.socket = context.wrap_socket(self.socket, server_hostname=name)

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode() + b"\r\n")

    def reply(self):
        """Read one reply; what is there at the end of the stream counts as one."""
        lines = []
        while True:
            end = self.buffer.find(b"\n") + 1
            if end:
                lines.append(self.buffer[:end])
                self.buffer = self.buffer[end:]
                if lines[-1][3:4] != b"-":
                    return b"".join(lines)
                continue
            data = self.socket.recv(65536)
            if not data:
                rest, self.buffer = self.buffer, b""
                return b"".join([*lines, rest])
            self.buffer += data

    def code(self):
        return int(self.reply()[:3])

    def ask(self, *lines):
        """Say each line and read its reply; return the codes."""
        codes = []
        for line in lines:
            self.send(line)
            codes.append(self.code())
        return codes

    def rest(self):
        """Read to the end of the stream."""
        parts = [self.buffer]
        self.buffer = b""
        while data := self.socket.recv(1 << 20):
            parts.append(data)
        return b"".join(parts)


ENVELOPE = ("MAIL FROM:<a@b.example>", "RCPT TO:<x@y.example>")


def opened(server, **options):
    wire = Wire(server, **options)
    assert wire.code() == 220
    assert wire.ask("EHLO me.example") == [250]
    return wire
