"""Ids that are the same whenever they are derived anew: after a crash, in a replay, in another process."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=4096)
def _fact_hash(tenant_id: str, aggregate_type: str, event_type: str) -> blake2b:
    head = f"{len(tenant_id)}:{tenant_id}{len(aggregate_type)}:{aggregate_type}{len(event_type)}:{event_type}"
    return blake2b(head.encode(), digest_size=16, person=b"sales-fact-id")


def fact_id(tenant_id: str, aggregate_type: str, aggregate_id: str, aggregate_version: int, event_type: str) -> str:
    """The message id of a fact: 32 hexadecimal digits, equal for equal arguments and, in effect, only for those."""
    digest = _fact_hash(tenant_id, aggregate_type, event_type).copy()
    digest.update(f"{aggregate_version}:{aggregate_id}".encode())
    return digest.hexdigest()


def lead_id_for(tenant_id: str, account: str, record_id: str) -> str:
    """The lead id of a record that was born in the CRM: a UUID (version 8, RFC 9562) of tenant, the CRM's account and record."""
    text = f"{len(tenant_id)}:{tenant_id}{len(account)}:{account}{record_id}"
    number = int.from_bytes(blake2b(text.encode(), digest_size=16, person=b"sales-lead-id").digest(), "big")
    number = number & ~(0xF000 << 64 | 0xC000 << 48) | 0x8000 << 64 | 0x8000 << 48
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
