"""Each question is asked once for all who wait, within their time, and not too many at a time."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest
import trio

from smtpx.delivery import NameServers, _asking, _flights
from smtpx.delivery._answers import Answers
from smtpx.delivery._asking import Asker
from smtpx.delivery._asking_tasks import TaskAsker
from smtpx.delivery._dnspython import Ask, Pause, asking
from smtpx.delivery._flights import Flights, Waiter
from smtpx.delivery._manners import Manners
from smtpx.delivery._responses import response_of
from smtpx.delivery._worlds import current_world
from smtpx.delivery.dane import TLSA
from smtpx.delivery.resolver import MX, Answer, AnswerState, Question
from smtpx.testing import Misanswer, NameFault, NameServer
from tests.delivery.held_server import HeldServer
from tests.interruptions.subjects import open_files

pytestmark = pytest.mark.timeout(60)
COMMON = "common.test"


def question(name: str) -> Question:
    return Question(name, "A")


def servers_of(server: HeldServer | NameServer) -> NameServers:
    return NameServers("127.0.0.1", port=server.port)


def states(answers: Sequence[Answer]) -> list[AnswerState]:
    return [answer.state for answer in answers]


FOUND, FAILED = AnswerState.FOUND, AnswerState.FAILED


def test_threads_that_ask_the_same_ask_once():
    with HeldServer() as server, ThreadPoolExecutor(8) as threads:
        asker = Asker(servers_of(server), Answers())
        own = [f"own{place}.test" for place in range(8)]
        asking = [
            threads.submit(asker.ask, [question(COMMON), question(name)], 30.0) for name in own
        ]
        server.wait_for(*own)
        server.release()
        assert [states(one.result()) for one in asking] == [[FOUND, FOUND]] * 8
        assert server.asked == {COMMON: 1, **dict.fromkeys(own, 1)}
        # And what was answered is not asked again.
        assert states(asker.ask([question(COMMON)], 30.0)) == [FOUND]
        assert server.asked[COMMON] == 1


def test_what_is_answered_just_when_it_is_missed_is_not_asked_again():
    class Landing(Answers):
        """Another thread's answer comes right after somebody has looked for it in vain."""

        def all_of(self, questions: Sequence[Question]) -> list[Answer] | None:
            found = super().all_of(questions)
            for each in questions:
                self.keep(each, Answer(FOUND, ("192.0.2.1",), ttl=60))
            return found

    with HeldServer() as server:
        asker = Asker(servers_of(server), Landing())
        assert states(asker.ask([question(COMMON)], 30.0)) == [FOUND]
        assert not server.asked


def test_a_thread_whose_time_is_up_leaves_the_others_what_it_has_begun():
    with HeldServer() as server, ThreadPoolExecutor(2) as threads:
        asker = Asker(servers_of(server), Answers())
        first = threads.submit(asker.ask, [question(COMMON), question("a.test")], 0.5, 1)
        server.wait_for("a.test")
        second = threads.submit(asker.ask, [question(COMMON), question("b.test")], 30.0)
        said = first.result()
        assert states(said) == [FAILED, FAILED]
        assert [one.detail.rpartition("within ")[2] for one in said] == ["0.5 s", "0.25 s"]
        server.wait_for("b.test")
        server.release()
        assert states(second.result()) == [FOUND, FOUND]
        assert server.asked[COMMON] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pthread_kill")
def test_ctrl_c_in_the_thread_that_asks_for_all_harms_no_other():
    main = threading.get_ident()
    with HeldServer() as server, ThreadPoolExecutor(2) as threads:
        asker = Asker(servers_of(server), Answers())

        def interrupt() -> Sequence[Answer]:
            server.wait_for("a.test")
            other = threads.submit(asker.ask, [question(COMMON), question("b.test")], 30.0)
            server.wait_for("b.test")
            signal.pthread_kill(main, signal.SIGINT)
            return other.result()

        other = threads.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            asker.ask([question(COMMON), question("a.test")], 30.0)
        server.release()
        assert states(other.result()) == [FOUND, FOUND]
        assert server.asked[COMMON] == 1


