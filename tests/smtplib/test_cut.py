"""The connection is cut at every octet of what the server says: never a false yes or no."""

from __future__ import annotations

import pytest

from smtpx import smtplib
from smtpx.testing import USUAL_EXTENSIONS, CutOutput, Ending, Extension, Server


def told(server: Server) -> str:
    """What a caller learns about one message."""
    try:
        client = smtplib.SMTP("127.0.0.1", server.port, "client.example.org", timeout=10)
        refused = client.sendmail("a@example.org", ["b@example.net", "c@example.net"], "hi")
        client.close()
    except OSError as error:  # also a reset before there is a connection
        return "in doubt" if "in doubt" in str(error) else "not sent"
    assert refused == {}
    return "accepted"


@pytest.mark.requirement("T19")
@pytest.mark.requirement("T39")
@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("without", [set(), {Extension.PIPELINING}])
def test_the_output_cut_at_every_octet(without: set[Extension], ending: Ending) -> None:
    extensions = USUAL_EXTENSIONS - without
    with Server(extensions=extensions) as server:
        assert told(server) == "accepted"
        octets = server.sessions[0].bytes_out
    fates: list[str] = []
    for at in range(octets + 1):
        with Server(extensions=extensions, faults=[CutOutput(at, ending=ending)]) as server:
            fates.append(told(server))
            _ = server.wait_until_idle()
            taken = len(server.messages)
        assert taken <= 1
        assert fates[-1] != ("not sent" if taken else "accepted")
    # First nothing was sent, then it is in doubt, then it is certain: never back and forth.
    assert fates == sorted(fates, key=["not sent", "in doubt", "accepted"].index)
    assert set(fates) == {"not sent", "in doubt", "accepted"}
