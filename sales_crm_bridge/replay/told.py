"""Facts as a test wants them: typed, findable, and with a readable difference where they are not what was expected."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from sales_crm_bridge import contract

if TYPE_CHECKING:
    from google.protobuf.message import Message

NEAREST = 3
"""Facts that a failing expectation shows."""


@dataclass(frozen=True, slots=True)
class Told:
    """One fact, as it stands on the topic: ``key``, ``value`` and ``headers`` of its Kafka record, and ``envelope``, read."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    envelope: contract.SalesIntegrationFact

    @property
    def kind(self) -> str:
        """The variant it is: ``crm_lead_observed``."""
        return self.envelope.WhichOneof("fact") or ""

    @property
    def body(self) -> Message:
        """The variant's message."""
        found: Message = getattr(self.envelope, self.kind)
        return found

    @property
    def lead_id(self) -> str:
        """The aggregate that it is about."""
        return self.envelope.subject.aggregate_id

    @property
    def values(self) -> dict[str, Any]:
        """What the variant says, by dotted names: ``{"lead.email": "a@b.example"}``; lists stay lists."""
        told = contract.shown(self.value, fact=True) or {}
        return dict(_leaves(told.get(self.kind, {}), ""))

    def __str__(self) -> str:
        values = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.values.items())
        return f"{self.kind} about {self.lead_id}: {values}"


class Facts(Sequence[Told]):
    """Facts in the order in which they were published."""

    def __init__(self, facts: Sequence[Told]) -> None:
        self._facts = tuple(facts)

    @classmethod
    def of_values(cls, values: Sequence[bytes]) -> Facts:
        """Those of packed facts, as the outbox holds them."""
        found = []
        for packed in values:
            record = contract.outgoing(packed)
            envelope = contract.SalesIntegrationFact.FromString(record.value)
            found.append(Told(record.key, record.value, tuple(record.headers), envelope))
        return cls(found)

    @overload
    def __getitem__(self, index: int) -> Told: ...
    @overload
    def __getitem__(self, index: slice) -> Facts: ...
    def __getitem__(self, index: int | slice) -> Told | Facts:
        return Facts(self._facts[index]) if isinstance(index, slice) else self._facts[index]

    def __len__(self) -> int:
        return len(self._facts)

    def __repr__(self) -> str:
        return f"<{len(self)} facts: {_counted(self.kinds)}>"

    @property
    def kinds(self) -> Counter[str]:
        """How many there are of each kind."""
        return Counter(one.kind for one in self._facts)

    def of(self, kind: str) -> Facts:
        """Those of one kind."""
        return Facts([one for one in self._facts if one.kind == kind])

    def about(self, lead_id: str) -> Facts:
        """Those about one lead."""
        return Facts([one for one in self._facts if one.lead_id == lead_id])

    def one(self, kind: str, **values: Any) -> Told:
        """The one fact of this kind that says these values: ``one("crm_lead_observed", lead__email="ada@sales.example")``.

        A name's dots are two underscores. Raises ``AssertionError`` with the nearest facts and how they differ.
        """
        wanted = {name.replace("__", "."): value for name, value in values.items()}
        differences = [(one, _differing(one.values, wanted)) for one in self.of(kind)]
        found = [one for one, differs in differences if not differs]
        if len(found) == 1:
            return found[0]
        if found:
            raise AssertionError(
                f"{len(found)} facts are {_wanted(kind, wanted)}, and one was expected:\n{_listed(found)}"
            )
        if not differences:
            raise AssertionError(f"no fact is {kind}; told were {_counted(self.kinds)}")
        nearest = sorted(differences, key=lambda pair: len(pair[1]))[:NEAREST]
        shown = "\n".join(f"  about {one.lead_id}\n    " + "\n    ".join(differs) for one, differs in nearest)
        raise AssertionError(f"no fact is {_wanted(kind, wanted)}; the nearest of {len(differences)}:\n{shown}")

    def assert_kinds(self, **counts: int) -> None:
        """There are so many of these kinds, and none of any other. Raises ``AssertionError`` that says which are not."""
        names = sorted({*counts, *self.kinds})
        wrong = [
            f"  {name}: expected {counts.get(name, 0)}, told {self.kinds[name]}"
            for name in names
            if counts.get(name, 0) != self.kinds[name]
        ]
        if wrong:
            raise AssertionError("other facts were told than expected:\n" + "\n".join(wrong))


def _leaves(value: Any, where: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{where}.{key}" if where else key)]
    return [(where, value)]


def _differing(told: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [
        f"{name}: expected {value!r}, told {told.get(name)!r}"
        for name, value in wanted.items()
        if told.get(name) != value and str(told.get(name)) != str(value)
    ]


def _wanted(kind: str, wanted: dict[str, Any]) -> str:
    values = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
    return f"{kind} with {values}" if values else kind


def _listed(facts: Sequence[Told]) -> str:
    return "\n".join(f"  {one}" for one in facts[:NEAREST])


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(kinds.items())) or "none"
