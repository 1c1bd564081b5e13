"""The ledger that a run started from: what it touched of it, re-expressed in stand-ins under the bundle's own hash key.

A binding keeps keyed hashes of the CRM's values, and nobody can tell a value from its hash. What is needed is told by the run
itself: a slot whose hash the first look at the record left as it was had the value that the record shows; one that the look changed
had another. So a first replay starts with slots that are not known, and learns the hashes of the stand-ins; the second one starts
with these where the real slot stayed, and with a hash of nothing where it did not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge import roster
from sales_crm_bridge.model import LeadState
from sales_crm_bridge.policy.fields import FieldStates, Keyring, Stamp, carry_over, heirs_of, pack, pack_heirs, unpack
from sales_crm_bridge.replay.bundle import LedgerRow
from sales_crm_bridge.state import Binding, Commit, Fence, Run, lease_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.replay.redact import Redactor
    from sales_crm_bridge.tenants import Tenant

BINDINGS, ALIASES, POSITIONS, RUNS, CONNECTION = "bindings", "aliases", "positions", "runs", "connection"
_NEVER = 255
HOLDER = "replay"
UNSAID = ("fields", "fingerprint")
"""Values of a row that are hashes, and no text that could say anything."""


@dataclass(slots=True, kw_only=True)
class Start:
    """What a run has found in its ledger: rows as it first read them, and what its commits made of each (``later``)."""

    bindings: dict[str, Binding] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    later: dict[str, list[Binding]] = field(default_factory=dict)
    positions: dict[str, bytes] | None = None
    runs: list[Run] | None = None
    facts: int | None = None
    layouts: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _ours: set[str] = field(default_factory=set)

    def read(self, found: Iterable[tuple[str, Binding]]) -> None:
        """These bindings were read, by these record ids ("": by their leads)."""
        for crm_id, binding in found:
            if binding.lead_id in self._ours:
                continue
            self.bindings.setdefault(binding.lead_id, binding)
            if crm_id and crm_id != binding.crm_id:
                self.aliases.setdefault(crm_id, binding.lead_id)

    def wrote(self, commit: Commit) -> None:
        """These rows are the run's own from now on."""
        for binding in commit.bindings:
            self.later.setdefault(binding.lead_id, []).append(binding)
            self._ours.add(binding.lead_id)


class WatchedLedger:
    """A ledger, and what is read of it before it was written is noted in ``start``."""

    def __init__(self, inner: Any, start: Start) -> None:
        self._inner = inner
        self._start = start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def bindings_by_crm_id(self, conn: int, crm_ids: Sequence[str]) -> dict[str, Binding]:
        """As the inner one."""
        found: dict[str, Binding] = await self._inner.bindings_by_crm_id(conn, crm_ids)
        self._start.read(found.items())
        return found

    async def bindings_by_lead(self, conn: int, lead_ids: Sequence[str]) -> dict[str, Binding]:
        """As the inner one."""
        found: dict[str, Binding] = await self._inner.bindings_by_lead(conn, lead_ids)
        self._start.read(("", one) for one in found.values())
        return found

    async def bindings_unseen(self, conn: int, sweep: int, after: str, limit: int) -> list[Binding]:
        """As the inner one."""
        found: list[Binding] = await self._inner.bindings_unseen(conn, sweep, after, limit)
        self._start.read(("", one) for one in found)
        return found

    async def positions(self, conn: int) -> dict[str, bytes]:
        """As the inner one."""
        found: dict[str, bytes] = await self._inner.positions(conn)
        if self._start.positions is None:
            self._start.positions = dict(found)
        return found

    async def layouts(self) -> dict[int, tuple[str, ...]]:
        """As the inner one."""
        found: dict[int, tuple[str, ...]] = await self._inner.layouts()
        self._start.layouts = found
        return found

    async def runs(self, conn: int, limit: int, *, running: bool = False) -> list[Run]:
        """As the inner one."""
        found: list[Run] = await self._inner.runs(conn, limit, running=running)
        if running and self._start.runs is None:
            self._start.runs = list(found)
        return found

    async def connections(self, conn: int = 0) -> list[Any]:
        """As the inner one."""
        found: list[Any] = await self._inner.connections(conn)
        if conn and self._start.facts is None:
            self._start.facts = next((row.facts for row in found), 0)
        return found

    async def commit(self, fence: Fence, commit: Commit) -> None:
        """As the inner one."""
        self._start.wrote(commit)
        await self._inner.commit(fence, commit)


# --- into the bundle --------------------------------------------------------------------------------------------------


def rows_of(
    start: Start, tenant: Tenant, hash_key: str, redactor: Redactor, learnt: Mapping[str, Sequence[Binding]] | None
) -> list[LedgerRow]:
    """The rows of a bundle. ``learnt``: what a replay that knew no slot has made of each lead (None: they are for that replay)."""
    keyring = Keyring([hash_key.encode()], tenant.tenant)
    rows = [
        LedgerRow(table=BINDINGS, row=_binding(one, start, tenant, keyring, redactor, learnt))
        for _, one in sorted(start.bindings.items())
    ]
    rows += [
        LedgerRow(
            table=ALIASES, row={"crm_id": redactor.text(crm_id, "id"), "lead_id": redactor.text(lead_id, "lead_id")}
        )
        for crm_id, lead_id in sorted(start.aliases.items())
    ]
    rows += [
        LedgerRow(table=POSITIONS, row={"feed": feed, "state": redactor.value(msgspec.json.decode(state), "")})
        for feed, state in sorted((start.positions or {}).items())
    ]
    rows += [LedgerRow(table=RUNS, row=msgspec.to_builtins(run)) for run in start.runs or ()]
    if start.facts:
        rows.append(LedgerRow(table=CONNECTION, row={"aggregate_version": start.facts}))
    return rows


