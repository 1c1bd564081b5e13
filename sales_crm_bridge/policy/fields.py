"""What a binding remembers of each field, so that a change is told from an echo without keeping the value.

A *slot* is one Sales field with the CRM fields it is read from (``mapping.slots``). Of each slot a binding keeps a keyed hash of
the CRM's raw value and a *stamp*: under which hash key, from which side, when, and in which fact (``aggregate_version``) it last
changed. Packed, that is ``header · stamps · hashes · stamp numbers``: about 10 bytes a slot and 21 a distinct stamp; most
leads have one or two stamps.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
from siphashc import siphash

from sales_crm_bridge.errors import Bug

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sales_crm_bridge.state import Binding

SLOTS_MAX = 120  # so that old, new and re-keyed stamps together stay below 255
_NEVER = 255  # stamp number of a slot that the binding lacks
_FORMAT = 1
_NO_HEIRS: Mapping[str, Sequence[str]] = MappingProxyType({})
_HEAD = struct.Struct("<BBB")  # format, stamps, slots
_STAMP = struct.Struct("<IBqq")


class Origin(enum.IntEnum):
    """Which side a field's last known value came from. LEARNT: it was there when we first looked."""

    LEARNT = 0
    CRM = 1
    SALES = 2


class Stamp(msgspec.Struct, frozen=True):
    """When and where a field last changed: hash key, side, the CRM's time of the record then, the lead's fact number."""

    key_id: int
    origin: Origin
    time_us: int
    version: int


class Keyring:
    """The keys of the keyed hash of one tenant; the first is current, the others still read what older ones wrote.

    The hash is SipHash-2-4 (64 bits, a PRF), keyed per tenant with a key derived from the deployment's secret, so equal values of
    two tenants have unequal hashes, and hashes say nothing without the secret.
    """

    def __init__(self, secrets: Sequence[bytes], tenant: str) -> None:
        if not secrets:
            raise Bug("bug.no-hash-key", "a keyring needs at least one secret")
        self._keys: dict[int, bytes] = {}
        self._print_keys: dict[str, bytes] = {}
        for secret in reversed(secrets):
            master = hashlib.blake2b(secret, digest_size=32).digest()
            derived = hashlib.blake2b(tenant.encode(), key=master, digest_size=20).digest()
            self.current_id = int.from_bytes(derived[16:], "little")
            self._keys[self.current_id] = derived[:16]

    def hashes(self, sources: Sequence[str | bytes], key_id: int | None = None) -> list[int] | None:
        """One 64-bit hash a source, under key ``key_id`` (None: the current one); None if that key is not on the ring."""
        key = self._keys.get(self.current_id if key_id is None else key_id)
        if key is None:
            return None
        try:
            return [siphash(key, source) for source in sources]
        except UnicodeEncodeError:
            return [siphash(key, _bytes(source)) for source in sources]

    def fingerprints(self, texts: Sequence[bytes], salt: str) -> list[bytes]:
        """A 64-bit keyed fingerprint a text, under the current key and ``salt`` (the mapping's version)."""
        key = self._print_keys.get(salt)
        if key is None:
            secret = self._keys[self.current_id]
            key = self._print_keys[salt] = hashlib.blake2b(salt.encode(), key=secret, digest_size=16).digest()
        return [siphash(key, text).to_bytes(8, "little") for text in texts]


def _bytes(source: str | bytes) -> bytes:
    """Half a surrogate pair, which JSON can hold, is hashed as it is."""
    return source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source


class FieldStates(msgspec.Struct, frozen=True):
    """The states of all slots of one binding, unpacked: ``marks[i]`` is the number of slot ``i``'s stamp, 255 for none."""

    hashes: tuple[int, ...]
    marks: bytes
    stamps: tuple[Stamp, ...]

    def stamp(self, slot: int) -> Stamp | None:
        """The stamp of a slot, None if the binding lacks it."""
        mark = self.marks[slot]
        return None if mark == _NEVER else self.stamps[mark]


@lru_cache(maxsize=SLOTS_MAX + 1)
def _words(slots: int) -> struct.Struct:
    return struct.Struct(f"<{slots}Q")


def pack_uniform(hashes: Sequence[int], stamp: Stamp) -> bytes:
    """Pack slots that share one stamp: a lead seen for the first time. The hot path of an import."""
    slots = len(hashes)
    return b"".join(
        (
            _HEAD.pack(_FORMAT, 1, slots),
            _STAMP.pack(stamp.key_id, stamp.origin, stamp.time_us, stamp.version),
            _words(slots).pack(*hashes),
            bytes(slots),
        )
    )


def pack(states: FieldStates) -> bytes:
    """Pack states, dropping stamps that no slot uses any more."""
    used = sorted({mark for mark in states.marks if mark != _NEVER})
    renumber = bytearray(range(256))
    for new, old in enumerate(used):
        renumber[old] = new
    slots = len(states.hashes)
    parts = [_HEAD.pack(_FORMAT, len(used), slots)]
    parts += [_STAMP.pack(s.key_id, s.origin, s.time_us, s.version) for s in (states.stamps[mark] for mark in used)]
    parts += [_words(slots).pack(*states.hashes), states.marks.translate(bytes(renumber))]
    return b"".join(parts)


