"""The outbox in Django's admin: seen by those who may view it, decided by those who may change it.

It reads the tables, and decides by `smtpx.Outbox` alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from email.policy import default
from typing import TYPE_CHECKING, Any, TypeAlias

from django.conf import settings
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import BinaryField, QuerySet
from django.db.models.functions import Coalesce, Substr
from django.http import HttpRequest, HttpResponse
from django.utils.formats import date_format
from django.utils.timezone import localtime

from smtpx import Outbox
from smtpx.integrations.django._mailers import outboxes
from smtpx.integrations.django._outboxes import Kept, opened
from smtpx.integrations.django.models import Delivery
from smtpx.outbox import NotInOutbox, State

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Delivery]
else:
    _ModelAdmin = admin.ModelAdmin  # It is no generic but to type checkers.

# It tells what it has come to; nothing where it was not to be decided.
_Decide: TypeAlias = Callable[[Outbox, str, str], str]
# Octets of a content in which its subject is looked for.
_HEAD = 8192
# Characters of a reply that the list shows.
_SHOWN = 120


# What may be sent again.
_UNDER_WAY = (State.WAITING.value, State.SENDING.value)


class _Doubted(admin.SimpleListFilter):
    """Those that wait, and may have been accepted."""

    title = parameter_name = "doubted"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, str]]:
        """All, or those."""
        return [("yes", "doubted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those, if they are wanted."""
        if self.value() is None:
            return queryset
        return queryset.filter(doubted__gt=0, state__in=_UNDER_WAY)