def test_a_question_that_ctrl_c_tore_is_asked_anew_for_the_others(monkeypatch):
    """Sent, and not yet waited for: the moment at which there is a socket, and no selector."""
    board = _asking._Air.board
    torn: list[str] = []

    def tear(air: Any, selector: Any) -> None:
        if air._socket is not None and not torn:
            torn.append("once")
            raise KeyboardInterrupt
        board(air, selector)

    monkeypatch.setattr(_asking._Air, "board", tear)
    with HeldServer() as server:
        server.release()
        asker = Asker(servers_of(server), Answers())
        with pytest.raises(KeyboardInterrupt):
            asker.ask([question(COMMON)], 30.0)
        assert states(asker.ask([question(COMMON)], 30.0)) == [FOUND]
        assert not asker._air


def run_in(world: str, main: Callable[[], Any]) -> Any:
    return asyncio.run(main()) if world == "asyncio" else trio.run(main)


async def in_a_thread(call: Callable[..., Any], *args: Any) -> None:
    """Wait for what blocks, as this test's name server does."""
    if current_world().name == "trio":
        await trio.to_thread.run_sync(call, *args)
    else:
        await asyncio.to_thread(call, *args)


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_a_task_that_is_cancelled_harms_no_other(world: str):
    with HeldServer() as server:

        async def main() -> None:
            here = current_world()
            asker = TaskAsker(servers_of(server), Answers(), Manners(), here)
            said: dict[str, list[AnswerState]] = {}
            done = here.make_bell()

            def asking(name: str) -> Callable[[], Any]:
                async def ask() -> None:
                    said[name] = states(await asker.ask([question(COMMON), question(name)], 30.0))
                    done.ring()

                return ask

            own = [f"own{place}.test" for place in range(8)]
            tasks = [here.spawn(asking(name)) for name in own]
            await in_a_thread(server.wait_for, *own)
            tasks[0].cancel()
            await tasks[0].ended()
            server.release()
            while len(said) < 7:
                await done.wait()
            assert said == {name: [FOUND, FOUND] for name in own[1:]}
            assert server.asked == {COMMON: 1, **dict.fromkeys(own, 1)}

        run_in(world, main)


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_when_all_tasks_have_left_nothing_is_asked_any_more(world: str):
    with HeldServer() as server:

        async def main() -> None:
            asker = TaskAsker(servers_of(server), Answers(), Manners(), current_world())
            assert states(await asker.ask([question(COMMON)], 0.2)) == [FAILED]
            server.release()
            assert states(await asker.ask([question(COMMON)], 30.0)) == [FOUND]
            # The first question was given up, so that another one had to be asked.
            assert server.asked[COMMON] == 2

        run_in(world, main)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_task_that_is_cancelled_anywhere_leaves_nothing_open(loop: str):
    factory = pytest.importorskip(loop).new_event_loop
    with HeldServer() as server, asyncio.Runner(loop_factory=factory) as runner:

        async def asked_until(turns: int) -> None:
            asker = TaskAsker(servers_of(server), Answers(), Manners(), current_world())
            task = asyncio.create_task(asker.ask([question(f"after{turns}.test")], 30.0))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            _ = await asyncio.wait([task])
            for _ in range(4):
                await asyncio.sleep(0)
            assert open_files() == at_rest, turns

        at_rest = runner.run(_open_files())
        for turns in range(12):
            runner.run(asked_until(turns))


async def _open_files() -> int:
    return open_files()


def test_a_flood_of_packets_that_are_no_answer_holds_up_no_other_question():
    """Each is looked at, but not all of them before what else has come."""
    read: list[int] = []

    class Flooded:
        def recv(self, most: int) -> bytes:
            read.append(most)
            return b"\0garbage"

        def close(self) -> None:
            pass

    with HeldServer() as server:
        air = _asking._Air(question(COMMON), servers_of(server), Manners())
        assert air.go_on() is None
        assert air._socket is not None
        air._socket.close()
        air._socket = Flooded()  # type: ignore[assignment] # as far as it is used
        for turn in range(1, 4):
            air.is_ready = True
            assert air.go_on() is None
            assert len(read) <= 100 * turn
        air.until = 0.0
        # And its time is up, whatever still comes.
        assert air.go_on() is None
        assert isinstance(air._step, Pause)
        air.close()


