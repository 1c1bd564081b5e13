"""What becomes of two records that are merged (contacts guide)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.sandbox.hubspot.kinds import CONTACTS
from sales_crm_bridge.sandbox.hubspot.properties import LIFECYCLE
from sales_crm_bridge.sandbox.hubspot.times import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sales_crm_bridge.sandbox.hubspot.records import Record

MERGES_MAX = 250
"""Merges that one record takes part in (error handling guide)."""


def merged_props(survivor: Record, primary: Record, other: Record, now_ms: int) -> dict[str, str]:
    """What the survivor holds: the primary's values, the other's where the primary has none, and the traces of the merge.

    ``hs_merged_object_ids`` lists every id that was merged in, over all merges; contacts add ``hs_calculated_merged_vids``
    (ids with the time of the merge), and the other's addresses become additional ones. The later lifecycle stage stays.
    """
    kind = primary.kind
    mine, theirs = primary.props, other.props
    props = {**theirs, **mine}
    gone = [other.id] if survivor is primary else [primary.id, other.id]
    before = [*_parts(mine, "hs_merged_object_ids"), *_parts(theirs, "hs_merged_object_ids")]
    props["hs_merged_object_ids"] = ";".join(dict.fromkeys([*before, *map(str, gone)]))
    props["hs_object_id"] = str(survivor.id)
    props[kind.created] = iso(survivor.created_ms)
    props[kind.modified] = iso(now_ms)
    if kind is CONTACTS:
        vids = [*_parts(mine, "hs_calculated_merged_vids"), *_parts(theirs, "hs_calculated_merged_vids")]
        props["hs_calculated_merged_vids"] = ";".join([*vids, *(f"{each}:{now_ms}" for each in gone)])
        props["hs_all_contact_vids"] = ";".join([str(survivor.id), *props["hs_merged_object_ids"].split(";")])
        extra = [
            *_parts(mine, "hs_additional_emails"),
            *_parts(theirs, "hs_additional_emails"),
            *_parts(theirs, "email"),
        ]
        extra = [address for address in dict.fromkeys(extra) if address != props.get("email")]
        if extra:
            props["hs_additional_emails"] = ";".join(extra)
        stages = [stage for stage in (mine.get("lifecyclestage"), theirs.get("lifecyclestage")) if stage]
        if stages:
            props["lifecyclestage"] = max(stages, key=_rank)
    return props


def _parts(props: Mapping[str, str], name: str) -> list[str]:
    return [part for part in props.get(name, "").split(";") if part]


def _rank(stage: str) -> int:
    return LIFECYCLE.index(stage) if stage in LIFECYCLE else len(LIFECYCLE)