def _binding(
    one: Binding,
    start: Start,
    tenant: Tenant,
    keyring: Keyring,
    redactor: Redactor,
    learnt: Mapping[str, Sequence[Binding]] | None,
) -> dict[str, Any]:
    lead_id = redactor.text(one.lead_id, "lead_id")
    later = start.later.get(one.lead_id, ())
    shown = (learnt or {}).get(lead_id, ())
    fields, fingerprint = b"", b""
    if one.fields and shown:
        slots = tenant.mapping.slots
        states = [_states(each, start, slots) for each in (one, *later)]
        versions = [redactor.text(each.version, "version") for each in (one, *later)]
        fields = _fields(states, versions, shown, keyring)
        fingerprint = b"" if later else shown[0].fingerprint
    return {
        "lead_id": lead_id,
        "crm_id": redactor.text(one.crm_id, "id"),
        "state": one.state.value,
        "aggregate_version": one.aggregate_version,
        "version": redactor.text(one.version, "version"),
        "modified_us": one.modified_us,
        "known_us": one.known_us,
        "fingerprint": fingerprint.hex(),
        "fields": fields.hex(),
        "sweep": one.sweep,
        "heirs": [[kind, redactor.text(name, "id")] for kind, name in heirs_of(one)],
    }


def _states(one: Binding, start: Start, slots: tuple[str, ...]) -> FieldStates:
    """A binding's states in the order of the present slots."""
    return carry_over(unpack(one.fields), start.layouts.get(one.layout, slots), slots)


def _fields(
    states: Sequence[FieldStates], versions: Sequence[str], shown: Sequence[Binding], keyring: Keyring
) -> bytes:
    """The field states under the bundle's key: learnt hashes where the real slot stayed, hashes of nothing where it changed.

    ``states``, ``versions``: the real binding's, at the start and after each commit; ``shown``: the replay's, after each commit.
    A slot is learnt from the first of these that knows it, and compared with the real one of the same version of the record.
    """
    before, looks = states[0], [(one, unpack(one.fields)) for one in shown]
    hashes, marks = [], bytearray()
    for slot in range(len(before.hashes)):
        found = next(((one, seen) for one, seen in looks if seen.hashes and seen.marks[slot] != _NEVER), None)
        if before.marks[slot] == _NEVER or found is None:
            hashes.append(0)
            marks.append(_NEVER)
            continue
        one, seen = found
        same = [number for number, version in enumerate(versions) if version == one.version and states[number].hashes]
        at = max(same, default=0)
        stayed = before.hashes[slot] == states[at].hashes[slot]
        hashes.append(seen.hashes[slot] if stayed else _nothing(one.lead_id, slot, keyring))
        marks.append(before.marks[slot])
    stamps = tuple(Stamp(keyring.current_id, stamp.origin, stamp.time_us, stamp.version) for stamp in before.stamps)
    return pack(FieldStates(tuple(hashes), bytes(marks), stamps))


def _nothing(lead_id: str, slot: int, keyring: Keyring) -> int:
    """A hash that no value has, in effect."""
    text = f"{keyring.current_id} {slot} {lead_id}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


# --- out of the bundle ------------------------------------------------------------------------------------------------


async def put(ledger: Ledger, tenant: Tenant, rows: Sequence[LedgerRow], now_us: int) -> None:
    """Write the rows into a fresh ledger, as the run will find them."""
    if not rows:
        return
    conn = await ledger.connection_make(roster.row_of(tenant, now_us))
    layout = await ledger.layout(tenant.mapping.slots)
    lease = lease_name(tenant.tenant, tenant.connection.name)
    epochs = await ledger.leases_take([lease], HOLDER, now_us, now_us + 1_000_000)
    by_table: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        by_table.setdefault(one.table, []).append(one.row)
    commit = Commit(
        conn=conn,
        bindings=[_made(row, conn, layout, tenant) for row in by_table.get(BINDINGS, ())],
        aliases=[(row["crm_id"], row["lead_id"]) for row in by_table.get(ALIASES, ())],
        positions={row["feed"]: msgspec.json.encode(row["state"]) for row in by_table.get(POSITIONS, ())},
        runs=[msgspec.convert({**row, "conn": conn}, Run) for row in by_table.get(RUNS, ())],
        facts=next((row["aggregate_version"] for row in by_table.get(CONNECTION, ())), None),
    )
    await ledger.commit(Fence(lease=lease, holder=HOLDER, epoch=epochs[lease]), commit)
    await ledger.leases_drop(HOLDER, [lease])


def _made(row: dict[str, Any], conn: int, layout: int, tenant: Tenant) -> Binding:
    """A binding. Its slots are those of the recorded mapping: under another one they are not known."""
    fields = bytes.fromhex(row["fields"])
    if fields and len(unpack(fields).hashes) != len(tenant.mapping.slots):
        fields = b""
    return Binding(
        conn=conn,
        lead_id=row["lead_id"],
        crm_id=row["crm_id"],
        state=LeadState(row["state"]),
        aggregate_version=row["aggregate_version"],
        version=row["version"],
        modified_us=row["modified_us"],
        known_us=row["known_us"],
        fingerprint=bytes.fromhex(row["fingerprint"]),
        layout=layout,
        fields=fields,
        sweep=row["sweep"],
        heirs=pack_heirs([(kind, name) for kind, name in row["heirs"]]),
    )