@admin.register(Delivery)
class DeliveryAdmin(_ModelAdmin):
    """The deliveries of the first mailer that has an outbox."""

    list_display = ("recipient", "subject", "standing", "tried", "said", "put_in")
    list_filter = ("state", _Doubted)
    search_fields = ("recipient", "=message__id", "=message__key", "=message__message_id")
    search_help_text = "a part of a recipient; or a whole id, key or Message-ID"
    ordering = ("-number",)
    list_per_page = 50
    show_full_result_count = False
    fields = (
        *("recipient", "subject", "sender", "standing", "reply", "reason", "host", "attempts"),
        *("next_try", "put_in", "since", "until", "submission", "key", "campaign", "header_id"),
    )
    readonly_fields = fields
    actions = ("try_again", "cancel", "settle", "send_again")

    # Who may do what.

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Those who may see it, where there is an outbox."""
        return _kept() is not None and super().has_module_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: mail is put in by sending it."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: `Outbox.purge` forgets what is over."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """To decide about deliveries: no field of one is ever changed."""
        return obj is None and super().has_change_permission(request)

    # What is seen.

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """The deliveries, each with what its message begins with."""
        kept = _kept()
        if kept is None:
            return Delivery.entries.none()
        octets: BinaryField[bytes, bytes] = BinaryField()
        content = Coalesce("message__octets", "message__content__octets", output_field=octets)
        head = Substr(content, 1, _HEAD, output_field=octets)
        found = Delivery.entries.using(kept.database).select_related("message")
        # The content may be long: of it no more than its head is read.
        return found.defer("message__content", "message__octets").annotate(head=head)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; decisions are transactions of their own."""
        return super().changelist_view(request, extra_context)

    for _alias in settings.DATABASES:
        changelist_view = transaction.non_atomic_requests(_alias)(changelist_view)

    @admin.display(description="subject")
    def subject(self, delivery: Any) -> str:
        """The subject, where the content is in the database."""
        if delivery.message.template:
            return "(of a template)"
        if delivery.head is None:
            return "(in a file)"
        return _subject(bytes(delivery.head))

    @admin.display(description="state", ordering="state")
    def standing(self, delivery: Delivery) -> str:
        """Its state, and that it may have been accepted, where that does not say so."""
        waits = delivery.state in _UNDER_WAY
        return f"{delivery.state}, doubted" if waits and delivery.doubted else delivery.state

    @admin.display(description="tried", ordering="attempts")
    def tried(self, delivery: Delivery) -> int:
        """How often it was tried."""
        return delivery.attempts

    @admin.display(description="the server said")
    def said(self, delivery: Delivery) -> str:
        """The last reply, or why there is none, on one line."""
        text = _plain(delivery.reply or delivery.reason)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

    @admin.display(description="from")
    def sender(self, delivery: Delivery) -> str:
        """The sender of the envelope."""
        return delivery.message.sender

    @admin.display(description="put in", ordering="message__created")
    def put_in(self, delivery: Delivery) -> str:
        """When it was put in."""
        return _moment(delivery.message.created)

    @admin.display(description="tried next")
    def next_try(self, delivery: Delivery) -> str:
        """When it is tried; nothing unless it waits."""
        return _moment(delivery.due) if delivery.state == State.WAITING.value else ""

    @admin.display(description="so since")
    def since(self, delivery: Delivery) -> str:
        """When it came into its state."""
        return _moment(delivery.changed)

    @admin.display(description="tried until")
    def until(self, delivery: Delivery) -> str:
        """When it expires."""
        return _moment(delivery.expires)

    @admin.display(description="id")
    def submission(self, delivery: Delivery) -> str:
        """The id of its message in the outbox."""
        return delivery.message_id

    @admin.display(description="key")
    def key(self, delivery: Delivery) -> str | None:
        """The key that it was put in with."""
        return delivery.message.key

    @admin.display(description="campaign")
    def campaign(self, delivery: Delivery) -> str:
        """The campaign that it is a part of."""
        return delivery.message.campaign

    @admin.display(description="Message-ID")
    def header_id(self, delivery: Delivery) -> str:
        """What its header has as Message-ID."""
        return delivery.message.message_id

    # What is decided.

    @admin.action(description="Try again now", permissions=["change"])
    def try_again(self, request: HttpRequest, chosen: QuerySet[Delivery]) -> None:
        """Try what waits, or was refused, has expired or was cancelled."""

        def decide(outbox: Outbox, id: str, recipient: str) -> str:
            return "tried again" if outbox.retry(id, recipient=recipient) else ""

        self._decide(request, chosen, decide, "tried again")

    @admin.action(description="Cancel", permissions=["change"])
    def cancel(self, request: HttpRequest, chosen: QuerySet[Delivery]) -> None:
        """Cancel what nobody can have accepted."""

        def decide(outbox: Outbox, id: str, recipient: str) -> str:
            if not outbox.cancel(id, recipient=recipient):
                return ""
            # What an earlier attempt may have brought there cannot be cancelled any more.
            deliveries = outbox.status(id).deliveries
            doubted = [each.recipient for each in deliveries if each.state is State.IN_DOUBT]
            return "in doubt: it may have arrived" if recipient in doubted else "cancelled"

        self._decide(request, chosen, decide, "cancelled")

    @admin.action(description="In doubt: it has arrived", permissions=["change"])
    def settle(self, request: HttpRequest, chosen: QuerySet[Delivery]) -> None:
        """Settle a doubt: it was accepted."""

        def decide(outbox: Outbox, id: str, recipient: str) -> str:
            outbox.resolve(id, recipient, "accepted")
            return "settled as accepted"

        self._decide(request, chosen, decide, "settled as accepted")

    @admin.action(
        description="In doubt: send it again (it may arrive twice)", permissions=["change"]
    )
    def send_again(self, request: HttpRequest, chosen: QuerySet[Delivery]) -> None:
        """Settle a doubt: it is to be sent again."""

        def decide(outbox: Outbox, id: str, recipient: str) -> str:
            outbox.resolve(id, recipient, "resend")
            return "sent again"

        self._decide(request, chosen, decide, "sent again")

    def _decide(
        self, request: HttpRequest, chosen: QuerySet[Delivery], decide: _Decide, past: str
    ) -> None:
        """Decide about each of them; tell of how many that was, and write it down."""
        kept = _kept()
        if kept is None:
            return
        outbox = opened(kept)
        done, left = Counter[str](), 0
        try:
            for delivery in chosen:
                try:
                    changed = decide(outbox, delivery.message_id, delivery.recipient)
                except NotInOutbox:
                    changed = ""
                if changed:
                    self.log_change(request, delivery, changed)
                    done[changed] += 1
                else:
                    left += 1
        finally:
            outbox.close()
        for changed, count in done.items():
            level = messages.SUCCESS if changed == past else messages.WARNING
            self.message_user(request, f"{count} {changed}.", level)
        if left:
            told = f"{left} not {past}: their state is another."
            self.message_user(request, told, messages.WARNING)


def _kept() -> Kept | None:
    return next(iter(outboxes().values()), None)


def _moment(seconds: float) -> str:
    """A time of the ledger, in the time zone and the format of the page."""
    return date_format(localtime(datetime.fromtimestamp(seconds, UTC)), "SHORT_DATETIME_FORMAT")


def _subject(head: bytes) -> str:
    """The subject of a header, whatever that is."""
    try:
        return _plain(str(BytesHeaderParser(policy=default).parsebytes(head)["Subject"] or ""))
    except Exception:  # What is in there may be anybody's.
        return "(cannot be read)"


def _plain(text: str) -> str:
    """A stranger's text on one line, without what changes how a page reads."""
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "�" for letter in words)
