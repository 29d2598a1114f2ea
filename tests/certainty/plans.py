"""What one round is to be: all of it from its seed, so that each can be run again, alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tests.certainty.exchangers import Exchangers, exchangers
from tests.certainty.mails import Kind

FACES = (
    "session",
    "send",
    "threads",
    "one shot",
    "many",
    "abandoned many",
    "failing many",
    "interrupted send",
    "interrupted many",
    "async send",
    "async many",
    "smtplib",
    "smtplib threads",
    "outbox",
    "interrupted outbox",
    "async outbox",
    "delivering outbox",
    "interrupted delivering outbox",
    "async delivering outbox",
    "delivery",
    "many deliveries",
    "interrupted delivery",
    "interrupted many deliveries",
    "async delivery",
    "async many deliveries",
)
# Those that send one message at a time over a connection, and wait for its end.
LONE = (
    "session",
    "send",
    "threads",
    "one shot",
    "interrupted send",
    "async send",
    "smtplib",
    "smtplib threads",
)
ALL_OR_NOTHING_FACES = ("session", "send", "threads", "one shot", "async send")
MOST = {"one shot": 20, "interrupted send": 20}
READ_ONCE = ("file", "pieces")
# What has a client wait for nothing.
SILENT = ("missing", "garbage", "wrong")
# What opens nothing but connections.
POOR_FACES = ("session", "send", "threads", "one shot", "many", "failing many")
WORLDS = ("asyncio", "uvloop", "trio")
# What somebody else's function does that we call: nothing, or what it can.
MARKS = ("", "", "", "yes", "no", "raise")
SIGNERS = ("", "", "", "", "sign", "raise")

PROXIED = 0.12
"""Of the rounds; what of all is proxied is drawn apart, so that the rest is as it was."""
PROXY_FAULTS = {
    "method": ("no", "close", "reset", "stall", "pieces", "garbage", "half"),
    "login": ("no", "close", "reset", "stall", "garbage"),
    "connect": ("no", "close", "reset", "stall", "pieces", "garbage", "half"),
    "tunnel": ("close", "reset", "cut", "cut", "stall", "late"),
}

ENDINGS = ("421", "close", "reset", "die")
POINTS = {
    "greeting": ("no", "421", "close", "late", "pieces"),
    "hello": ("no", "421", "close", "reset", "late", "pieces"),
    "starttls": ("no", "421", "close", "reset", "late"),
    "auth": ("no", "421", "close", "reset", "late", "pieces", "garbage"),
    "mail": (
        "no",
        "go on",
        "late",
        "pieces",
        "stall",
        "surplus",
        "missing",
        "garbage",
        "wrong",
        "lie",
        *ENDINGS,
    ),
    "rcpt": (
        "no",
        "no",
        "go on",
        "late",
        "pieces",
        "stall",
        "surplus",
        "missing",
        "garbage",
        "wrong",
        "lie",
        *ENDINGS,
    ),
    "data": (
        "no",
        "go on",
        "late",
        "pieces",
        "stall",
        "surplus",
        "missing",
        "garbage",
        "wrong",
        *ENDINGS,
    ),
    "chunk": ("no", "go on", "late", "pieces", "stall", "surplus", "missing", "garbage", *ENDINGS),
    "content": ("no", "421", "close", "reset", "stall", "late"),
    "final": (
        "no",
        "go on",
        "late",
        "pieces",
        "stall",
        "surplus",
        "missing",
        "garbage",
        "wrong",
        "lie",
        "die",
        *ENDINGS,
    ),
    "rset": ("no", "late", "stall", "surplus", "missing", "garbage", *ENDINGS),
    "quit": ("no", "421", "close", "reset", "late", "stall", "garbage"),
}
THEMES = {
    # name: (weight, kinds of faults)
    "everything": (14, None),
    "endings": (22, (*ENDINGS, "late")),
    "refusals": (12, ("no", "421", "go on")),
    "puzzles": (10, ("surplus", "missing", "garbage", "wrong", "lie", "no")),
    "surplus": (6, ("surplus", "no")),
    "slow": (6, ("stall", "late", "pieces", "no")),
    "cuts": (14, ("die", "late", "no")),
    "limits": (8, (*ENDINGS, "no")),
    "sessions": (5, ()),
    "resets": (4, ()),
    "resets and refusals": (3, ("no",)),
    "idle": (5, ()),
    "idle and endings": (4, (*ENDINGS,)),
    "death": (4, ("late", "no")),
    "dead": (1, ()),
    "poor": (3, ("late", *ENDINGS)),
    "calm": (4, ()),
}


@dataclass(slots=True)
class Plan:
    """One round."""

    seed: int
    face: str
    theme: str
    world: str
    count: int
    kind: Kind
    server: dict[str, Any]
    timeouts: float
    pool: dict[str, Any]
    window: int = 64
    connections: int = 1
    on_doubt: str = "report"
    callers: int = 1
    """Threads or tasks that share a client."""
    cancel: bool = False
    pauses: bool = False
    """The callers wait now and then, so that connections are idle."""
    how: str = ""
    """How `send_many` is abandoned or fails, or which of several calls is made."""
    all_or_nothing: bool = False
    observed: bool = False
    """An observer is told of everything; some of it goes another way then."""
    total: float | None = None
    """Seconds for a whole call."""
    marks: str = ""
    """What is asked before a message may be in doubt: one that says yes, no, or raises."""
    exchangers: Exchangers | None = None
    """Who is found by the DNS, where a message is delivered."""
    signer: str = ""
    """What writes the contents anew: nobody, one that signs, one that raises."""

    @property
    def gentle(self) -> bool:
        """True if every message must be accepted for every recipient."""
        if self.exchangers is not None and (self.fails or not self.exchangers.is_fair):
            return False
        if self.server["proxy"] and self.server["proxy"]["faults"]:
            return False
        if self.cancel or self.how == "exit" or self.server["session_end"] == "close":
            return False
        if self.total or self.marks in ("no", "raise") or self.signer == "raise":
            return False
        if self.server["limits"] and (
            self.face in ("session", "one shot") or "smtplib" in self.face
        ):
            return False
        match self.theme:
            case "calm":
                return "interrupted" not in self.face
            case "idle":
                return self.face in ("send", "async send") and self.how in ("", "client")
            case "sessions" | "resets":
                return self.how not in ("session", "one shot") and self.face in (
                    "send",
                    "threads",
                    "many",
                    "async send",
                    "async many",
                    "failing many",
                )
        return False

    @property
    def is_kept(self) -> bool:
        """True if an outbox has the messages, and tells of them when its workers have gone."""
        return "outbox" in self.face

    @property
    def in_postgres(self) -> bool:
        """True if that outbox keeps them on a server, where there is one."""
        return self.is_kept and Random(f"ledger {self.seed}").random() < 0.5

    @property
    def fails(self) -> bool:
        """True if the caller's iterable does."""
        return "error" in self.how or self.how == "exit"

    @property
    def abandons(self) -> bool:
        """True if the caller does not listen to the end."""
        return self.face == "abandoned many" or "break" in self.how

    @property
    def spare_files(self) -> int | None:
        """How many descriptors may still be opened; ``None``: as many as ever."""
        return self.seed % 3 if self.theme == "poor" and self.face in POOR_FACES else None

    def __str__(self) -> str:
        server = self.server
        tls = "" if server["tls"] == "none" else f" {server['tls']}"
        words = ["lmtp" if server["lmtp"] else "smtp" + tls, *server["extensions"]]
        if self.exchangers is not None:
            words = [f"{len(self.exchangers.hosts)} exchangers", *self.exchangers.zone]
            words += [" ".join(map(str, each)) for each in self.exchangers.name_faults]
        words += [self.face, f"{self.count} messages", self.theme]
        if "async" in self.face:
            words.append(self.world + (", cancelled" if self.cancel else ""))
        if "many" in self.face or self.is_kept:
            words.append(
                f"window={self.window} connections={self.connections} on_doubt={self.on_doubt}"
            )
        if self.how:
            words.append(self.how)
        if self.callers > 1:
            words.append(f"{self.callers} callers")
        if self.server["ignored"]:
            words.append("without " + " ".join(self.server["ignored"]))
        words += [f"total={self.total}"] if self.total else []
        words += [f"mark: {self.marks}"] if self.marks else []
        words += [f"signer: {self.signer}"] if self.signer else []
        words += ["in PostgreSQL"] * self.in_postgres
        words += ["logs in"] if self.server["auth"] else []
        if server["proxy"]:
            faults = "faulty " if server["proxy"]["faults"] else ""
            words.append(f"by a {faults}proxy ({server['proxy']['kind']})")
        words += ["all or nothing"] * self.all_or_nothing + ["observed"] * self.observed
        return ", ".join(words)


