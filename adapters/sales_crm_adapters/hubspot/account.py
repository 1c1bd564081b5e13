"""Who we are at HubSpot: sign-in, the account and its property definitions, and what an answer's status means."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from sales_crm_adapters.hubspot.options import CONTACT_PREFIX, CONTACTS, LEADS, Options, Paths
from sales_crm_adapters.hubspot.wire import failure_of, parsed, unavailable, understood, word
from sales_crm_bridge.model import (
    Account,
    Answered,
    Category,
    Credentials,
    Effect,
    FieldDefinition,
    HttpCall,
    HttpReply,
    Quota,
    Secrets,
    SignInAgain,
    SignInRefused,
    Stop,
    TryAgain,
    Verdict,
)
from sales_crm_bridge.ports import Talk, ask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRY_LATER = frozenset({408, 500, 502, 503, 504, 520, 521, 522, 523, 524})
LOCKED_WAIT_S, BURST_WAIT_S, MOVING_WAIT_S = 2.0, 1.0, 60.0
"""HubSpot's error page (June 2026): a locked record needs 2 s at least, a burst 1 to 10 s; an account on the move says how long."""


class Token(msgspec.Struct, frozen=True):
    """The answer of the token endpoint."""

    access_token: str
    expires_in: int
    refresh_token: str = ""


class Details(msgspec.Struct, frozen=True, rename="camel"):
    """The account."""

    portal_id: int
    time_zone: str = "UTC"
    ui_domain: str = ""


class Choice(msgspec.Struct, frozen=True):
    """One value that a property accepts."""

    value: str


class Rules(msgspec.Struct, frozen=True, rename="camel"):
    """What may be done to a property."""

    read_only_value: bool = False


class Property(msgspec.Struct, frozen=True, rename="camel"):
    """One property definition."""

    name: str
    type: str = ""
    has_unique_value: bool = False
    calculated: bool = False
    options: list[Choice] = []
    modification_metadata: Rules = Rules()

    def definition(self, prefix: str = "") -> FieldDefinition:
        """In the bridge's words."""
        return FieldDefinition(
            name=prefix + self.name,
            kind=self.type,
            writable=not self.modification_metadata.read_only_value and not self.calculated,
            unique=self.has_unique_value,
            options=tuple(choice.value for choice in self.options),
        )


class Properties(msgspec.Struct, frozen=True):
    """All property definitions of an object type."""

    results: list[Property]


class Stage(msgspec.Struct, frozen=True):
    """One stage of a pipeline."""

    id: str


class Pipeline(msgspec.Struct, frozen=True):
    """One pipeline."""

    id: str
    stages: list[Stage]


class Pipelines(msgspec.Struct, frozen=True):
    """All pipelines of an object type."""

    results: list[Pipeline]


_TOKEN = msgspec.json.Decoder(Token)
_DETAILS = msgspec.json.Decoder(Details)
PROPERTIES = msgspec.json.Decoder(Properties)
_PIPELINES = msgspec.json.Decoder(Pipelines)


# --- sign-in ----------------------------------------------------------------------------------------------------------


def authenticate(paths: Paths, secrets: Secrets, keep: Mapping[str, str]) -> Talk[Credentials | SignInRefused]:
    """Sign in with a static token, or exchange the refresh token (form-encoded; HubSpot's OAuth page, June 2026).

    A kept refresh token counts only while the configured one is the one that it came from, so a person who gives consent anew
    is not overruled by what an older consent left behind.
    """
    if token := secrets.get("token"):
        return Credentials(headers=(("authorization", f"Bearer {token}"),))
    given = secrets["refresh_token"]
    origin = hashlib.sha256(given.encode()).hexdigest()[:16]
    current = keep.get("refresh_token", given) if keep.get("origin") == origin else given
    form = {
        "grant_type": "refresh_token",
        "client_id": secrets["client_id"],
        "client_secret": secrets["client_secret"],
        "refresh_token": current,
    }
    reply = yield from ask(
        HttpCall(
            method="POST",
            path=paths.token,
            effect=Effect.SIGN_IN,
            body=urlencode(form).encode(),
            content_type="application/x-www-form-urlencoded",
        )
    )
    if reply.status in (400, 401, 403):
        error = failure_of(reply.status, parsed(reply.body))
        code = error.category if error.category not in ("", "ERROR") else error.code
        remedy = "connect the app to the account again (OAuth consent), and give its new refresh token; check client id and secret"
        return SignInRefused(code=code, remedy=remedy)
    granted = understood(reply, _TOKEN)
    if not granted.access_token or granted.expires_in <= 0:
        raise unavailable(reply)
    rotated = granted.refresh_token or current
    return Credentials(
        headers=(("authorization", f"Bearer {granted.access_token}"),),
        expires_us=reply.asked_us + granted.expires_in * 1_000_000,
        keep={"refresh_token": rotated, "origin": origin} if rotated != given else {},
    )


