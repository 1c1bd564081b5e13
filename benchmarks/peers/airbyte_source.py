"""A declarative source of the Airbyte CDK: a YAML manifest, and the command that its documentation runs it with.

``source-declarative-manifest read --config … --catalog … --manifest-path …``, its messages on standard output, which is a file.
``python airbyte_source.py ADDRESS PAGE COUNT FOLDER`` prints what it cost; it runs in .venv-peers, and knows nothing of the bridge.

Keeps: the latest ``updatedAt``, as a STATE message among the records. The platform that started the source has to save it and
hand it back. Does not: fingerprints (an unchanged record that the CRM names is a record again), an outbox (a message that was
printed is gone), an order of each lead beyond the order of the pages, deletes. Where results go is a destination's matter:
another program, at its cost. Records go out in the CRM's words, not mapped to other fields.
There is no telemetry in the CDK to switch off.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from airbyte_cdk.cli.source_declarative_manifest._run import handle_command

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST = """
version: 7.39.0
type: DeclarativeSource
check: {type: CheckStream, stream_names: [contacts]}
streams:
  - type: DeclarativeStream
    name: contacts
    primary_key: [id]
    retriever:
      type: SimpleRetriever
      requester:
        type: HttpRequester
        url_base: "{{ config['api_url'] }}"
        path: /crm/v3/objects/contacts
        http_method: GET
      record_selector:
        type: RecordSelector
        extractor: {type: DpathExtractor, field_path: [results]}
      paginator:
        type: DefaultPaginator
        page_size_option: {type: RequestOption, inject_into: request_parameter, field_name: limit}
        page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: after}
        pagination_strategy:
          type: CursorPagination
          page_size: "{{ config['page_size'] }}"
          cursor_value: "{{ response['paging']['next']['after'] }}"
          stop_condition: "{{ 'paging' not in response }}"
    incremental_sync:
      type: DatetimeBasedCursor
      cursor_field: updatedAt
      datetime_format: "%Y-%m-%dT%H:%M:%S.%_msZ"
      start_datetime: "2026-01-01T00:00:00.000Z"
      start_time_option: {type: RequestOption, inject_into: request_parameter, field_name: since}
    schema_loader:
      type: InlineSchemaLoader
      schema:
        $schema: http://json-schema.org/draft-07/schema#
        type: object
        additionalProperties: true
        properties:
          id: {type: string}
          properties: {type: object, additionalProperties: true}
          createdAt: {type: string, format: date-time}
          updatedAt: {type: string, format: date-time}
          archived: {type: boolean}
          url: {type: string}
spec:
  type: Spec
  connection_specification:
    $schema: http://json-schema.org/draft-07/schema#
    type: object
    required: [api_url, page_size]
    properties:
      api_url: {type: string}
      page_size: {type: integer}
"""
CATALOG = {
    "streams": [
        {
            "stream": {
                "name": "contacts",
                "json_schema": {},
                "supported_sync_modes": ["full_refresh", "incremental"],
                "source_defined_cursor": True,
                "default_cursor_field": ["updatedAt"],
            },
            "sync_mode": "incremental",
            "cursor_field": ["updatedAt"],
            "destination_sync_mode": "append",
        }
    ]
}


@contextlib.contextmanager
def output_to(file: Path) -> Iterator[None]:
    """As a shell's ``> file``: the CDK keeps the standard output that it found when it was imported."""
    terminal = os.dup(1)
    with file.open("wb") as messages:
        os.dup2(messages.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(terminal, 1)
        os.close(terminal)


def main(address: str, page: int, count: int, folder: Path) -> dict[str, float]:
    """Read every lead into ``folder`` and tell what it cost."""
    (folder / "manifest.yaml").write_text(MANIFEST)
    (folder / "config.json").write_text(json.dumps({"api_url": address, "page_size": page}))
    (folder / "catalog.json").write_text(json.dumps(CATALOG))
    words = ["read", "--config", str(folder / "config.json"), "--catalog", str(folder / "catalog.json")]
    words += ["--manifest-path", str(folder / "manifest.yaml")]
    file = folder / "leads.jsonl"
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    with output_to(file):
        handle_command(words)
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with file.open(encoding="utf-8") as messages:
        told = [json.loads(line) for line in messages]
    leads = {message["record"]["data"]["id"] for message in told if message["type"] == "RECORD"}
    states = [message["state"] for message in told if message["type"] == "STATE"]
    if len(leads) != count or not states:
        sys.exit(f"read {len(leads)} of {count} leads; state {states[-1:]}")
    return {"count": len(leads), "cpu_s": cpu_s, "wall_s": wall_s, "peak_mb": peak_mb}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
