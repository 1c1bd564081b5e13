"""The language's words about who we are: sign-in, account, fields, and webhooks."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sales_crm_adapters.rest.notions import Aside, HeaderName, Part, Places, Request, Steps, Target, Tests, Text


class StaticToken(Part, frozen=True, kw_only=True):
    """A token that does not change. Credentials: `{kind: token, token: …}`."""

    header: Annotated[HeaderName, Meta(description="The header that carries it.")] = "Authorization"
    value: Annotated[Text, Meta(description="Its value.")] = "Bearer {secret.token}"


class Basic(Part, frozen=True, kw_only=True):
    """HTTP's basic sign-in. Credentials: `{kind: basic, username: …, password: …}`; without `password` it is empty."""


class Grant(Part, frozen=True, kw_only=True):
    """An OAuth 2 token endpoint (RFC 6749)."""

    path: Annotated[Target, Meta(description="The token endpoint, below the connection's address.")]
    client: Annotated[
        Literal["body", "basic"],
        Meta(description="Whether client id and secret go into the form or into a basic sign-in."),
    ] = "body"
    scope: Annotated[str, Meta(max_length=1_000, description="The scopes asked for.")] = ""
    more: Annotated[dict[str, str], Meta(description="Further members of the form.")] = msgspec.field(
        default_factory=dict
    )
    token: Annotated[Steps, Meta(description="Where the token stands in the answer.")] = "access_token"  # noqa: S105 - a place
    expires_in: Annotated[Steps, Meta(description="Where the seconds stand that it is good for.")] = "expires_in"
    refresh_token: Annotated[Steps, Meta(description="Where a new refresh token stands.")] = "refresh_token"  # noqa: S105 - a place
    header: Annotated[HeaderName, Meta(description="The header that carries the token.")] = "Authorization"
    value: Annotated[Text, Meta(description="Its value.")] = "Bearer {token}"


class Login(Request, frozen=True, kw_only=True):
    """A call that signs in and yields a token. Credentials: `{kind: login, username: …, password: …}`."""

    token: Annotated[Steps | Aside, Meta(description="Where the token stands in the answer.")]
    expires_in: Annotated[Steps | None, Meta(description="Where the seconds stand that it is good for.")] = None
    lasts_s: Annotated[
        int,
        Meta(
            ge=0, le=31_536_000, description="The seconds that it is good for, if the answer does not say; 0: no end."
        ),
    ] = 0
    header: Annotated[HeaderName, Meta(description="The header that carries the token.")] = "Authorization"
    value: Annotated[Text, Meta(description="Its value.")] = "Bearer {token}"


class SignIn(Part, frozen=True, kw_only=True):
    """How the bridge signs in: exactly one of these, of the same name as `credentials.kind`."""

    token: Annotated[StaticToken | None, Meta(description="A static header.")] = None
    basic: Annotated[Basic | None, Meta(description="HTTP basic.")] = None
    refresh_token: Annotated[
        Grant | None, Meta(description="OAuth 2 with a refresh token, which the CRM may rotate.")
    ] = None
    client_credentials: Annotated[Grant | None, Meta(description="OAuth 2 with client credentials.")] = None
    login: Annotated[Login | None, Meta(description="A call that yields a token or a session.")] = None


class AccountCall(Request, frozen=True, kw_only=True):
    """A request that tells who we are."""

    id: Annotated[Steps, Meta(description="Where the account's id stands.")]
    name: Annotated[Steps | None, Meta(description="Where its name stands.")] = None
    zone: Annotated[Steps | None, Meta(description="Where its time zone stands.")] = None


class FieldsCall(Request, frozen=True, kw_only=True):
    """A request that lists the CRM's fields."""

    records: Annotated[Steps, Meta(description="Where the definitions stand: a list, or a mapping by name.")]
    name: Annotated[
        Steps, Meta(description='Where a field\'s name stands in its definition; `""` with a mapping by name.')
    ]
    prefix: Annotated[str, Meta(max_length=100, description="What the mapping puts before these names.")] = ""
    kind: Annotated[Steps | None, Meta(description="Where its kind stands.")] = None
    writable: Annotated[Tests | None, Meta(description="What a writable field looks like.")] = None
    unique: Annotated[Tests | None, Meta(description="What a unique field looks like.")] = None
    required: Annotated[Tests | None, Meta(description="What a required field looks like.")] = None
    values: Annotated[Steps | None, Meta(description="Where the values stand that it accepts.")] = None


class Right(Request, frozen=True, kw_only=True, rename={"for_": "for"}):
    """A reading request that only works with a right."""

    for_: Annotated[
        str, Meta(min_length=1, max_length=100, description="What the right is needed for; a refusal names it.")
    ]


class CheckPart(Part, frozen=True, kw_only=True):
    """How the bridge finds out who it is, what there is, and what it may."""

    account: Annotated[
        AccountCall | None, Meta(description="Who we are; without it a sign-in to a wrong account is not found out.")
    ] = None
    fields: Annotated[FieldsCall | None, Meta(description="The CRM's fields.")] = None
    rights: Annotated[list[Right], Meta(description="Requests that show a right.")] = msgspec.field(
        default_factory=list
    )


class Signature(Part, frozen=True, kw_only=True):
    """How a delivery is signed."""

    header: Annotated[HeaderName, Meta(description="The header that holds the signature.")]
    scheme: Annotated[
        Literal["hmac-sha256", "hmac-sha1", "hmac-sha512", "token"],
        Meta(description="A keyed hash, or the secret itself (`token`)."),
    ] = "hmac-sha256"
    encoding: Annotated[Literal["hex", "base64"], Meta(description="How it is written.")] = "hex"
    prefix: Annotated[str, Meta(max_length=40, description="What stands before it.")] = ""
    part: Annotated[str, Meta(max_length=20, description="Its name in a header like `t=…,v1=…`.")] = ""
    signs: Annotated[Text, Meta(description="What is signed, with `{timestamp}`, `{body}`, `{url}`, `{method}`.")] = (
        "{body}"
    )


class Timestamp(Part, frozen=True, kw_only=True):
    """When a delivery was sent."""

    header: Annotated[HeaderName, Meta(description="The header that holds it.")]
    part: Annotated[str, Meta(max_length=20, description="Its name in a header like `t=…,v1=…`.")] = ""
    unit: Annotated[Literal["s", "ms"], Meta(description="Epoch seconds or milliseconds.")] = "s"
    max_age_s: Annotated[int, Meta(ge=1, le=86_400, description="Older (or newer) deliveries are refused.")] = 300


class WebhookPart(Part, frozen=True, kw_only=True):
    """What deliveries of the CRM look like. Secret: `credentials.webhook_secret`, without which none could be verified."""

    signature: Annotated[Signature, Meta(description="How a delivery is signed.")]
    timestamp: Annotated[Timestamp | None, Meta(description="When it was sent.")] = None
    events: Annotated[
        Steps, Meta(description="Where the events stand; without it the body is the event, or a list of them.")
    ] = ""
    id: Annotated[Places, Meta(description="Where the ids of the records stand in an event.")]
    event: Annotated[Steps | Aside, Meta(description="Where the event's name stands.")]
    meanings: Annotated[
        dict[str, Literal["created", "changed", "removed", "erased", "merged", "restored", "converted"]],
        Meta(description="Event: what it means; other events mean nothing."),
    ]
    dedupe: Annotated[Steps | Aside | None, Meta(description="Where the delivery's or event's own id stands.")] = None