def plan(seed: int, faces: tuple[str, ...] = FACES, worlds: tuple[str, ...] = WORLDS) -> Plan:
    """The round of that seed."""
    chance = Random(f"certainty {seed}")
    face = chance.choice(faces)
    theme = chance.choices(list(THEMES), [weight for weight, _ in THEMES.values()])[0]
    server = _server(chance, seed, face, theme)
    server["hosts"] = [{"address": "127.0.0.1"}]
    server["proxy"] = proxy = _proxy(seed, face)
    if proxy:
        _without_evidence(server)
    stalls = any({"stall", *SILENT} & set(kinds) for kinds in server["faults"].values())
    kind = _kind(chance, face, theme, server)
    most = (
        200
        if "many" in face
        else 40
        if "outbox" in face
        else 20
        if face in ("one shot", "interrupted send")
        else 80
    )
    if stalls:
        most = 40 if "many" in face or server["rate"] < 0.03 else 20
    count = min(chance.choice((5, 20, 40, 60, 80, 150, 200)), most)
    window = chance.choice((1, 8, 64))
    if theme == "cuts" and "many" in face and chance.random() < 0.7:
        # Writes of many TLS records, that fail in the middle.
        kind = replace(kind, sizes=(500, 8_000, 30_000, 60_000), large=0.0, commands=False)
        window, count = 64, max(count, 80)
    open_ = chance.choice((1, 2, 3, 5))
    pool = {"open": open_, "idle": chance.choice((0, open_, open_, open_)), "wait": 5.0}
    if chance.random() < 0.15:
        pool["messages"] = chance.choice((1, 3, 10))
    is_shared = face in ("threads", "smtplib threads", "async delivery") or (
        face == "async send" and theme != "idle"
    )
    made = Plan(
        seed,
        face,
        theme,
        chance.choice(worlds),
        count,
        kind,
        server,
        timeouts=0.4 if stalls or (proxy and proxy["faults"]) else 5.0,
        pool=pool,
        window=window,
        connections=chance.choice([n for n in (1, 1, 2, 3, 4) if n <= open_]),
        on_doubt=chance.choice(("report", "report", "resend")),
        callers=chance.choice((2, 3, 8)) if is_shared else 1,
        cancel="async" in face and chance.random() < 0.6,
        pauses="idle" in theme or chance.random() < 0.1,
        how=_how(chance, face),
        all_or_nothing=face in ALL_OR_NOTHING_FACES
        and not (server["limits"] or server["lmtp"])
        and chance.random() < 0.1,
        observed="smtplib" not in face and chance.random() < 0.2,
        total=_total(chance, face),
        marks=chance.choice(MARKS) if "many" in face else "",
        signer=_signer(chance, face, kind),
    )
    return _delivering(made) if "deliver" in face else made


