"""The small notions of the language, and requests: what all of its sections are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Atom = str | int | float | bool | None
"""A single JSON value."""

Steps = str | list[str | int]
"""A path into an answer: steps with dots between, or a list of steps where a name holds a dot."""

Places = str | list[str | list[str | int]]
"""One path, or a list of paths (each a text or a list of steps)."""

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Word = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Target = Annotated[str, Meta(min_length=1, max_length=2_000, pattern="^/")]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
Text = Annotated[str, Meta(max_length=2_000)]
Size = Annotated[int, Meta(ge=1, le=10_000)]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping of the language: unknown keys are mistakes."""


class Aside(Part, frozen=True, kw_only=True):
    """A value that does not stand in the answer's body: exactly one of these."""

    header: Annotated[HeaderName | None, Meta(description="It stands in this header; case does not count.")] = None
    cookie: Annotated[
        HeaderName | None,
        Meta(description="It stands in this cookie that the answer sets; for `sign_in.login.token` alone."),
    ] = None


class Test(Part, frozen=True, kw_only=True, rename={"not_": "not"}):
    """What a value must be like; everything that is given must hold."""

    has: Annotated[
        str | list[str] | None,
        Meta(
            description="The text contains this, or one of these; case does not count. At most 2,000 characters are looked at."
        ),
    ] = None
    present: Annotated[bool | None, Meta(description="Whether there is a value that is not null.")] = None
    not_: Annotated[str | int | float | bool | list[Atom] | None, Meta(description="It is none of these values.")] = (
        None
    )


AnyTest = str | int | float | bool | None | list[Atom] | Test
"""A test of one value: the value itself, a list of which it must be one, or more words."""

Tests = dict[str, AnyTest]
"""Path → test; all must hold."""


class Condition(Part, frozen=True, kw_only=True):
    """What an answer must be like; everything that is given must hold."""

    status: Annotated[
        int | str | list[int | str] | None, Meta(description="The HTTP status: 404, 4xx, or a list of such.")
    ] = None
    body: Annotated[Tests | None, Meta(description="Path in the body: test.")] = None
    header: Annotated[Tests | None, Meta(description="Header: test.")] = None


class Times(Part, frozen=True, kw_only=True):
    """A moment, and how the CRM writes it."""

    at: Annotated[Steps, Meta(description="Where it stands.")]
    format: Annotated[
        Literal["rfc3339", "datetime", "date", "epoch_s", "epoch_ms", "http_date"],
        Meta(description="How it is written; datetime is `YYYY-MM-DD HH:MM:SS`."),
    ] = "rfc3339"
    zone: Annotated[str, Meta(max_length=60, description="The time zone of times that name none.")] = "UTC"
    step: Annotated[
        Literal["us", "ms", "s", "m", "d"] | None,
        Meta(description="The grain of these times; without it, as fine as the format can tell."),
    ] = None


class Filter(Part, frozen=True, kw_only=True):
    """How `{since}` and `{until}` are written, where not as the modified time is."""

    format: Annotated[
        Literal["rfc3339", "datetime", "date", "epoch_s", "epoch_ms", "http_date"], Meta(description="As for times.")
    ] = "rfc3339"
    zone: Annotated[str, Meta(max_length=60, description="The time zone of formats that name none.")] = "UTC"
    step: Annotated[Literal["us", "ms", "s", "m", "d"] | None, Meta(description="The grain.")] = None


class Request(Part, frozen=True, kw_only=True):
    """One request. Texts may hold `{variables}`; a member whose variable has no value is left out."""

    path: Annotated[Target, Meta(description="Below the connection's address.")]
    method: Annotated[Method | None, Meta(description="Without it GET, or POST where there is a body or form.")] = None
    query: Annotated[dict[str, Any], Meta(description="Query parameters; a list repeats the parameter.")] = (
        msgspec.field(default_factory=dict)
    )
    headers: Annotated[dict[str, str], Meta(description="Headers.")] = msgspec.field(default_factory=dict)
    body: Annotated[Any, Meta(description="The body, sent as JSON.")] = None
    form: Annotated[dict[str, Any] | None, Meta(description="The body, sent as a form.")] = None
    budget: Annotated[str, Meta(max_length=40, description="A limit of `limits.budgets` that the call counts on.")] = ""


class Common(Part, frozen=True, kw_only=True):
    """What is put under every request but those of the sign-in; the request's own words win."""

    query: Annotated[dict[str, Any], Meta(description="Query parameters.")] = msgspec.field(default_factory=dict)
    headers: Annotated[dict[str, str], Meta(description="Headers.")] = msgspec.field(default_factory=dict)
    body: Annotated[dict[str, Any], Meta(description="Members of every body that is a mapping, merged deep.")] = (
        msgspec.field(default_factory=dict)
    )
