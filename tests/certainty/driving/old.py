"""The `smtplib` face: who is refused it returns, or raises."""

from __future__ import annotations

import ssl
import threading
from contextlib import suppress

from smtpx import AddressError, Status, smtplib
from tests.certainty.driving.scene import Scene
from tests.certainty.judge import NOT_ACCEPTED, UNKNOWN, Verdict
from tests.certainty.mails import Mail

IN_DOUBT = "in doubt"


def by_smtplib(scene: Scene) -> None:
    """A connection until it is over, then another; each thread has its own."""
    left = list(reversed(scene.told.mails))

    def work() -> None:
        for _ in range(len(scene.told.mails) + 30):
            if not left:
                return
            try:
                smtp = _connected(scene)
            except (smtplib.SMTPException, OSError):
                continue
            try:
                while smtp.sock is not None:
                    try:
                        mail = left.pop()
                    except IndexError:
                        break
                    _send(scene, smtp, mail)
                    scene.pause()
            finally:
                with suppress(smtplib.SMTPException, OSError):
                    if smtp.sock is not None:
                        _ = smtp.quit()
                smtp.close()

    threads = [threading.Thread(target=work) for _ in range(scene.plan.callers - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()


def _connected(scene: Scene) -> smtplib.SMTP:
    tls, timeout = scene.plan.server["tls"], scene.plan.timeouts
    context = None if tls == "none" else ssl.create_default_context(cafile=scene.ca_file)
    if tls == "implicit":
        return smtplib.SMTP_SSL(
            "127.0.0.1", scene.port, "[127.0.0.1]", timeout=timeout, context=context
        )
    smtp = smtplib.SMTP("127.0.0.1", scene.port, "[127.0.0.1]", timeout=timeout)
    if tls == "starttls":
        try:
            _ = smtp.starttls(context=context)
        except BaseException:
            smtp.close()
            raise
    return smtp


def _send(scene: Scene, smtp: smtplib.SMTP, mail: Mail) -> None:
    message, envelope = scene.told.hand_over(mail)
    verdicts: dict[str, Verdict] = dict.fromkeys(mail.recipients, NOT_ACCEPTED)
    try:
        if envelope is None:
            refused = smtp.send_message(message)
        else:
            options = [] if all(map(str.isascii, mail.recipients)) else ["SMTPUTF8"]
            refused = smtp.sendmail(mail.sender, mail.recipients, message, options)
    except smtplib.SMTPServerDisconnected as error:
        if IN_DOUBT in str(error):
            verdicts = dict.fromkeys(mail.recipients, UNKNOWN)
    except (smtplib.SMTPException, AddressError, UnicodeEncodeError):
        pass  # The last as ever, where SMTPUTF8 is not offered.
    except BaseException as error:
        scene.told.foreign(error)
    else:
        verdicts = {
            each: Status.REFUSED if each in refused else Status.ACCEPTED for each in mail.recipients
        }
    scene.told.tell(mail, verdicts)
