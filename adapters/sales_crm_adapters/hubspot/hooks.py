"""HubSpot's webhooks: the signature (version 3), and which records an event is a hint about."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from sales_crm_adapters.hubspot.options import CONTACTS, LEADS, OBJECT_TYPE_IDS, Options
from sales_crm_bridge.model import BAD_FORM, NO_HOOK_SECRET, Hook, HookRefused, Notice, Secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

AGE_MAX_MS = 5 * 60 * 1000
_DECODED = re.compile(r"%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
"""The only escapes that are undone before signing (HubSpot's page on validating requests, 2025)."""

_WHAT = {
    "creation": "created",
    "deletion": "removed",
    "privacyDeletion": "erased",
    "merge": "merged",
    "restore": "restored",
    "propertyChange": "changed",
    "associationChange": "changed",
}


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """One event of a delivery. ``event_id`` is not unique; a merge names its records instead of ``object_id``."""

    subscription_type: str
    event_id: int = 0
    portal_id: int = 0
    occurred_at: int = 0
    object_id: int = 0
    object_type_id: str = ""
    primary_object_id: int = 0
    merged_object_ids: list[int] = []
    new_object_id: int = 0
    from_object_id: int = 0
    to_object_id: int = 0


_events_of = msgspec.json.Decoder(list[Event]).decode


def verify(hook: Hook, secret: str) -> None:
    """Raise ``HookRefused`` unless the delivery is signed with the app's client secret and younger than five minutes.

    Only version 3 counts: versions 1 and 2 sign no time, so an old delivery could be played back.
    """
    given = hook.headers.get("x-hubspot-signature-v3", "")
    sent = hook.headers.get("x-hubspot-request-timestamp", "")
    if not given or not sent.isdecimal() or len(sent) > 15:  # noqa: PLR2004
        raise HookRefused("unsigned")
    address = _DECODED.sub(lambda found: unquote(found[0]), hook.url)
    base = hook.method.upper().encode() + address.encode() + hook.body + sent.encode()
    own = base64.b64encode(hmac.digest(secret.encode(), base, hashlib.sha256))
    if not hmac.compare_digest(own, given.encode()):
        raise HookRefused("bad-signature")
    if abs(hook.received_us // 1000 - int(sent)) > AGE_MAX_MS:
        raise HookRefused("too-old")


def notices(options: Options, hook: Hook, secrets: Secrets) -> list[Notice]:
    """See ``ports.CrmAdapter.notices``. An app has one address for all its accounts and objects, so others' events are passed over.

    The secret is ``client_secret``. Events about contacts count for leads too: a lead shows its contact's fields.
    """
    secret = secrets.get("client_secret")
    if not secret:
        raise HookRefused(NO_HOOK_SECRET)
    verify(hook, secret)
    try:
        events = _events_of(hook.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise HookRefused(BAD_FORM) from fault
    return [notice for event in events for notice in _of(options, event)]


def _of(options: Options, event: Event) -> Iterator[Notice]:
    subject, _, happened = event.subscription_type.partition(".")
    kinds = {"contact": OBJECT_TYPE_IDS[CONTACTS], "lead": OBJECT_TYPE_IDS[LEADS], "object": event.object_type_id}
    watched = [OBJECT_TYPE_IDS[CONTACTS], *([OBJECT_TYPE_IDS[LEADS]] if options.object == LEADS else [])]
    if kinds.get(subject) not in watched or happened not in _WHAT:
        return
    if options.portal_id and options.portal_id != str(event.portal_id):
        return
    ids = [event.object_id, event.primary_object_id, *event.merged_object_ids, event.new_object_id]
    ids += [event.from_object_id] if happened == "associationChange" else []
    seen = f"{event.portal_id}/{event.subscription_type}/{event.object_id or event.primary_object_id}"
    for name in dict.fromkeys(one for one in ids if one > 0):
        yield Notice(id=str(name), what=_WHAT[happened], dedupe=f"{seen}/{event.event_id}/{event.occurred_at}/{name}")
