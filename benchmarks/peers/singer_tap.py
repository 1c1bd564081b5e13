"""A tap of the Singer SDK: one RESTStream, its messages on standard output, which is a file (``tap-bench > leads.singer``).

``python singer_tap.py ADDRESS PAGE COUNT FOLDER`` prints what it cost; it runs in .venv-peers, and knows nothing of the bridge.

Keeps: the latest ``updatedAt``, as a STATE message among the records. Whoever started the tap has to save it and hand it back.
Does not: fingerprints (an unchanged record that the CRM names is a record again), an outbox (a message that was printed is gone),
an order of each lead beyond the order of the pages, deletes. Where results go is a target's matter: another program, at its cost.
Records go out in the CRM's words, cast by the schema; they are not mapped to other fields.
The encoder is the stock one, not the SDK's msgspec encoder, which is an extra. There is no telemetry in the SDK to switch off.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import resource
import sys
import time
from pathlib import Path
from typing import Any

from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th

TEXTS = (
    *("email", "firstname", "lastname", "phone", "mobilephone", "company", "jobtitle", "website", "lead_source"),
    *("campaign", "message", "address", "city", "state", "zip", "country", "industry", "hs_lead_status"),
    *("hs_merged_object_ids", "hs_calculated_merged_vids", "bridge_lead_id"),
)
TIMES = ("createdate", "notes_last_updated", "lastmodifieddate")


class Contacts(RESTStream[str]):
    """The list, page by page, by the cursor in its answer."""

    name = "contacts"
    path = "/crm/v3/objects/contacts"
    primary_keys = ("id",)
    replication_key = "updatedAt"
    records_jsonpath = "$.results[*]"
    next_page_token_jsonpath = "$.paging.next.after"  # noqa: S105 - a place in the answer
    schema = th.PropertiesList(
        th.Property("id", th.StringType, required=True),
        th.Property(
            "properties",
            th.ObjectType(
                *(th.Property(name, th.StringType) for name in TEXTS),
                *(th.Property(name, th.DateTimeType) for name in TIMES),
            ),
        ),
        th.Property("createdAt", th.DateTimeType),
        th.Property("updatedAt", th.DateTimeType),
        th.Property("archived", th.BooleanType),
        th.Property("url", th.StringType),
    ).to_dict()

    @property
    def url_base(self) -> str:
        """Where the CRM is."""
        return str(self.config["api_url"])

    def get_url_params(self, context: Any, next_page_token: str | None) -> dict[str, Any]:
        """The page's size and cursor, and the time from which changes are wanted."""
        params: dict[str, Any] = {"limit": self.config["page_size"]}
        if since := self.get_starting_timestamp(context):
            params["since"] = since.isoformat()
        if next_page_token:
            params["after"] = next_page_token
        return params


class TapBench(Tap):
    """The one stream."""

    name = "tap-bench"
    config_jsonschema = th.PropertiesList(
        th.Property("api_url", th.StringType, required=True),
        th.Property("page_size", th.IntegerType, required=True),
        th.Property("start_date", th.DateTimeType),
    ).to_dict()

    def discover_streams(self) -> list[Contacts]:
        """Contacts."""
        return [Contacts(self)]


def main(address: str, page: int, count: int, folder: Path) -> dict[str, float]:
    """Read every lead into ``folder`` and tell what it cost."""
    config = {"api_url": address, "page_size": page, "start_date": "2026-01-01T00:00:00Z"}
    file = folder / "leads.singer"
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    with file.open("w", encoding="utf-8") as messages, contextlib.redirect_stdout(messages):
        TapBench(config=config, validate_config=True).sync_all()
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with file.open(encoding="utf-8") as messages:
        told = [json.loads(line) for line in messages]
    leads = {message["record"]["id"] for message in told if message["type"] == "RECORD"}
    states = [message["value"] for message in told if message["type"] == "STATE"]
    if len(leads) != count or "contacts" not in states[-1]["bookmarks"]:
        sys.exit(f"read {len(leads)} of {count} leads; state {states[-1:]}")
    return {"count": len(leads), "cpu_s": cpu_s, "wall_s": wall_s, "peak_mb": peak_mb}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
