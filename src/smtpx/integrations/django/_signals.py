"""What became of mail, for those who did not send it."""

from __future__ import annotations

from django.dispatch import Signal

# Receivers get `message`, Django's own; `result`, a `smtpx.SendResult`; and `alias`, that of the
# mailer, or None. The sender is the class of the backend.

mail_refused = Signal()
"""Nobody got the message; `result.error` says why."""
mail_partial = Signal()
"""Some recipients got the message, and some did not."""
mail_in_doubt = Signal()
"""Some recipients may have got the message or not: to send it again may deliver it twice."""
