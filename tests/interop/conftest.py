"""One Postfix for all interop tests; its log goes with every failure."""

from collections.abc import Generator, Iterator

import pytest

from tests.interop.postfix import Postfix


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    reason = Postfix.missing()
    if reason is not None:
        pytest.skip(reason)
    with Postfix({"user": "secret", "user@example.test": "pässword with spaces"}) as postfix:
        yield postfix


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    server = getattr(item, "funcargs", {}).get("postfix")
    if report.failed and isinstance(server, Postfix):
        report.sections.append(("Postfix's log", server.log_tail()))
    return report