def test_nothing_stays_open_in_threads_when_nobody_asks():
    with HeldServer() as server:
        asker = Asker(servers_of(server), Answers())
        before = threading.active_count()
        assert states(asker.ask([question(COMMON)], 0.2)) == [FAILED]
        server.release()
        assert states(asker.ask([question(COMMON)], 30.0)) == [FOUND]
        assert threading.active_count() == before


@pytest.mark.requirement("D53")
@pytest.mark.parametrize("world", ["thread", "asyncio", "trio"])
def test_a_call_of_many_questions_asks_few_at_a_time(world: str):
    names = [f"n{place}.test" for place in range(300)]
    questions = [question(name) for name in names]
    with HeldServer() as server:
        if world == "thread":
            asker = Asker(servers_of(server), Answers())
            with ThreadPoolExecutor(1) as threads:
                asking = threads.submit(asker.ask, questions, 30.0)
                server.wait_for_count(8)
                # What nobody has asked for yet may be known by the time that it has its turn.
                asker._answers.keep(questions[-1], Answer(FOUND, ("192.0.2.9",), ttl=60))
                server.release()
                said = asking.result()
        else:

            async def main() -> Sequence[Answer]:
                here = current_world()
                asker = TaskAsker(servers_of(server), Answers(), Manners(), here)
                said: list[Answer] = []
                done = here.make_bell()

                async def ask() -> None:
                    said.extend(await asker.ask(questions, 30.0))
                    done.ring()

                _ = here.spawn(ask)
                await in_a_thread(server.wait_for_count, 8)
                asker._answers.keep(questions[-1], Answer(FOUND, ("192.0.2.9",), ttl=60))
                server.release()
                await done.wait()
                return said

            said = run_in(world, main)
        assert server.most == 8
        assert [one.records for one in said] == [("192.0.2.1",)] * 299 + [("192.0.2.9",)]
        assert server.asked == dict.fromkeys(names[:-1], 1)


def begun(flights: Flights[Any], now: float) -> list[Any]:
    sent_off, set_back = flights.due(now)
    assert not set_back
    return sent_off


def test_a_domain_whose_hosts_nobody_knows_holds_up_no_other():
    """It may name a hundred, whose name servers say nothing."""
    flights: Flights[Waiter] = Flights()
    for domain in range(4):
        questions = [question(f"n{place}.d{domain}.test") for place in range(200)]
        Waiter(questions, (), 100.0, 30.0).go_on(flights, Answers())
    assert len(begun(flights, 100.0)) == 32
    Waiter([question("good.test")], (), 100.0, 30.0).go_on(flights, Answers())
    assert [one.question.name for one in begun(flights, 100.0)] == ["good.test"]


def test_of_many_questions_few_are_sent_off_at_a_time():
    flights: Flights[str] = Flights()
    for place in range(300):
        flights.join(question(f"n{place}.test"), "ann")
    first = begun(flights, 100.0)
    assert len(first) == 64
    assert begun(flights, 100.2) == []
    assert flights.looks_again() == 100.5
    # One that is answered makes room at once.
    assert flights.landed(first[0]) == {"ann"}
    assert len(begun(flights, 100.2)) == 1
    # Those that are slow hold up no other, up to a bound.
    assert len(begun(flights, 100.5)) == 63
    assert len(begun(flights, 102.0)) == 64
    assert len(begun(flights, 103.0)) == 64
    assert [len(each) for each in flights.due(104.0)] == [44, 43]
    assert len(flights._air) == 256
    assert flights.looks_again() is None
    assert begun(flights, 200.0) == []


def test_what_nobody_waits_for_is_not_sent_off():
    flights: Flights[str] = Flights()
    one, other = (flights.join(question(name), "ann") for name in ("a.test", "b.test"))
    assert flights.join(question("a.test"), "bob") is one
    assert flights.leave([one, other], "ann") == []
    assert begun(flights, 1.0) == [one]
    assert flights.leave([one], "bob") == [one]
    assert flights.join(question("a.test"), "eve") is not one


