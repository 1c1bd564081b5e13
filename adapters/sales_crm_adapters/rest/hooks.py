"""Webhooks: the signature as declared, and which records an event is a hint about."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from sales_crm_adapters.rest.answers import UNREADABLE, id_text, parsed
from sales_crm_adapters.rest.notions import Aside
from sales_crm_adapters.rest.paths import every, one, path_of, paths_of
from sales_crm_adapters.rest.templates import parts_of, plain
from sales_crm_bridge.model import BAD_FORM, NO_HOOK_SECRET, NO_WEBHOOKS, Hook, HookRefused, Notice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sales_crm_adapters.rest.about_us import Signature, WebhookPart
    from sales_crm_adapters.rest.notions import Steps
    from sales_crm_bridge.model import Secrets

SECRET = "webhook_secret"  # noqa: S105 - the name of it
EVENTS_MAX = 10_000
_DIGESTS = {"hmac-sha256": "sha256", "hmac-sha1": "sha1", "hmac-sha512": "sha512"}


class Hooks:
    """Understands the deliveries of one declaration."""

    def __init__(self, part: WebhookPart | None) -> None:
        self._part = part
        self._signed = tuple(parts_of(part.signature.signs)) if part is not None else ()

    def notices(self, hook: Hook, secrets: Secrets) -> list[Notice]:
        """See ``ports.CrmAdapter.notices``."""
        part = self._part
        if part is None:
            raise HookRefused(NO_WEBHOOKS)
        secret = secrets.get(SECRET)
        if not secret:
            raise HookRefused(NO_HOOK_SECRET)
        self._verify(part, hook, secret)
        body = parsed(hook.body)
        found = one(body, path_of(part.events)) if body is not UNREADABLE else UNREADABLE
        events = found if isinstance(found, list) else [found]
        if body is UNREADABLE or len(events) > EVENTS_MAX or not all(isinstance(event, dict) for event in events):
            raise HookRefused(BAD_FORM)
        whole = hashlib.sha256(hook.body).hexdigest()[:16]
        return [notice for event in events for notice in _notices(part, hook, event, whole)]

    def _verify(self, part: WebhookPart, hook: Hook, secret: str) -> None:
        """Raise ``HookRefused`` unless the delivery is signed with the secret, and young."""
        given = _header(hook, part.signature.header, part.signature.part)
        sent = _header(hook, part.timestamp.header, part.timestamp.part) if part.timestamp is not None else ""
        prefix = part.signature.prefix
        if not given or not given.startswith(prefix):
            raise HookRefused("unsigned")
        if part.timestamp is not None and (not sent.isascii() or not sent.isdecimal() or len(sent) > 15):  # noqa: PLR2004
            raise HookRefused("unsigned")
        if not self._is_good(part.signature, hook, secret, sent, given.removeprefix(prefix)):
            raise HookRefused("bad-signature")
        if part.timestamp is not None:
            sent_us = int(sent) * (1_000 if part.timestamp.unit == "ms" else 1_000_000)
            if abs(hook.received_us - sent_us) > part.timestamp.max_age_s * 1_000_000:
                raise HookRefused("too-old")

    def _is_good(self, signature: Signature, hook: Hook, secret: str, sent: str, given: str) -> bool:
        """Compare in constant time."""
        if signature.scheme == "token":
            return hmac.compare_digest(given.encode(), secret.encode())
        values = {
            "timestamp": sent.encode(),
            "body": hook.body,
            "url": hook.url.encode(),
            "method": hook.method.upper().encode(),
        }
        base = b"".join(values[text] if is_variable else text.encode() for is_variable, text in self._signed)
        own = hmac.digest(secret.encode(), base, _DIGESTS[signature.scheme])
        try:
            told = bytes.fromhex(given) if signature.encoding == "hex" else base64.b64decode(given, validate=True)
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(own, told)


def _header(hook: Hook, name: str, part: str) -> str:
    """A header's value, or one of its parts where it is like ``t=…,v1=…``."""
    value = hook.headers.get(name.lower(), "")
    if not part:
        return value.strip()
    for member in value.split(",")[:20]:
        key, _, rest = member.strip().partition("=")
        if key == part:
            return rest
    return ""


def _notices(part: WebhookPart, hook: Hook, event: dict[str, Any], whole: str) -> Iterator[Notice]:
    name = _told(part.event, hook, event)
    what = part.meanings.get(name)
    if what is None:
        return
    seen = (_told(part.dedupe, hook, event) if part.dedupe is not None else "") or whole
    ids = [id_text(value) for path in paths_of(part.id) for value in every(event, path)]
    for crm_id in dict.fromkeys(one_id for one_id in ids if one_id):
        yield Notice(id=crm_id, what=what, dedupe=f"{name}/{seen}/{crm_id}")


def _told(place: Steps | Aside, hook: Hook, event: dict[str, Any]) -> str:
    if isinstance(place, Aside):
        return _header(hook, place.header or "", "")
    found = one(event, path_of(place))
    return plain(found)[:200] if isinstance(found, str | int) and not isinstance(found, bool) else ""