def _delivering(made: Plan) -> Plan:
    """The same with the exchangers of several domains in place of the one server."""
    server = {**made.server, "tls": "none", "lmtp": False, "auth": False, "proxy": None}
    server |= {"ignored": [], "lone": True, "limits": {}, "lmtp_answers_all": False}
    found = exchangers(
        made.seed, server["rate"], lambda chance: _offer(chance, made.theme, lmtp=False)
    )
    server["hosts"] = found.hosts
    return replace(
        made,
        server=server,
        exchangers=found,
        count=min(made.count, 20 if made.is_kept else 40),
        # What they take is another matter for each of them.
        kind=replace(made.kind, utf8=made.kind.utf8 and made.theme != "calm", eight_bit=False),
        on_doubt="report",
        all_or_nothing=False,
        callers=made.callers if made.face != "delivery" else 1 + made.seed % 5,
    )


def _total(chance: Random, face: str) -> float | None:
    if "smtplib" in face or chance.random() < 0.85:
        return None
    return chance.choice((0.005, 0.02, 0.05, 0.1, 0.3))


def _signer(chance: Random, face: str, kind: Kind) -> str:
    """None for what can be read once, which a signer refuses."""
    if "smtplib" in face or any(how in READ_ONCE for how in kind.hows):
        return ""
    return chance.choice(SIGNERS)