def test_where_all_are_slow_the_oldest_makes_room_and_is_asked_anew():
    """Those whose name servers say nothing stop no look-up of others, however many they are."""
    flights: Flights[str] = Flights()
    for place in range(300):
        flights.join(question(f"n{place}.test"), "ann")
    for second in range(4):
        assert len(begun(flights, 100.0 + second)) == 64
    sent_off, set_back = flights.due(104.0)
    assert [one.question.name for one in set_back] == [f"n{place}.test" for place in range(44)]
    assert len(sent_off) == 44
    flights.join(question("good.test"), "bob")
    sent_off, set_back = flights.due(104.0)
    assert [one.question.name for one in sent_off] == ["good.test"]
    assert [one.question.name for one in set_back] == ["n44.test"]
    assert len(flights._air) == 256
    # They make room for nobody who has made room himself.
    assert begun(flights, 110.0) == []
    assert flights.looks_again() is None
    assert flights.leave([flights.join(question("n0.test"), "ann")], "ann") == []
    assert flights.landed(sent_off[0]) == {"bob"}
    assert [one.question.name for one in begun(flights, 110.0)] == ["n1.test"]
    assert flights.join(question("n1.test"), "eve").waiting == {"ann", "eve"}


@pytest.mark.parametrize("world", ["thread", "asyncio", "trio"])
def test_no_name_server_that_says_nothing_stops_the_look_ups_of_others(world: str, monkeypatch):
    for name, value in (("_MOST", 8), ("_WIDTH", 4), ("_YOUNG", 0.05)):
        monkeypatch.setattr(_flights, name, value)
    silent = [f"n{place}.test" for place in range(20)]
    faults = [NameFault(Misanswer.SILENCE, name, "A") for name in silent]
    found: list[Any] = []
    with NameServer("good.test A 192.0.2.1", faults=faults) as server:
        if world == "thread":
            asker = Asker(servers_of(server), Answers())
            with ThreadPoolExecutor(20) as threads:
                asked = [threads.submit(asker.ask, [question(name)], 3.0) for name in silent]
                while server.packets["n9.test", "A"] == 0:
                    time.sleep(0.01)
                found = asker.ask([question("good.test")], 2.0)
                assert [states(one.result()) for one in asked] == [[FAILED]] * 20
        else:

            async def main() -> None:
                here = current_world()
                tasks = TaskAsker(servers_of(server), Answers(), Manners(), here)

                async def ask(name: str) -> None:
                    assert states(await tasks.ask([question(name)], 3.0)) == [FAILED]

                running = [here.spawn(partial(ask, name)) for name in silent]
                while server.packets["n9.test", "A"] == 0:
                    await here.pause(0.01)
                found.extend(await tasks.ask([question("good.test")], 2.0))
                for one in running:
                    await one.ended()

            run_in(world, main)
    assert states(found) == [FOUND]


def test_answers_are_bounded_in_memory():
    """What hostile zones say is forgotten before it takes too much."""
    answers = Answers()
    large = Answer(FOUND, tuple(str(place) * 500 for place in range(100)), ttl=1000.0)
    for place in range(2000):
        answers.keep(question(f"n{place}.test"), large)
    assert answers._octets <= 8 << 20
    assert answers.get(question("n1999.test")) is large
    assert answers.get(question("n0.test")) is None
    for place in range(11_000):
        answers.keep(question(f"m{place}.test"), Answer(FOUND, ("192.0.2.1",), ttl=1000.0))
    assert len(answers._kept) == 10_000
    answers.forget([question("m10999.test")])
    assert answers.get(question("m10999.test")) is None
    answers.keep(question("zero.test"), Answer(FOUND, (MX(1, "a"), TLSA(3, 1, 1, b"x"))))
    assert answers.get(question("zero.test")) is None


