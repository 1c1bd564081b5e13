"""Who we are at the CRM, which fields it has, and which rights we lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest.about_us import Right
from sales_crm_adapters.rest.answers import UNREADABLE, id_text, parsed
from sales_crm_adapters.rest.checks import Checks
from sales_crm_adapters.rest.paths import every, one, path_of
from sales_crm_adapters.rest.templates import Calls, plain
from sales_crm_adapters.rest.times import known_zone
from sales_crm_bridge.model import Account, Cursor, Effect, FieldDefinition, HttpReply
from sales_crm_bridge.ports import Talk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sales_crm_adapters.rest.about_us import FieldsCall
    from sales_crm_adapters.rest.answers import Answers
    from sales_crm_adapters.rest.lists import Feeds
    from sales_crm_adapters.rest.notions import Steps
    from sales_crm_adapters.rest.options import Options
    from sales_crm_adapters.rest.records import Records

FIELDS_MAX = 10_000


class Checker:
    """Asks what ``check`` declares; with nothing declared, for one page of the list."""

    def __init__(self, options: Options, records: Records, feeds: Feeds, answers: Answers) -> None:
        self._options = options
        self._records = records
        self._answers = answers
        part = options.check
        asked = [part.account, part.fields, *part.rights]
        self._asked = [one for one in asked if one is not None]
        self._calls = [Calls(one, options.common, Effect.READ) for one in self._asked]
        self._feeds = feeds

    def check(self) -> Talk[Account]:
        """See ``ports.CrmAdapter.check``."""
        if not self._asked:
            yield from self._feeds.pull(self._feeds.feeds[0], Cursor(), 1)
        made = [call.call({"names": self._records.names}) for call in self._calls]
        calls = tuple(
            msgspec.structs.replace(call, shows=asked.for_) if isinstance(asked, Right) else call
            for asked, call in zip(self._asked, made, strict=True)
        )
        replies = (yield calls) if calls else ()
        bodies: dict[int, Any] = {}
        missing: list[str] = []
        for asked, reply in zip(self._asked, replies, strict=True):
            assert isinstance(reply, HttpReply)
            body = parsed(reply.body)
            legible = isinstance(asked, Right) or body is not UNREADABLE
            means = self._answers.meaning(reply).means
            if isinstance(asked, Right) and means in ("forbidden", "permission"):
                missing.append(asked.for_)
            elif means != "ok" or not legible:
                doing = f"asked for a right: {asked.for_}" if isinstance(asked, Right) else ""
                raise self._answers.unavailable(reply, "check-refused", doing)
            bodies[id(asked)] = (body, reply)
        account_id, name, zone = "", self._options.crm, "UTC"
        account = self._options.check.account
        if account is not None:
            body, reply = bodies[id(account)]
            account_id = id_text(one(body, path_of(account.id)))
            if not account_id:
                raise self._answers.unavailable(reply, "no-account")
            name = _text(body, account.name) or name
            said = _text(body, account.zone)
            zone = said if said and known_zone(said) else zone
        fields = {name: field.definition() for name, field in self._records.fields.items()}
        problems: tuple[tuple[str, str, str], ...] = ()
        if self._options.check.fields is not None:
            body, reply = bodies[id(self._options.check.fields)]
            fields = self._described(self._options.check.fields, body, reply)
            problems = self._key_problems(fields)
        return Account(
            account_id=account_id,
            name=name,
            time_zone=zone,
            fields=fields,
            missing=tuple(missing),
            problems=problems,
            calls_per_day=self._options.limits.per_day,
        )

    def describe(self) -> Talk[dict[str, FieldDefinition]]:
        """See ``ports.CrmAdapter.describe``: what ``check.fields`` declares; asked only where it does."""
        part = self._options.check.fields
        if part is None:
            return {name: field.definition() for name, field in self._records.fields.items()}
        call = Calls(part, self._options.common, Effect.READ).call({"names": self._records.names})
        (reply,) = yield (call,)
        assert isinstance(reply, HttpReply)
        body = parsed(reply.body)
        if self._answers.meaning(reply).means != "ok" or body is UNREADABLE:
            raise self._answers.unavailable(reply, "check-refused", "")
        return self._described(part, body, reply)

    def _described(self, part: FieldsCall, body: Any, reply: HttpReply) -> dict[str, FieldDefinition]:
        told = self._told(part, body)
        if told is None:
            raise self._answers.unavailable(reply, "no-fields")
        return told

    def _key_problems(self, described: Mapping[str, FieldDefinition]) -> tuple[tuple[str, str, str], ...]:
        """That the field for our key is not among the CRM's; one that stands apart from the mapped fields need not be."""
        inner = self._records.key_name
        steps = inner.split(".") if inner else []
        names = {".".join(steps[: at + 1]) for at in range(len(steps))}
        if not steps or names & {*described, *self._options.record.options}:
            return ()
        said = f"{self._options.crm} has no field {inner!r}, where our key is to stand (`record.key`)"
        remedy = "create it in the CRM, or correct `record.key`; name it under `record.options` if `check.fields` cannot list it"
        return (("rest.key-field-missing", said, remedy),)

    def _told(self, part: FieldsCall, body: Any) -> dict[str, FieldDefinition] | None:
        """The fields that the CRM describes, completed by what the declaration says; None: the answer has none."""
        found = one(body, path_of(part.records))
        rows: list[tuple[str, Any]] = []
        if isinstance(found, dict):
            rows = [(name, row) for name, row in found.items() if isinstance(row, dict)]
        elif isinstance(found, list):
            at = path_of(part.name)
            rows = [(name, row) for row in found if isinstance(row, dict) and (name := id_text(one(row, at)))]
        if not rows or len(rows) > FIELDS_MAX:
            return None
        writable, unique, required = Checks(part.writable), Checks(part.unique), Checks(part.required)
        fields: dict[str, FieldDefinition] = {}
        for bare, row in rows:
            name = part.prefix + bare
            own = self._records.field(name)
            values = every(row, path_of(part.values)) if part.values is not None else ()
            fields[name] = FieldDefinition(
                name=name,
                kind=_text(row, part.kind) or own.option.kind,
                writable=own.writable and (not writable or writable.hold(row)),
                unique=own.option.unique or unique.hold(row),
                required=own.option.required or required.hold(row),
                options=tuple(plain(value) for value in values if isinstance(value, str | int))
                or tuple(own.option.values),
            )
        # What the declaration describes by itself is there too; a mapped name below a described one is a part of that field.
        for name, field in self._records.fields.items():
            described = (
                name in self._options.record.options or ".".join(field.path[:-1]) in fields or field.path[0] in fields
            )
            if name not in fields and described:
                fields[name] = field.definition()
        return fields


def _text(body: Any, place: Steps | None) -> str:
    found = one(body, path_of(place)) if place is not None else ""
    return plain(found)[:200] if isinstance(found, str | int) and not isinstance(found, bool) else ""
