"""Property definitions, pipelines, owners, the account itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.sandbox.hubspot.api import HOST, Call, kind_in, nothing, ok
from sales_crm_bridge.sandbox.hubspot.definitions import Definition, Option, Owner, Pipeline, Stage
from sales_crm_bridge.sandbox.hubspot.kinds import CONTACTS, LEADS, Kind
from sales_crm_bridge.sandbox.hubspot.refusals import Refusal, not_found
from sales_crm_bridge.sandbox.hubspot.times import iso
from sales_crm_bridge.sandbox.hubspot.tokens import need

if TYPE_CHECKING:
    from sales_crm_bridge.sandbox.wire import Answer

_BORN = "2020-01-01T00:00:00.000Z"
OWNERS_MAX = 500


class PropertyInput(msgspec.Struct, frozen=True, rename="camel"):
    """The body that creates a property."""

    name: str
    label: str
    type: str
    field_type: str
    group_name: str
    description: str = ""
    options: tuple[Option, ...] = ()
    has_unique_value: bool = False
    hidden: bool = False


class PropertyChange(msgspec.Struct, frozen=True, rename="camel"):
    """The body that changes one; whether it is unique cannot be changed."""

    label: str | None = None
    description: str | None = None
    options: tuple[Option, ...] | None = None
    hidden: bool | None = None


_property = msgspec.json.Decoder(PropertyInput)
_change = msgspec.json.Decoder(PropertyChange)


def _may(call: Call, spelling: str, right: str) -> Kind:
    """Definitions are open to whoever may see the schema or the records; the refusal has its own form (recorded, October 2024)."""
    kind = kind_in(spelling)
    objects, schemas = f"crm.objects.{kind.name}.{right}", f"crm.schemas.{kind.name}.{right}"
    if not call.grant.scopes.intersection({objects, schemas}):
        if right == "read" and kind is CONTACTS:
            raise Refusal(
                403,
                None,
                "You do not have permissions to view object type ObjectTypeId{legacyObjectType=CONTACT} in portal "
                f"{call.crm.account.portal_id} (requires one of [contacts-read])",
            )
        need(call.grant, schemas, objects)
    return kind


def properties(call: Call, spelling: str) -> Answer:
    """``GET /crm/v3/properties/{type}``."""
    kind = _may(call, spelling, "read")
    schema = call.crm.schema
    known = schema.archived[kind.name] if call.flag("archived") else schema.properties[kind.name]
    return ok({"results": [known[name].wire() for name in sorted(known)]})


def one_property(call: Call, spelling: str, name: str) -> Answer:
    """``GET /crm/v3/properties/{type}/{name}``."""
    kind = _may(call, spelling, "read")
    return ok(_find(call, kind, name).wire())


def _find(call: Call, kind: Kind, name: str) -> Definition:
    schema = call.crm.schema
    known = (schema.archived if call.flag("archived") else schema.properties)[kind.name].get(name)
    if known is None:
        raise Refusal(404, "OBJECT_NOT_FOUND", f"Property {name} does not exist for object type {kind.type_id}")
    return known


def create_property(call: Call, spelling: str) -> Answer:
    """``POST /crm/v3/properties/{type}``."""
    kind = _may(call, spelling, "write")
    given = call.body(_property)
    now = iso(call.crm.now_ms)
    definition = Definition(
        name=given.name,
        label=given.label,
        type=given.type,
        field_type=given.field_type,
        group_name=given.group_name,
        description=given.description,
        options=given.options,
        has_unique_value=given.has_unique_value,
        hidden=given.hidden,
        hubspot_defined=False,
        created_at=now,
        updated_at=now,
    )
    call.crm.define(kind, definition)
    return ok(definition.wire(), 201)


def change_property(call: Call, spelling: str, name: str) -> Answer:
    """``PATCH /crm/v3/properties/{type}/{name}``."""
    kind = _may(call, spelling, "write")
    given = call.body(_change)
    changes = {field: value for field in given.__struct_fields__ if (value := getattr(given, field)) is not None}
    definition = msgspec.structs.replace(_find(call, kind, name), **changes, updated_at=iso(call.crm.now_ms))
    call.crm.schema.replace(kind.name, definition)
    return ok(definition.wire())


def archive_property(call: Call, spelling: str, name: str) -> Answer:
    """``DELETE /crm/v3/properties/{type}/{name}``."""
    kind = _may(call, spelling, "write")
    _find(call, kind, name)
    call.crm.schema.archive(kind.name, name, call.crm.now_ms)
    return nothing()


def _pipeline(order: int, pipeline: Pipeline) -> dict[str, Any]:
    return {
        "label": pipeline.label,
        "displayOrder": order,
        "id": pipeline.id,
        "stages": [_stage(place, stage) for place, stage in enumerate(pipeline.stages)],
        "createdAt": _BORN,
        "updatedAt": _BORN,
        "archived": False,
    }


def _stage(order: int, stage: Stage) -> dict[str, Any]:
    # Metadata: likely, not found in a stored copy of the guide.
    metadata = {"isClosed": "false" if stage.outcome == "open" else "true", "leadState": stage.outcome.upper()}
    return {
        "label": stage.label,
        "displayOrder": order,
        "metadata": metadata,
        "id": stage.id,
        "createdAt": _BORN,
        "updatedAt": _BORN,
        "archived": False,
        "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT",
    }


def pipelines(call: Call, spelling: str, *rest: str) -> Answer:
    """``GET /crm/v3/pipelines/{type}[/{id}[/stages[/{stage}]]]``; only leads have pipelines here."""
    kind = kind_in(spelling)
    need(call.grant, f"crm.objects.{kind.name}.read")
    known = list(call.crm.schema.pipelines.values()) if kind is LEADS else []
    told = [_pipeline(order, pipeline) for order, pipeline in enumerate(known)]
    if not rest:
        return ok({"results": told})
    pipeline = next((each for each in told if each["id"] == rest[0]), None)
    if pipeline is None:
        raise not_found()
    match rest[1:]:
        case ():
            return ok(pipeline)
        case ("stages",):
            return ok({"results": pipeline["stages"]})
        case ("stages", stage_id):
            stage = next((each for each in pipeline["stages"] if each["id"] == stage_id), None)
            if stage is not None:
                return ok(stage)
        case _:
            pass
    raise not_found()


def _owner(owner: Owner) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": owner.id,
        "email": owner.email,
        "type": "PERSON",
        "firstName": owner.first_name,
        "lastName": owner.last_name,
        "userIdIncludingInactive": owner.user_id,
        "createdAt": _BORN,
        "updatedAt": _BORN,
        "archived": owner.archived,
    }
    # The guide shows null for an archived owner, the client's model leaves it out; null is what surprises.
    told["userId"] = None if owner.archived else owner.user_id
    return told


def owners(call: Call) -> Answer:
    """``GET /crm/v3/owners``: by id from ``after`` on."""
    need(call.grant, "crm.objects.owners.read")
    archived, limit, first = (
        call.flag("archived"),
        call.number("limit", 100, 1, OWNERS_MAX),
        call.number("after", 0, 0, 1 << 62),
    )
    email = call.param("email").lower()
    found = [each for each in call.crm.schema.owners.values() if each.archived is archived and int(each.id) >= first]
    found = sorted((each for each in found if not email or each.email == email), key=lambda each: int(each.id))
    told: dict[str, Any] = {"results": [_owner(each) for each in found[:limit]]}
    if len(found) > limit:
        after = found[limit].id
        told["paging"] = {"next": {"after": after, "link": f"{HOST}{call.request.path}?limit={limit}&after={after}"}}
    return ok(told)


def one_owner(call: Call, text: str) -> Answer:
    """``GET /crm/v3/owners/{id}``, or by the user's id with ``idProperty=userId``."""
    need(call.grant, "crm.objects.owners.read")
    by_user, archived = call.param("idProperty") == "userId", call.flag("archived")
    for owner in call.crm.schema.owners.values():
        if (str(owner.user_id) if by_user else owner.id) == text and owner.archived is archived:
            return ok(_owner(owner))
    raise not_found()


# The account information API: general knowledge.


def account_details(call: Call) -> Answer:
    """``GET /account-info/v3/details``: who the token belongs to."""
    account = call.crm.account
    local = datetime.fromtimestamp(call.crm.now_ms / 1000, account.zone)
    offset = local.utcoffset()
    minutes = round(offset.total_seconds() / 60) if offset else 0
    return ok(
        {
            "portalId": account.portal_id,
            "accountType": "STANDARD",
            "timeZone": account.time_zone,
            "companyCurrency": account.currency,
            "additionalCurrencies": [],
            "utcOffset": f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}",
            "utcOffsetMilliseconds": minutes * 60_000,
            "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "na1",
        },
    )


def daily_usage(call: Call) -> Answer:
    """``GET /account-info/v3/api-usage/daily/private-apps``."""
    return ok(
        {
            "results": [
                {
                    "name": "private-apps-api-calls-daily",
                    "usageLimit": call.per_day,
                    "currentUsage": call.used_today,
                    "collectedAt": iso(call.crm.now_ms),
                    "fetchStatus": "SUCCESS",
                    "resetsAt": iso(call.day_ends_ms),
                },
            ],
        },
    )
