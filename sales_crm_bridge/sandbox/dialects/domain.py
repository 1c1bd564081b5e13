"""Search domains in Polish notation: ``["|", ["a", "=", 1], "&", ["b", ">", 2], ["c", "in", [3, 4]]]``.

Terms side by side are joined by *and*.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TERMS_MAX = 500

_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, wanted: value in wanted,
    "not in": lambda value, wanted: value not in wanted,
}
_ORDERS = (operator.lt, operator.le, operator.gt, operator.ge)
_TAKES = {"&": 2, "|": 2, "!": 1}


class BadDomain(Exception):
    """A domain that is none; the text says why."""


class Domain:
    """A compiled domain. Raises ``BadDomain`` for what is none, or names a field that ``known`` lacks."""

    def __init__(self, domain: Any, known: Mapping[str, Any]) -> None:
        if not isinstance(domain, list) or len(domain) > TERMS_MAX:
            raise BadDomain("a domain is a list of terms")
        self._terms = [term if isinstance(term, str) else self._leaf(term, known) for term in domain]
        there = 0
        for term in reversed(self._terms):
            wanted = _TAKES.get(term, 0) if isinstance(term, str) else 0
            if isinstance(term, str) and not wanted:
                raise BadDomain(f"unknown operator {term!r}")
            if there < wanted:
                raise BadDomain(f"{term!r} lacks a term")
            there += 1 - wanted
        self.fields = {term[0] for term in self._terms if not isinstance(term, str)}

    @staticmethod
    def _leaf(term: Any, known: Mapping[str, Any]) -> tuple[str, Callable[[Any, Any], bool], Any]:
        if not isinstance(term, list) or len(term) != 3 or term[1] not in _RELATIONS:  # noqa: PLR2004 - field, relation, value
            raise BadDomain(f"not a term: {term!r}")
        if term[0] not in known:
            raise BadDomain(f"unknown field {term[0]!r}")
        if term[1].endswith("in") and not isinstance(term[2], list):
            raise BadDomain(f"{term[1]!r} wants a list")
        return term[0], _RELATIONS[term[1]], term[2]

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a record is in the domain."""
        stack: list[bool] = []
        for term in reversed(self._terms):
            if isinstance(term, str):
                first = stack.pop()
                stack.append(not first if term == "!" else _joined(term, first, stack.pop()))
                continue
            name, relation, wanted = term
            value = row[name]
            if relation in _ORDERS and (type(value) is bool or type(value) is not type(wanted)):
                stack.append(False)  # an empty field is neither before nor after anything
            else:
                stack.append(relation(value, wanted))
        return all(stack)


def _joined(term: str, one: bool, other: bool) -> bool:  # noqa: FBT001 - two truths
    return (one and other) if term == "&" else (one or other)