# --- the account ------------------------------------------------------------------------------------------------------


def check(paths: Paths, options: Options) -> Talk[Account]:
    """Account, time zone, property definitions, lead stages, the day's budget, and whether our key can do its work.

    Missing scopes end the talk: HubSpot answers 403 with their names, and ``classify`` stops the connection with them. The
    last calls ask for the right to write: an update of no records, which HubSpot refuses as empty only after it has looked at the
    scopes (general knowledge).
    """
    about = [_get(paths.account), *_about_fields(paths, options)]
    rights = [
        HttpCall(method="POST", path=paths.objects(kind, "/batch/update"), effect=Effect.READ, body=b'{"inputs":[]}')
        for kind in _kinds(options)
    ]
    replies: list[HttpReply] = []
    for reply in (yield (*about, *rights)):
        assert isinstance(reply, HttpReply)
        replies.append(reply)
    details = understood(replies[0], _DETAILS)
    fields = _fields(options, replies[1 : len(about)])
    per_day = [_count(reply, "x-hubspot-ratelimit-daily") for reply in replies]
    left = [_count(reply, "x-hubspot-ratelimit-daily-remaining") for reply in replies]
    return Account(
        account_id=str(details.portal_id),
        name=f"HubSpot account {details.portal_id}",
        time_zone=details.time_zone,
        fields=fields,
        problems=tuple(_problems(options, details, fields)),
        calls_per_day=next((count for count in per_day if count is not None), None),
        calls_left_day=min((count for count in left if count is not None), default=None),
    )


def describe(paths: Paths, options: Options) -> Talk[dict[str, FieldDefinition]]:
    """The property definitions, and the lead stages."""
    replies: list[HttpReply] = []
    for reply in (yield tuple(_about_fields(paths, options))):
        assert isinstance(reply, HttpReply)
        replies.append(reply)
    return _fields(options, replies)


def _kinds(options: Options) -> Sequence[str]:
    """The object types that a lead is made of, its own first."""
    return (CONTACTS,) if options.object == CONTACTS else (LEADS, CONTACTS)


def _about_fields(paths: Paths, options: Options) -> list[HttpCall]:
    stages = [_get(paths.pipelines(LEADS))] if options.object == LEADS else []
    return [_get(paths.properties(kind)) for kind in _kinds(options)] + stages


def _fields(options: Options, replies: Sequence[HttpReply]) -> dict[str, FieldDefinition]:
    """What the answers to ``_about_fields`` say."""
    fields: dict[str, FieldDefinition] = {}
    for kind, reply in zip(_kinds(options), replies, strict=False):
        prefix = CONTACT_PREFIX if kind != options.object else ""
        for each in understood(reply, PROPERTIES).results:
            fields[prefix + each.name] = each.definition(prefix)
    if options.object == LEADS:
        pipelines = understood(replies[-1], _PIPELINES).results
        _offer(fields, "hs_pipeline", [pipeline.id for pipeline in pipelines])
        _offer(fields, "hs_pipeline_stage", [stage.id for pipeline in pipelines for stage in pipeline.stages])
    return fields


def _get(path: str) -> HttpCall:
    return HttpCall(method="GET", path=path, effect=Effect.READ)


