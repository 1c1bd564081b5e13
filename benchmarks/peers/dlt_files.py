"""dlt's ``rest_api`` source into its ``filesystem`` destination: JSON lines in a folder.

``python dlt_files.py ADDRESS PAGE COUNT FOLDER`` prints what it cost; it runs in .venv-peers, and knows nothing of the bridge.

Keeps: the latest ``updatedAt`` and the schema that it inferred, in the destination beside the rows, so that a run goes on where
the last one ended; a load package on disk between its three steps (extract, normalise, load), so that a load can be repeated.
Does not: fingerprints (it drops rows that are older than its cursor, and by key those that are as old; a newer one is a row
again, whether or not a field of it changed), an outbox (a file is the end: who tells others reads it), an order of each lead
beyond the order of the pages, deletes.
Nested fields become columns (``properties__email``), times become timestamps; they are not mapped to other fields.
Files are written without gzip, its default, since nobody else here compresses. Telemetry is off by its own setting.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import resource
import sys
import time
from pathlib import Path

# dlt reads these when it is imported: no telemetry, and nothing of this user's own configuration or home.
FOLDER = Path(sys.argv[4])
os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "DLT_DATA_DIR": str(FOLDER / "home"),
    "DLT_PROJECT_DIR": str(FOLDER),
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
}

import dlt  # noqa: E402 - after its settings
from dlt.destinations import filesystem  # noqa: E402 - as above
from dlt.sources.rest_api import RESTAPIConfig, rest_api_source  # noqa: E402 - as above


def config(address: str, page: int) -> RESTAPIConfig:
    """The list, page by page, by the cursor in its answer, from the time to which it was read before."""
    return {
        "client": {"base_url": address},
        "resources": [
            {
                "name": "contacts",
                "primary_key": "id",
                "write_disposition": "append",
                "endpoint": {
                    "path": "crm/v3/objects/contacts",
                    "params": {"limit": page},
                    "data_selector": "results",
                    "paginator": {"type": "cursor", "cursor_path": "paging.next.after", "cursor_param": "after"},
                    "incremental": {
                        "cursor_path": "updatedAt",
                        "start_param": "since",
                        "initial_value": "2026-01-01T00:00:00.000Z",
                    },
                },
            }
        ],
    }


def main(address: str, page: int, count: int, folder: Path) -> dict[str, float]:
    """Read every lead into ``folder`` and tell what it cost."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        destination=filesystem(bucket_url=(folder / "bucket").as_uri()),
        dataset_name="crm",
        pipelines_dir=str(folder / "pipelines"),
    )
    pipeline.run(rest_api_source(config(address, page)), loader_file_format="jsonl").raise_on_failed_jobs()
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    leads: set[str] = set()
    for file in (folder / "bucket" / "crm" / "contacts").glob("*.jsonl"):
        with file.open(encoding="utf-8") as rows:
            leads |= {json.loads(row)["id"] for row in rows}
    states = list((folder / "bucket" / "crm" / "_dlt_pipeline_state").iterdir())
    if len(leads) != count or not states:
        sys.exit(f"read {len(leads)} of {count} leads; state {states}")
    return {"count": len(leads), "cpu_s": cpu_s, "wall_s": wall_s, "peak_mb": peak_mb}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), FOLDER)))