def unpack(packed: bytes) -> FieldStates:
    """The inverse of ``pack``; b"" gives no slots. Raises ``Bug`` for bytes that ``pack`` never made."""
    if not packed:
        return FieldStates((), b"", ())
    form, count, slots = _HEAD.unpack_from(packed)
    at = _HEAD.size + count * _STAMP.size
    if form != _FORMAT or len(packed) != at + 9 * slots:
        raise Bug("bug.field-states", f"unreadable field states of {len(packed)} bytes, format {form}")
    stamps = tuple(
        Stamp(key_id, Origin(origin), time_us, version)
        for key_id, origin, time_us, version in _STAMP.iter_unpack(packed[_HEAD.size : at])
    )
    return FieldStates(_words(slots).unpack_from(packed, at), packed[at + 8 * slots :], stamps)


def carry_over(
    states: FieldStates, old: Sequence[str], new: Sequence[str], heirs: Mapping[str, Sequence[str]] = _NO_HEIRS
) -> FieldStates:
    """The same states in another layout: a slot is known by its name; one that the old layout lacks is not known yet.

    ``heirs``: by slot, those whose knowledge it takes over, since it reads the same Sales field in a mapping that was mended.
    """
    if tuple(old) == tuple(new):
        return states
    where = {name: index for index, name in enumerate(old)}
    places = [next((where[one] for one in (name, *heirs.get(name, ())) if one in where), -1) for name in new]
    return FieldStates(
        tuple(states.hashes[at] if at >= 0 else 0 for at in places),
        bytes(states.marks[at] if at >= 0 else _NEVER for at in places),
        states.stamps,
    )


class Seen(msgspec.Struct, frozen=True):
    """What looking at a record told: the new states, and which slots changed in a way worth a fact."""

    states: FieldStates
    changed: tuple[int, ...]


def look(
    keyring: Keyring,
    states: FieldStates,
    sources: Sequence[str | bytes],
    stamp: Stamp,
    only: frozenset[int] | None = None,
) -> Seen:
    """Compare a record's ``sources`` with what is known, and take them as known.

    A slot whose hash differs under the key it was made with has changed and gets ``stamp``; a slot never known is learnt (it gets
    ``stamp`` with origin LEARNT unless ``stamp`` is our own), and does not count as changed. An unchanged slot under an old key is
    re-hashed with the current one; one whose key is no longer on the ring is learnt anew. ``only``: look at these slots alone.
    """
    now = keyring.hashes(sources)
    assert now is not None
    hashes, marks, stamps = list(states.hashes), bytearray(states.marks), list(states.stamps)
    fresh = len(stamps)
    learnt = msgspec.structs.replace(stamp, origin=Origin.LEARNT) if stamp.origin is Origin.CRM else stamp
    stamps += [stamp, learnt]
    changed: list[int] = []
    rekeyed: dict[tuple[int, Origin, int, int], int] = {}
    old_hashes: dict[int, list[int] | None] = {}
    for slot, value in enumerate(now):
        if only is not None and slot not in only:
            continue
        mark = marks[slot]
        known = None if mark == _NEVER else stamps[mark]
        if known is None:
            hashes[slot], marks[slot] = value, fresh + 1
            continue
        if known.key_id == keyring.current_id:
            if hashes[slot] != value:
                changed.append(slot)
                hashes[slot], marks[slot] = value, fresh
            continue
        if known.key_id not in old_hashes:
            old_hashes[known.key_id] = keyring.hashes(sources, known.key_id)
        before = old_hashes[known.key_id]
        if before is not None and before[slot] != hashes[slot]:
            changed.append(slot)
            marks[slot] = fresh
        else:
            key = (keyring.current_id, known.origin, known.time_us, known.version)
            if key not in rekeyed:
                rekeyed[key] = len(stamps)
                stamps.append(Stamp(*key))
            marks[slot] = rekeyed[key]
        hashes[slot] = value
    return Seen(FieldStates(tuple(hashes), bytes(marks), tuple(stamps)), tuple(changed))


def blank(slots: int, known_empty: Stamp | None = None, keyring: Keyring | None = None) -> FieldStates:
    """States of ``slots`` unknown slots; with ``known_empty``, of slots known to be empty: what appears in them is a change."""
    if known_empty is None or keyring is None:
        return FieldStates((0,) * slots, bytes([_NEVER]) * slots, ())
    empty = keyring.hashes([""] * slots)
    assert empty is not None
    return FieldStates(tuple(empty), bytes(slots), (known_empty,))


def empty_in(keyring: Keyring, seen: Seen) -> frozenset[int]:
    """Of the slots that changed, those that are empty now."""
    (empty,) = keyring.hashes([""]) or (0,)
    return frozenset(slot for slot in seen.changed if seen.states.hashes[slot] == empty)


def emptied(states: FieldStates, slots: Collection[int], stamp: Stamp, keyring: Keyring) -> FieldStates:
    """The states with these slots known to be empty since ``stamp``: what is found in them later is a change."""
    if not slots:
        return states
    (empty,) = keyring.hashes([""]) or (0,)
    fresh = len(states.stamps)
    return FieldStates(
        tuple(empty if slot in slots else value for slot, value in enumerate(states.hashes)),
        bytes(fresh if slot in slots else mark for slot, mark in enumerate(states.marks)),
        (*states.stamps, stamp),
    )


_HEIRS = msgspec.msgpack.Decoder(tuple[tuple[str, str], ...])


def pack_heirs(heirs: Sequence[tuple[str, str]]) -> bytes:
    """(type, id) of the records that a merged or converted one became, as a binding keeps them."""
    return msgspec.msgpack.encode(tuple(heirs)) if heirs else b""


def heirs_of(binding: Binding | None) -> tuple[tuple[str, str], ...]:
    """What the record of a binding became; () while it is itself."""
    return _HEIRS.decode(binding.heirs) if binding is not None and binding.heirs else ()
