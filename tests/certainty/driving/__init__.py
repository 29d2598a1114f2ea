"""Every face of smtpx, driven as a plan says; what it says is noted.

Whatever a face raises that is neither an `SMTPError` nor the caller's own is a violation; so are
connections of the pool that are still taken when all calls have ended.
"""

from tests.certainty.driving.asynchronous import by_async_send, by_async_send_many
from tests.certainty.driving.blocking import by_client, by_one_shots, by_send_many, by_session
from tests.certainty.driving.deliveries import (
    by_async_delivery,
    by_async_many_deliveries,
    by_delivery,
    by_many_deliveries,
)
from tests.certainty.driving.old import by_smtplib
from tests.certainty.driving.outbox import by_async_outbox, by_outbox
from tests.certainty.driving.scene import Scene
from tests.certainty.plans import Plan

__all__ = ["Plan", "Scene", "drive"]


def drive(scene: Scene) -> None:
    """Send all of a plan's messages, by its face."""
    match scene.plan.face, scene.plan.how:
        case ("session", _) | ("interrupted send", "session"):
            by_session(scene)
        case ("one shot", _) | ("interrupted send", "one shot"):
            by_one_shots(scene)
        case ("send" | "threads" | "interrupted send", _):
            by_client(scene)
        case ("async send", _):
            by_async_send(scene)
        case ("async many", _):
            by_async_send_many(scene)
        case ("smtplib" | "smtplib threads", _):
            by_smtplib(scene)
        case (
            "outbox" | "interrupted outbox" | "delivering outbox" | "interrupted delivering outbox",
            _,
        ):
            by_outbox(scene)
        case ("async outbox" | "async delivering outbox", _):
            by_async_outbox(scene)
        case ("delivery" | "interrupted delivery", _):
            by_delivery(scene)
        case ("many deliveries" | "interrupted many deliveries", _):
            by_many_deliveries(scene)
        case ("async delivery", _):
            by_async_delivery(scene)
        case ("async many deliveries", _):
            by_async_many_deliveries(scene)
        case _:
            by_send_many(scene)
