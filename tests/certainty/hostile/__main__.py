"""The conversation with whoever started the server."""

from __future__ import annotations

import json
import sys

from tests.certainty.hostile.rounds import Round


def main() -> None:
    here: Round | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "open" in request:
            here = Round(request["open"])
            answer: dict[str, object] = {"port": here.port}
            if here.proxy is not None:
                answer["proxy port"] = here.proxy.port
        elif here is None:
            raise AssertionError("nothing is served yet")
        elif "idle" in request:
            answer = {"ended": here.end_idle()}
        elif "finish" in request:
            answer = here.finish(request["finish"])
        else:
            answer = {"transcript": list(here.transcript)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