def _server(chance: Random, seed: int, face: str, theme: str) -> dict[str, Any]:
    """The hostile server's part of the plan."""
    _, kinds = THEMES[theme]
    faults = {
        point: [kind for kind in possible if kinds is None or kind in kinds]
        for point, possible in POINTS.items()
    }
    rate = 0.3 * 10 ** (-2 * chance.random())  # from 0.003 to 0.3
    if "many" in face and chance.random() < 0.4:
        rate /= 5
    if theme == "dead":
        faults = {"mail": ["close" if chance.random() < 0.8 else "stall"]}
        rate = 1.0
    lmtp = "smtplib" not in face and chance.random() < 0.15
    tls = chance.choice(("none", "none", "none", "starttls", "implicit", "implicit"))
    if theme == "cuts" and chance.random() < 0.6:
        tls = "implicit"
    if theme == "poor" or lmtp:
        tls = "none"
    extensions, limits = _offer(chance, theme, lmtp)
    ignored = []
    if "smtplib" not in face and theme != "cuts" and chance.random() < 0.1:
        ignored = [
            each
            for each in ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8")
            if each in extensions and chance.random() < 0.5
        ]
    auth = "smtplib" not in face and tls != "none" and chance.random() < 0.3
    is_narrow = theme in ("cuts", "slow")
    ends = theme == "sessions" or (theme == "everything" and chance.random() < 0.3)
    return {
        "seed": seed,
        "tls": tls,
        "lmtp": lmtp,
        "extensions": extensions,
        "ignored": ignored,
        "auth": auth,
        "limits": limits,
        "faults": faults,
        "rate": rate,
        "lone": face in LONE or "PIPELINING" not in extensions or "PIPELINING" in ignored,
        "cut": {"cuts": 0.7, "everything": 0.1}.get(theme, 0),
        "receive_buffer": chance.choice((0, 2_000, 2_000, 8_000)) if is_narrow else 0,
        "read_size": chance.choice((65536, 65536, 65536, 16384, 4096)),
        "read_pause": chance.choice((0.0, 0.0005, 0.002)) if is_narrow else 0.0,
        "lazy": chance.random() < 0.5,
        "splits": chance.random() < 0.2,
        "verbose": chance.random() < 0.2,
        "idle": chance.choice((0.3, 1.0)) if theme == "idle and endings" else 0,
        "idle_on_call": theme == "idle",
        "rset": chance.choice((500, 502, 503)) if "resets" in theme else 0,
        "swallow": chance.random() < 0.85,
        "data_anyway": chance.random() < 0.5,
        "lmtp_answers_all": lmtp and theme in ("puzzles", "surplus") and chance.random() < 0.5,
        "session_messages": chance.choice((1, 2, 3, 10, 20)) if ends else 0,
        "session_end": chance.choice(("421", "421", "close")) if ends else "",
        "die_after": chance.randint(1, 100) if theme == "death" else 0,
    }


