"""Threads that share a client while the server fails, and a fork in the middle of sending."""

from __future__ import annotations

import gc
import os
import random

import pytest

from smtpx import Client, PoolLimits, Status, Timeouts, TLSMode, TLSPolicy
from smtpx.testing import Close, Fault, Latency, Refuse, Reset, Server, ServerTLS, Shutdown
from smtpx.testing import TruncateReply as Truncate
from tests.scale.account import Kept, account, digest, mails, verdicts_of
from tests.scale.senders import FACES, send_each

pytestmark = pytest.mark.timeout(120)

COMMANDS = ["EHLO", "MAIL", "RCPT", "DATA", "END-OF-DATA", "BDAT", "RSET"]


def faults(seed: int) -> list[Fault]:
    """Something for most sessions, late or early."""
    chance = random.Random(seed)
    chosen: list[Fault] = [Latency(0.001, session=chance.randrange(1, 20)) for _ in range(3)]
    for session in range(1, 60):
        command, nth = chance.choice(COMMANDS), chance.randrange(1, 9)
        kind = chance.choice(["close", "reset", "421", "truncate", "refuse", "nothing"])
        match kind:
            case "close":
                chosen.append(Close(command, nth=nth, session=session))
            case "reset":
                chosen.append(Reset(command, nth=nth, session=session))
            case "421":
                chosen.append(Shutdown(command, nth=nth, session=session))
            case "truncate" if command != "DATA":
                chosen.append(Truncate(command, keep=0, nth=nth, session=session))
            case "refuse" if command not in ("EHLO", "RSET"):
                chosen.append(Refuse(command, "451 4.3.0 later", nth=nth, session=session))
            case _:
                pass
    return chosen


@pytest.mark.requirement("T43")
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("seed", range(4))
def test_many_callers_and_random_faults(face: str, seed: int):
    sent = mails(200)
    with Server(faults=faults(seed)) as server:
        told = send_each(
            face, server.url, sent, connections=4, callers=12, timeouts=Timeouts.each(20)
        )
        _ = server.wait_until_idle(20)
        kept = [Kept(digest(m.content), m.sender, m.recipients) for m in server.messages]
        tally = account(sent, told, kept)
        assert server.breaches == []
        # The bound held at any time; what failed was replaced.
        assert tally[Status.ACCEPTED] > 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("tls", [ServerTLS.NONE, ServerTLS.IMPLICIT])
@pytest.mark.parametrize("ending", ["close", "abort", "collect"])
def test_a_child_forked_in_the_middle_leaves_its_parents_connections_alone(
    tls: ServerTLS, ending: str
):
    """Whatever the child does with what it inherited, the parent's messages get through."""
    sent = mails(60)
    with Server(tls=tls) as server:
        policy = (
            TLSPolicy(TLSMode(tls.value), ca_file=server.ca_file) if tls.value != "none" else None
        )
        with Client(server.url, tls=policy, pool=PoolLimits(open=3)) as client:
            sending = client.send_many([m.item for m in sent], connections=2, window=4)
            results = [next(sending) for _ in range(10)]
            child = os.fork()
            if not child:
                code = 1
                try:
                    match ending:
                        case "close":
                            client.close()
                        case "abort":
                            client.close(abort=True)
                        case _:
                            del sending
                            _ = gc.collect()
                    extra = mails(61)[-1]
                    if ending == "collect":
                        assert client.send(*extra.item).error is None
                    code = 0
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            results += list(sending)
        _ = server.wait_until_idle(20)
        of_child = [m for m in server.messages if m.sender == "s60@x.test"]
        assert len(of_child) == (1 if ending == "collect" else 0)
        kept = [
            Kept(digest(m.content), m.sender, m.recipients)
            for m in server.messages
            if m not in of_child
        ]
        by_content = {m.content: m for m in sent}
        told = [
            (by_content[r.message], verdicts_of(r, by_content[r.message]))  # type: ignore[index] # its content
            for r in results
        ]
        assert account(sent, told, kept) == {Status.ACCEPTED: 120}
        assert server.breaches == []
