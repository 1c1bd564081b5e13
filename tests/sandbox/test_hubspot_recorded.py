"""The sandbox against recorded answers of the real service: the same situation, the same status, headers and members."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.sandbox.bench import Bench, Reply

RECORDED = Path(__file__).parent / "recorded"


def exchanges(name: str) -> list[dict[str, Any]]:
    """The exchanges of one recorded file."""
    found: list[dict[str, Any]] = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))["exchanges"]
    return found


def target(request: dict[str, Any]) -> str:
    """Path and query as they were sent, without the host."""
    parts = urlsplit(request.get("url", request.get("path", "")))
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def shape(value: Any) -> Any:
    """A value's members without its contents; of a list, those of its first item."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def assert_alike(reply: Reply, recorded: dict[str, Any]) -> None:
    """Same status, same header names, same members all the way down."""
    assert reply.status == recorded["status"]
    assert set(reply.headers) == set(recorded["headers"])
    assert reply.headers.get("content-type") == recorded["headers"].get("content-type")
    if reply.json is None:
        assert reply.body.decode() == recorded["body"]
    else:
        assert shape(reply.json) == shape(recorded["body"])


CRUD = {each["n"]: each for each in exchanges("contacts-crud-v3")}


@pytest.mark.parametrize("number", sorted(CRUD))
def test_single_records_are_answered_as_recorded(number: int, bench: Bench) -> None:
    """Create, read by id and address, update, delete, and the page that says 404: down to each property that is shown."""
    request, recorded = CRUD[number]["request"], CRUD[number]["response"]
    path = target(request)
    if request["method"] != "POST" and recorded["status"] != 404:
        record = recorded_id(path, recorded)
        made = next(each for each in CRUD.values() if is_create(each) and each["response"]["body"]["id"] == record)
        path = path.replace(record, bench.create(path.split("/")[4], **made["request"]["body"]["properties"]))
    bench.now_s += 1
    reply = bench.call(request["method"], path, request.get("body"))
    assert_alike(reply, recorded)
    if reply.json:
        expected = {
            name: recorded["body"]["properties"][name] for name in request.get("body", {}).get("properties", {})
        }
        assert {name: reply.json["properties"][name] for name in expected} == expected


def is_create(exchange: dict[str, Any]) -> bool:
    """Whether it is a recorded create."""
    return bool(exchange["request"]["method"] == "POST")


def recorded_id(path: str, recorded: dict[str, Any]) -> str:
    """The id that an exchange is about."""
    return str(recorded["body"]["id"]) if recorded["body"] else path.rpartition("/")[2]


LISTS = {each["from"]: each for each in exchanges("contacts-search-list-v3")}


@pytest.mark.parametrize("name", sorted(LISTS))
def test_lists_and_searches_are_answered_as_recorded(name: str, bench: Bench) -> None:
    """Pages with their links, searches with a total, an offset and only the daily headers; the last page has no ``paging``."""
    request, recorded = LISTS[name]["request"], LISTS[name]["response"]
    for number in range(1, 11):
        bench.create(email=f"test{number}@example.org", firstname=f"Test {number}", lastname="User")
    reply = bench.call(request["method"], target(request), request.get("body"))
    assert_alike(reply, recorded)
    body, was = reply.json, recorded["body"]
    assert len(body["results"]) == len(was["results"])
    assert body.get("total") == was.get("total")
    if "link" in was.get("paging", {}).get("next", {}):
        last = int(body["results"][-1]["id"])
        link = was["paging"]["next"]["link"].replace(was["paging"]["next"]["after"], str(last + 1))
        assert body["paging"] == {"next": {"after": str(last + 1), "link": link}}
    else:
        assert body.get("paging") == was.get("paging")


BATCHES = {each["n"]: each for each in exchanges("batch-writes")}


@pytest.mark.parametrize("number", sorted(BATCHES))
def test_batches_are_answered_as_recorded(number: int, bench: Bench) -> None:
    """Status, headers and the frame of the answer; recorded in 2022, when answers showed fewer of the service's own properties."""
    request, recorded = BATCHES[number]["request"], BATCHES[number]["response"]
    bench.portal.add_property("contacts", "number_field")
    body = json.loads(json.dumps(request["body"]))
    for each in body["inputs"]:
        if "id" in each:
            each["id"] = bench.create(email="grouparoo@example.com", lastname="Doe")
    reply = bench.call(request["method"], request["path"], body)
    assert reply.status == recorded["status"]
    assert set(reply.headers) == set(recorded["headers"])
    if recorded["body"]:
        assert set(reply.json) == set(recorded["body"])
        (mine,), (was,) = reply.json["results"], recorded["body"]["results"]
        assert set(mine) == set(was)
        sent = body["inputs"][0]["properties"]
        assert {name: mine["properties"][name] for name in sent} == {name: was["properties"][name] for name in sent}


@pytest.mark.parametrize("number", [0, 1])
def test_missing_scopes_are_answered_as_recorded(number: int, bench: Bench) -> None:
    """The gateway's 403 is without limit headers; the one for definitions has them, and no category."""
    recorded = exchanges("missing-scopes-403")[number]
    bench.token = bench.portal.tokens.static("pat-na1-bare", scopes=["oauth"])
    reply = bench.call("GET", target(recorded["request"]))
    was = recorded["response"]
    assert reply.status == was["status"]
    assert set(reply.headers) == set(was["headers"])
    assert set(reply.json) == set(was["body"])
    assert reply.json["message"] == was["body"]["message"].replace("<HUBSPOT_PORTAL_ID>", "4242")
    assert reply.json.get("category") == was["body"].get("category")
    if number == 0:
        needed = reply.json["errors"][0]["context"]["requiredGranularScopes"]
        assert set(needed) <= set(was["body"]["errors"][0]["context"]["requiredGranularScopes"])
        assert reply.json["links"] == was["body"]["links"]


def test_property_definitions_are_those_recorded(bench: Bench) -> None:
    """Every contact property that the sandbox defines is one of the real ones, with the same types, flags, group and options."""
    (recorded,) = exchanges("contact-properties-metadata")
    real = {each["name"]: each for each in recorded["response"]["body"]["results"]}
    mine = {each["name"]: each for each in bench.call("GET", "/crm/v3/properties/contacts").json["results"]}
    assert sorted(mine) == sorted(real)
    compared = (
        "type",
        "fieldType",
        "groupName",
        "hasUniqueValue",
        "hidden",
        "calculated",
        "externalOptions",
        "hubspotDefined",
    )
    for name, was in real.items():
        assert {key: mine[name][key] for key in compared} == {key: was[key] for key in compared}
        assert mine[name]["modificationMetadata"]["readOnlyValue"] is was["modificationMetadata"]["readOnlyValue"]
        # The recording was cut to twelve options a property.
        assert [each["value"] for each in mine[name]["options"]][:12] == [
            each["value"] for each in was.get("options", ())
        ]
