"""Where an outbox keeps its mail: in a file, or on a server that ends connections at any moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.certainty.driving.scene import Scene


class Ledger:
    """One that is empty, in a file."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def troubled(self) -> Iterator[None]:
        """What is done in this context may have its connection ended."""
        yield


class _OnServer(Ledger):
    """A schema of its own, and a user whose it is: by that its connections are known."""

    def __init__(self, scene: Scene, server: str) -> None:
        import psycopg

        self._scene = scene
        self._name = f"round{scene.plan.seed}"
        self._admin: Any = psycopg.connect(server, autocommit=True)
        super().__init__(server.replace("//postgres@", f"//{self._name}@"))

    def __enter__(self) -> _OnServer:
        self._admin.execute(f"CREATE ROLE {self._name} LOGIN")
        self._admin.execute(f"CREATE SCHEMA AUTHORIZATION {self._name}")
        return self

    def __exit__(self, *_: object) -> None:
        self._admin.execute(f"DROP OWNED BY {self._name}")
        self._admin.execute(f"DROP ROLE {self._name}")
        self._admin.close()

    @contextmanager
    def troubled(self) -> Iterator[None]:
        chance = self._scene.chance
        pauses = [chance.random() * chance.choice((0.01, 0.03, 0.2)) for _ in range(3)]
        over = threading.Event()

        def strike() -> None:
            for pause in pauses:
                if over.wait(pause):
                    return
                # Whatever was to be noted meanwhile may have to be done again.
                self._scene.told.spare += 1
                self._admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
                    (self._name,),
                )

        striker = threading.Thread(target=strike)
        if chance.random() < 0.7:
            striker.start()
        try:
            yield
        finally:
            over.set()
            if striker.ident is not None:
                striker.join()


@contextmanager
def ledger(scene: Scene) -> Iterator[Ledger]:
    server = scene.ledgers
    if scene.plan.in_postgres and server:
        with _OnServer(scene, server) as there:
            yield there
        return
    with TemporaryDirectory() as folder:
        yield Ledger(f"sqlite:///{Path(folder, 'mail.db').as_posix()}")