def read(question: Question, *lines: str) -> Answer:
    """What is made of a response with these records."""
    procedure = asking(question, NameServers("127.0.0.1"), Manners())
    step = next(procedure)
    assert isinstance(step, Ask)
    response = dns.message.make_response(step.query)
    name = dns.name.from_text(question.name)
    response.answer.append(dns.rrset.from_text(name, 300, "IN", question.type, *lines))
    with pytest.raises(StopIteration) as stop:
        procedure.send(dns.message.from_wire(response.to_wire(max_size=65535)))
    answer: Answer = stop.value.value
    return answer


@pytest.mark.requirement("D49")
def test_of_a_huge_answer_a_part_is_kept():
    lines = [f"{1400 - place} mx{place}.many.test." for place in range(1400)]
    records = read(Question("many.test", "MX"), *lines).records
    assert [one.preference for one in records if isinstance(one, MX)] == list(range(1, 102))
    text = f'"{"x" * 250}" ' * 200
    assert read(Question("long.test", "TXT"), text).records == ("x" * 2048,)
    addresses = [f"10.0.{place // 250}.{place % 250}" for place in range(2000)]
    assert len(read(question("many.test"), *addresses).records) == 100


@pytest.mark.requirement("D49")
@pytest.mark.parametrize("section", ["answer", "authority", "additional"])
def test_of_a_huge_response_no_more_is_read_than_anybody_needs(section: str):
    """Each record costs time, and a zone may have thousands at each of a hundred hosts."""
    query = dns.message.make_query("many.test", "A")
    response = dns.message.make_response(query)
    own = dns.rrset.from_text(query.question[0].name, 300, "IN", "A", "192.0.2.1")
    others = [f"10.0.{place // 250}.{place % 250}" for place in range(3000)]
    response.answer.append(own)
    response.sections[1 + ["answer", "authority", "additional"].index(section)].append(
        dns.rrset.from_text(dns.name.from_text("many.test"), 300, "IN", "A", *others)
    )
    read = response_of(query, response.to_wire(max_size=65535))
    assert sum(len(rrset) for part in read.sections[1:] for rrset in part) == 200
    assert own[0] in read.answer[0]


@pytest.mark.requirement("D49")
@pytest.mark.parametrize("alias", [True, False])
@pytest.mark.parametrize("count", [100, 101, 200, 2000])
def test_of_many_mail_exchangers_the_best_are_known_wherever_they_stand(alias: bool, count: int):
    name = "real.test." if alias else "many.test."
    texts = [f"{count - place} h{count - place}.many.test." for place in range(count)]

    def answered(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if alias:
            response.answer.append(dns.rrset.from_text("many.test.", 300, "IN", "CNAME", name))
        response.answer.append(dns.rrset.from_text(name, 300, "IN", "MX", *texts))
        # Before them all: what says nothing of this name.
        others = dns.rrset.from_text("other.test.", 300, "IN", "MX", "0 h0.many.test.")
        response.answer.insert(0, others)
        return response_of(query, response.to_wire(max_size=65535))

    procedure = asking(Question("many.test", "MX"), NameServers("127.0.0.1"), Manners())
    step = next(procedure)
    assert isinstance(step, Ask)
    with pytest.raises(StopIteration) as stop:
        procedure.send(answered(step.query))
    records = stop.value.value.records
    assert [one.preference for one in records] == list(range(1, min(count, 101) + 1))
    assert [one.exchanger for one in records] == [f"h{one.preference}.many.test" for one in records]


def test_what_is_truncated_even_by_tcp_says_nothing():
    """It would be a word for good: that there is nothing, or no more."""
    procedure = asking(Question("a.test", "MX"), NameServers("127.0.0.1"), Manners())
    step = next(procedure)
    with pytest.raises(StopIteration) as stop:
        while True:
            response = None
            if isinstance(step, Ask):
                response = dns.message.make_response(step.query)
                response.flags |= dns.flags.RA | dns.flags.TC
            step = procedure.send(response)
    assert stop.value.value.state is FAILED
    assert "truncated" in stop.value.value.detail


def test_a_thread_hears_at_once_that_a_name_server_is_not_there():
    with NameServer("") as server:
        pass
    (answer,) = Asker(servers_of(server), Answers()).ask([question("a.test")], 30.0)
    assert answer.state is FAILED
    assert "Connection refused" in answer.detail
