"""Which handler answers which method and path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.sandbox.hubspot import associations, batch, meta, objects
from sales_crm_bridge.sandbox.hubspot.api import Call, nothing, ok
from sales_crm_bridge.sandbox.hubspot.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_crm_bridge.sandbox.hubspot.settings import Vices
    from sales_crm_bridge.sandbox.hubspot.tokens import Tokens
    from sales_crm_bridge.sandbox.wire import Answer, Request

_BATCH: dict[str, Callable[[Call, str], Answer]] = {
    "archive": batch.archive,
    "create": batch.create,
    "read": batch.read,
    "update": batch.update,
    "upsert": batch.upsert,
}
_COLLECTION: dict[str, Callable[[Call, str], Answer]] = {"GET": objects.page, "POST": objects.create}
_ACTIONS: dict[str, Callable[[Call, str], Answer]] = {"merge": objects.merge, "gdpr-delete": objects.gdpr_delete}
_RECORD: dict[str, Callable[[Call, str, str], Answer]] = {
    "GET": objects.read,
    "PATCH": objects.update,
    "DELETE": objects.archive,
}
_PAIR: dict[str, Callable[[Call, str, str, str, str], Answer]] = {
    "PUT": associations.put,
    "DELETE": associations.delete,
}
_PAIRS: dict[str, Callable[[Call, str, str], Answer]] = {
    "archive": associations.batch_archive,
    "create": associations.batch_create,
    "read": associations.batch_read,
}


def without_token(tokens: Tokens, request: Request, now_ms: int, vices: Vices) -> Answer | None:
    """Answer what needs no bearer token, the OAuth endpoints; None if it is something else. Raises ``Refusal``."""
    match [request.method, *request.segments()]:
        case ["POST", "oauth", _, "token"]:
            return ok(tokens.exchange(request, now_ms, vices))
        case ["GET", "oauth", _, "access-tokens", token]:
            return ok(tokens.about_access(token, now_ms))
        case ["GET", "oauth", _, "refresh-tokens", token]:
            return ok(tokens.about_refresh(token))
        case ["DELETE", "oauth", _, "refresh-tokens", token]:
            tokens.revoke(token)
            return nothing()
        case _:
            return None


def route(call: Call) -> Answer:
    """Answer an admitted call; raises ``Refusal``."""
    match [call.request.method, *call.segments]:
        case [_, "crm", "objects", *rest] if rest:
            return _objects(call, rest)
        case ["POST", "crm", "associations", of, to, "batch", verb] if verb in _PAIRS:
            return _PAIRS[verb](call, of, to)
        case [_, "crm", "properties", *rest] if rest:
            return _properties(call, rest)
        case ["GET", "crm", "pipelines", kind, *rest]:
            return meta.pipelines(call, kind, *rest)
        case ["GET", "crm", "owners"]:
            return meta.owners(call)
        case ["GET", "crm", "owners", owner]:
            return meta.one_owner(call, owner)
        case ["GET", "account-info", _, "details"]:
            return meta.account_details(call)
        case ["GET", "account-info", _, "api-usage", "daily", "private-apps"]:
            return meta.daily_usage(call)
        case _:
            raise _nowhere()


def _objects(call: Call, rest: list[str]) -> Answer:
    match [call.request.method, *rest]:
        case ["POST", kind, "search"]:
            return objects.search(call, kind)
        case ["POST", kind, "batch", verb] if verb in _BATCH:
            return _BATCH[verb](call, kind)
        case [verb, kind] if verb in _COLLECTION:
            return _COLLECTION[verb](call, kind)
        case ["POST", kind, verb] if verb in _ACTIONS:
            return _ACTIONS[verb](call, kind)
        case [verb, kind, record] if verb in _RECORD:
            return _RECORD[verb](call, kind, record)
        case ["GET", kind, record, "associations", to]:
            return associations.page(call, kind, record, to)
        case ["PUT", kind, record, "associations", "default", to, other]:
            return associations.put_default(call, kind, record, to, other)
        case [verb, kind, record, "associations", to, other] if verb in _PAIR:
            return _PAIR[verb](call, kind, record, to, other)
        case _:
            raise _nowhere()


def _properties(call: Call, rest: list[str]) -> Answer:
    match [call.request.method, *rest]:
        case ["GET", kind]:
            return meta.properties(call, kind)
        case ["POST", kind]:
            return meta.create_property(call, kind)
        case ["GET", kind, name]:
            return meta.one_property(call, kind, name)
        case ["PATCH", kind, name]:
            return meta.change_property(call, kind, name)
        case ["DELETE", kind, name]:
            return meta.archive_property(call, kind, name)
        case _:
            raise _nowhere()


def _nowhere() -> Refusal:
    return Refusal(404, None, "Resource not found", html=True, headers=(("x-hubspot-notfound", "true"),))