def _proxy(seed: int, face: str) -> dict[str, Any] | None:
    """What is before the server, if anything is."""
    chance = Random(f"proxy {seed}")
    if "smtplib" in face or chance.random() >= PROXIED:
        return None
    return {
        "kind": chance.choice(("socks5", "http")),
        "asks": chance.random() < 0.5,
        "faults": PROXY_FAULTS if chance.random() < 0.7 else {},
        "rate": 0.5 * 10 ** (-1.5 * chance.random()),
    }


def _without_evidence(server: dict[str, Any]) -> None:
    """Leave out what is judged by what the client was shown, which a proxy may part or lose."""
    for kinds in server["faults"].values():
        kinds[:] = [kind for kind in kinds if kind not in ("surplus", "go on")]
    server["lmtp_answers_all"] = False


def _kind(chance: Random, face: str, theme: str, server: dict[str, Any]) -> Kind:
    """What the messages are like."""
    hows = list(
        chance.choice(
            (("bytes",), ("bytes",), ("bytes", "header", "message"), (*READ_ONCE, "bytes"))
        )
    )
    if theme in ("idle", "sessions", "resets", "calm") or server["limits"]:
        # What can be read once cannot go a second way.
        hows = [how for how in hows if how not in READ_ONCE]
    if "smtplib" in face:
        hows = ["bytes", "header"]
    heeded = set(server["extensions"]) - set(server["ignored"])
    return Kind(
        tuple(hows),
        chance.choice((3, 8) if server["limits"] else (1, 2, 3, 8)),
        commands=chance.random() < 0.3,
        utf8="SMTPUTF8" in heeded,
        # Where EHLO fails there is none of it, and the content is encoded anew.
        eight_bit="8BITMIME" in heeded and not server["faults"].get("hello"),
        complete="outbox" in face,
    )


def _how(chance: Random, face: str) -> str:
    match face:
        case "abandoned many":
            return chance.choice(("break", "close", "garbage"))
        case "failing many":
            return chance.choice(("slow", "error", "slow error", "exit"))
        case "async many":
            return chance.choice(
                ("", "", "async", "async", "slow async", "async error", "break", "async break")
            )
        case "many deliveries":
            return chance.choice(("", "", "slow", "error", "break", "exit"))
        case "async many deliveries":
            return chance.choice(("", "async", "slow async", "async error", "break"))
        case "async send":
            return chance.choice(("client", "client", "client", "session", "one shot"))
        case "interrupted send":
            return chance.choice(("session", "client", "client", "one shot"))
    return ""


def _offer(chance: Random, theme: str, lmtp: bool) -> tuple[list[str], dict[str, int]]:
    offered = [
        keyword
        for keyword, share in (
            ("PIPELINING", 0.7),
            ("CHUNKING", 0.6),
            ("8BITMIME", 0.6),
            ("SMTPUTF8", 0.3),
        )
        if chance.random() < share
    ]
    if theme == "cuts" and not lmtp:
        offered = sorted({*offered, "PIPELINING", "CHUNKING"})
    if chance.random() < 0.5:
        offered.append("SIZE 100000000")
    limits: dict[str, int] = {}
    if theme == "limits" or chance.random() < 0.04:
        for name, choices in (
            ("MAILMAX", (1, 2, 5)),
            ("RCPTMAX", (1, 2, 3)),
            ("RCPTDOMAINMAX", (1, 2)),
        ):
            if chance.random() < 0.55:
                limits[name] = chance.choice(choices)
    if limits:
        offered.append("LIMITS " + " ".join(f"{name}={most}" for name, most in limits.items()))
    return offered, limits
