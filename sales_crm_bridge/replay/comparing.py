"""What differs between two lists of facts: for a replay that should tell the same, and for a mapping that is about to change."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sales_crm_bridge.replay.bundle import Fact

EXAMPLES = 3
"""Facts that are shown of each field that differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One value of one fact that differs. ``before``, ``after`` None: it is not there."""

    key: str
    message_id: str
    kind: str
    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}, {self.kind}, {self.field}: {_shown(self.before)}, now {_shown(self.after)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How two runs of one recording differ. ``lost``: facts that are told no more; ``new``: that were not told before.

    ``moved``: partition keys that tell the same facts in another order.
    """

    facts: int
    changes: tuple[Change, ...]
    lost: tuple[Fact, ...]
    new: tuple[Fact, ...]
    moved: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.changes or self.lost or self.new or self.moved)

    def first(self) -> str:
        """The first difference, in words; "" where there is none."""
        if self.changes:
            return str(self.changes[0])
        if self.lost:
            return f"{self.lost[0].key} told {kind_of(self.lost[0])} ({self.lost[0].message_id}), and tells it no more"
        if self.new:
            return f"{self.new[0].key} tells {kind_of(self.new[0])} ({self.new[0].message_id}), which it did not"
        return f"{self.moved[0]} tells the same facts in another order" if self.moved else ""

    def fields(self) -> dict[str, list[Change]]:
        """The changes by field, those of the most facts first."""
        found: dict[str, list[Change]] = defaultdict(list)
        for one in self.changes:
            found[one.field].append(one)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))

    @property
    def leads(self) -> int:
        """How many partition keys differ in anything."""
        altered = [one.key for one in self.changes] + [one.key for one in (*self.lost, *self.new)]
        return len(dict.fromkeys([*altered, *self.moved]))

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "same": self.same,
            "facts": self.facts,
            "altered_keys": self.leads,
            "first": self.first(),
            "fields": {
                name: {
                    "facts": len(changes),
                    "examples": [
                        {"key": one.key, "message_id": one.message_id, "before": one.before, "after": one.after}
                        for one in changes[:EXAMPLES]
                    ],
                }
                for name, changes in self.fields().items()
            },
            "lost": _counted(self.lost),
            "new": _counted(self.new),
            "moved": list(self.moved),
        }


def _counted(facts: Sequence[Fact]) -> dict[str, int]:
    return dict(sorted(Counter(map(kind_of, facts)).items()))


def kind_of(fact: Fact) -> str:
    """The variant that a fact is."""
    return next((name for name in fact.fact if name not in ("meta", "subject")), "")


def compare(before: Sequence[Fact], after: Sequence[Fact]) -> Comparison:
    """How ``after`` differs from ``before``; facts are told apart by their message ids."""
    old, new = ({one.message_id: one for one in facts} for facts in (before, after))
    changes = [
        change
        for name, one in old.items()
        if name in new and new[name].sha256 != one.sha256
        for change in _changes(one, new[name])
    ]
    moved = [key for key, names in _orders(before, new).items() if names != _orders(after, old).get(key, names)]
    return Comparison(
        facts=len(before),
        changes=tuple(changes),
        lost=tuple(one for name, one in old.items() if name not in new),
        new=tuple(one for name, one in new.items() if name not in old),
        moved=tuple(moved),
    )


def _orders(facts: Sequence[Fact], others: dict[str, Fact]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for one in facts:
        if one.message_id in others:
            found[one.key].append(one.message_id)
    return found


def _changes(before: Fact, after: Fact) -> Iterator[Change]:
    one, other = dict(_leaves(before.fact, "")), dict(_leaves(after.fact, ""))
    names = [*one, *(name for name in other if name not in one)]
    found = [name for name in names if one.get(name) != other.get(name)]
    for name in found or ["bytes"]:
        values = (one.get(name), other.get(name)) if found else (before.sha256, after.sha256)
        kind = kind_of(after)
        field = name.removeprefix(f"{kind}.")
        yield Change(
            key=before.key, message_id=before.message_id, kind=kind, field=field, before=values[0], after=values[1]
        )


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{where}.{key}" if where else key)
    else:
        yield where, value


def _shown(value: Any, most: int = 80) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 1]}…"
