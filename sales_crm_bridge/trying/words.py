"""How a try puts what it saw into words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sales_crm_bridge.crm_http import MASK
from sales_crm_bridge.mapping import MISFITS
from sales_crm_bridge.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sales_crm_bridge.mapping import Misfit
    from sales_crm_bridge.model import Record

COUNTED_DIGITS = 9
"""Digits of a number that no account has counted up to."""
SIGNED = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers that are a secret as a whole, but for the scheme's word."""


def signed(name: str, value: str) -> str:
    """A header's value; of one that signs in only the scheme's word."""
    scheme, blank, _ = value.partition(" ")
    return f"{scheme}{blank}{MASK}" if name.lower() in SIGNED else value


def about(record: Record) -> Iterator[tuple[str, str]]:
    """What a record is, in the order in which it is shown."""
    yield "id", record.id
    yield "state", record.state.value
    yield "version", record.version
    yield "modified", time_text(record.modified_us) if record.modified_us else ""
    yield "created", time_text(record.created_us) if record.created_us else ""
    yield "our key", record.key
    yield "merged into", record.into
    yield "merged ids", ", ".join(record.merged_ids)
    yield "successors", ", ".join(f"{kind} {name}" for kind, name in record.successors)
    yield "parts", ", ".join(f"{kind} {name}" for kind, name in record.parts)
    yield "url", record.url


def sources(names: Sequence[str], fields: Mapping[str, object]) -> str:
    """The CRM fields of a slot, with their values."""
    return ", ".join(f"{name}={text(fields.get(name))}" for name in names)


def misfit(misfit: Misfit) -> tuple[str, str, str, str]:
    """A misfit with its meaning."""
    return misfit.field, misfit.crm_field, misfit.code, MISFITS[misfit.code]


def text(value: object) -> str:
    """A value as a person reads it."""
    if isinstance(value, dict) and set(value) == {"seconds", "nanos"}:
        return time_text(value["seconds"] * 1_000_000 + value["nanos"] // 1000)
    return "–" if value is None else str(value)


def nobody(known: str) -> str:
    """An id of the same form that hardly anybody has: beyond the last where ids are counted up, else with every digit a nine."""
    counted = re.fullmatch(r"([^0-9]*)([0-9]+)", known)
    if counted is not None:
        return counted[1] + "9" * max(len(counted[2]), COUNTED_DIGITS)
    nines = re.sub(r"[0-9]", "9", known)
    return nines if nines != known else f"{known[:-1]}{'y' if known[-1:] == 'z' else 'z'}"
