"""A checker beside the sandbox: every request that was accepted, and every answer, against the OpenAPI documents."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from openapi_schema_validator import OAS30Validator, oas30_format_checker

SPECS = Path(__file__).parents[1] / "specs" / "hubspot"
DATED = re.compile(r"^/crm/(\w+)/20\d\d-\d\d/")
KNOWN = (
    # An archived owner's userId is null (owners guide); the documents, made from typed code, know no null there.
    (r"^/crm/v3/owners.*archived=true", r"userId: None "),
    # The association without a label has the label null (associations guide).
    (r"^/crm/v4/", r"associationTypes/\d+/label: None "),
)
"""Where the guides show what the documents do not allow: target and fault."""


UNCHECKED = ("/account-info/",)
"""Paths that no document is about."""


class Undocumented(AssertionError):
    """A request or an answer that the documents do not have."""


@cache
def documents() -> list[dict[str, Any]]:
    """All documents; the one about any object type comes last, so that contacts and leads are checked by their own."""
    found = sorted(SPECS.glob("*.json"), key=lambda path: (path.name == "crm-objects.v3.derived.json", path.name))
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


@cache
def operations() -> list[tuple[str, re.Pattern[str], dict[str, Any], dict[str, Any]]]:
    """Method, path, operation, and its document; paths without parameters before those with."""
    found = []
    for document in documents():
        for path in sorted(document["paths"], key=lambda path: (path.count("{"), path)):
            pattern = re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "/?")
            for method, operation in document["paths"][path].items():
                found.append((method.upper(), pattern, operation, document))
    return found


def operation_of(method: str, path: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Find the operation and its document; date-versioned paths have the shapes of v3."""
    path = DATED.sub(r"/crm/v3/\1/", path)
    path = re.sub(r"^/oauth/[^/]+/token$", "/oauth/v1/token", path)
    for known, pattern, operation, document in operations():
        if known == method and pattern.fullmatch(path):
            return operation, document
    return None


def faults(schema: dict[str, Any], document: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with a value, with the place."""
    whole = {"allOf": [schema], "components": document["components"]}
    validator = OAS30Validator(whole, format_checker=oas30_format_checker)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(value)]


def parameter_faults(operation: dict[str, Any], document: dict[str, Any], query: str) -> Iterator[str]:
    """Check the query: known names, values of the right type and range."""
    known = {each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    for name, text in parse_qsl(query, keep_blank_values=True):
        schema = known.get(name)
        if schema is None:
            yield f"{name}: no such parameter"
            continue
        value: Any = text
        if schema["type"] == "integer":
            value = int(text) if text.isdecimal() else text
        elif schema["type"] == "boolean":
            value = {"true": True, "false": False}.get(text, text)
        elif schema["type"] == "array":
            value = text.split(",")
        yield from (f"{name}: {fault}" for fault in faults(schema, document, value))


def check_request(method: str, target: str, media: str, body: bytes) -> None:
    """Raise ``Undocumented`` for a request that the documents would refuse."""
    path, _, query = target.partition("?")
    if path.startswith(UNCHECKED):
        return
    found = operation_of(method, path)
    if found is None:
        raise Undocumented(f"{method} {path} is in no document")
    operation, document = found
    wrong = list(parameter_faults(operation, document, query))
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        schema = content.get(media.partition(";")[0], {}).get("schema")
        if schema is None:
            wrong.append(f"media type {media}")
        else:
            value = json.loads(body) if "json" in media else dict(parse_qsl(unquote(body.decode())))
            wrong += faults(schema, document, value)
    if wrong:
        raise Undocumented(f"request {method} {target}: {wrong}")


def check_answer(method: str, target: str, status: int, media: str, body: bytes) -> None:
    """Raise ``Undocumented`` for an answer that the documents do not have; pages of the server are not in them."""
    path = target.partition("?")[0]
    found = operation_of(method, path)
    if found is None or media.startswith("text/html"):
        return
    operation, document = found
    known = operation["responses"]
    if status < 400 and str(status) not in known:
        raise Undocumented(f"{method} {target}: status {status}, documented are {sorted(known)}")
    content = known.get(str(status), known["default"]).get("content", {})
    if not content:
        if body:
            raise Undocumented(f"{method} {target}: {status} has no body")
        return
    schema = content["application/json"]["schema"]
    wrong = [fault for fault in faults(schema, document, json.loads(body)) if not is_known(fault, target)]
    if wrong or not media.startswith("application/json"):
        raise Undocumented(f"answer to {method} {target}: {status} {media} {wrong}")


def is_known(fault: str, target: str) -> bool:
    """Whether the sandbox follows the guides here and not the documents; ``KNOWN`` says where."""
    return any(re.search(where, target) and re.search(what, fault) for where, what in KNOWN)
