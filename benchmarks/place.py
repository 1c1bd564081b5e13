"""Where a case runs."""

from __future__ import annotations

from dataclasses import dataclass

SCRATCH = "/var/tmp"  # noqa: S108 - a disk, which a memory file system may not be
BATCH = 2000
"""Rows in one transaction of the preparations, and facts in one step of the relay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a case runs: ``count`` things to do, the CRM's address and page, and the real Kafka and PostgreSQL ("" none).

    ``adapter``: through which one the bridge reads that CRM. ``peers``: the Python that has the other tools ("" none).
    """

    count: int
    page: int
    crm: str
    kafka: str = ""
    postgres: str = ""
    peers: str = ""
    adapter: str = "hubspot"