def _offer(fields: dict[str, FieldDefinition], name: str, values: Sequence[str]) -> None:
    """A property whose values are an account's pipelines or stages; its definition does not list them."""
    held = fields.get(name) or FieldDefinition(name=name, kind="enumeration", writable=True)
    fields[name] = FieldDefinition(
        name=name, kind=held.kind, writable=held.writable, unique=held.unique, options=tuple(dict.fromkeys(values))
    )


def _problems(options: Options, details: Details, fields: Mapping[str, FieldDefinition]) -> list[tuple[str, str, str]]:
    key = options.key_property
    found: list[tuple[str, str, str]] = []
    remedy = (
        f"create a single-line text property '{key}' on {options.object} with 'Require unique values for this property';"
        " HubSpot allows that at creation only"
    )
    definition = fields.get(key)
    if definition is None:
        found.append(("hubspot.key-property-missing", f"there is no property '{key}' on {options.object}", remedy))
    elif not definition.unique:
        found.append(("hubspot.key-property-not-unique", f"the values of property '{key}' need not be unique", remedy))
    elif not definition.writable or definition.kind != "string":
        text = f"property '{key}' is no writable text, so it cannot hold our lead id"
        found.append(("hubspot.key-property-not-text", text, remedy))
    if options.portal_id and options.portal_id != str(details.portal_id):
        text = f"the credentials belong to account {details.portal_id}, the file says {options.portal_id}"
        found.append(
            ("hubspot.other-account", text, "give the credentials of the account meant, or mend options.portal_id")
        )
    return found


# --- what a status means ----------------------------------------------------------------------------------------------


def classify(reply: HttpReply, effect: Effect) -> Verdict:
    """See ``ports.CrmAdapter.classify``; the table is HubSpot's error and usage pages of June 2026."""
    status = reply.status
    if status in (423, 429, 477) or status in TRY_LATER:
        return _later(reply)
    if effect is not Effect.SIGN_IN and status == 401:  # noqa: PLR2004
        return SignInAgain(code=failure_of(status, parsed(reply.body)).code)
    if effect is not Effect.SIGN_IN and status == 403:  # noqa: PLR2004
        error = failure_of(status, parsed(reply.body))
        if error.scopes:
            needs = f"the app lacks one of these scopes: {', '.join(error.scopes)}"
            remedy = "add the scopes to the app (and connect it again, with OAuth), then let the connection go on"
        else:
            needs = "HubSpot refuses this kind of call: a scope, a permission or the account's plan is missing"
            remedy = (
                "compare the app's scopes with docs/crms.md, and the account's plan with the object that is configured"
            )
        return Stop(category=Category.PERMISSION, code=error.code, message=needs, remedy=remedy)
    return Answered(calls_left_day=_count(reply, "x-hubspot-ratelimit-daily-remaining"))


def _later(reply: HttpReply) -> TryAgain:
    status, wish = reply.status, _wait_s(reply.headers.get("retry-after", ""))
    body: dict[str, Any] = parsed(reply.body)
    code = word(body, "policyName", "errorType", "category") or f"HTTP_{status}"
    match status:
        case 429:
            text = body.get("message")
            policy = code if "policyName" in body or not isinstance(text, str) else text.upper()
            if "DAILY" in policy:
                return TryAgain(quota=Quota.DAY, wait_s=wish, executed=False, code=code)
            return TryAgain(quota=Quota.BURST, wait_s=max(wish or 0.0, BURST_WAIT_S), executed=False, code=code)
        case 423:
            return TryAgain(wait_s=max(wish or 0.0, LOCKED_WAIT_S), executed=False, code=code)
        case 477:
            return TryAgain(wait_s=MOVING_WAIT_S if wish is None else wish, executed=False, code=code)
        case _:
            return TryAgain(wait_s=wish, code=code)


def _wait_s(text: str) -> float | None:
    """Seconds of a ``Retry-After``; HubSpot documents no dates in it."""
    return float(text) if text.isdecimal() and len(text) < 9 else None  # noqa: PLR2004


def _count(reply: HttpReply, header: str) -> int | None:
    text = reply.headers.get(header, "")
    return int(text) if text.isdecimal() and len(text) < 19 else None  # noqa: PLR2004
