"""Tests of values and answers, compiled once: equality, membership, containment. None takes longer than the value is long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sales_crm_adapters.rest.notions import Test
from sales_crm_adapters.rest.paths import MISSING, Path, every, path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sales_crm_adapters.rest.notions import AnyTest, Condition, Tests

TEXT_MAX = 2_000


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; ``true`` is no ``1``."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


class Check:
    """One test of the values that a path finds: it holds if one of them passes; ``not`` alone, if none of them is refused."""

    def __init__(self, test: AnyTest) -> None:
        given = test if isinstance(test, Test) else None
        self._equal: Sequence[Any] | None = None
        if given is None:
            self._equal = test if isinstance(test, list) else [test]
        has = given.has if given is not None else None
        self._has = [text.casefold() for text in ([has] if isinstance(has, str) else has or [])]
        self._present = given.present if given is not None else None
        refused = given.not_ if given is not None else None
        self._not = refused if isinstance(refused, list) else [] if refused is None else [refused]
        # ``present: false``, and ``not`` alone, hold of nothing too.
        self.needs_value = self._present is not False and bool(self._equal is not None or self._has or self._present)

    def holds(self, values: Iterable[Any]) -> bool:
        """Whether one of ``values`` passes; with ``present: false``, whether none is there."""
        there = [value for value in values if value is not MISSING]
        if self._present is False:
            return all(value is None for value in there)
        if not self.needs_value:
            return not any(same(value, one) for value in there for one in self._not)
        return any(self._passes(value) for value in there)

    def _passes(self, value: Any) -> bool:
        if self._equal is not None:
            return any(same(value, one) for one in self._equal)
        if self._present and value is None:
            return False
        if self._has:
            text = value[:TEXT_MAX].casefold() if isinstance(value, str) else ""
            if not any(part in text for part in self._has):
                return False
        return not any(same(value, one) for one in self._not)


class Checks:
    """Tests of what stands at paths of one value; all must hold, and none at all never does."""

    def __init__(self, tests: Tests | None) -> None:
        self._checks = [(path_of(path), Check(test)) for path, test in (tests or {}).items()]
        self.needed: tuple[Path, ...] = tuple(path for path, check in self._checks if check.needs_value)
        """Paths that must lead to something, or the whole does not hold."""

    def __bool__(self) -> bool:
        return bool(self._checks)

    def hold(self, value: Any) -> bool:
        """Whether all hold for a decoded value."""
        return bool(self._checks) and all(check.holds(every(value, path)) for path, check in self._checks)


class Matcher:
    """A condition on an answer, or on one member of a batch answer."""

    def __init__(self, condition: Condition) -> None:
        told = condition.status
        self._status = told if isinstance(told, list) else [] if told is None else [told]
        self._body = Checks(condition.body)
        self._headers = [(name.lower(), Check(test)) for name, test in (condition.header or {}).items()]
        self.needed = self._body.needed
        """Paths of the body that must lead to something, or the condition does not hold."""

    def may_hold(self, status: int) -> bool:
        """Whether the status alone does not rule it out."""
        return not self._status or any(_is_status(status, one) for one in self._status)

    def suits(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether all that it says of status and headers is so: the body decides then, if it says something of that."""
        return self.may_hold(status) and all(check.holds([headers.get(name, MISSING)]) for name, check in self._headers)

    def holds(self, status: int, headers: Mapping[str, str], body: Any) -> bool:
        """Whether everything that the condition says is so."""
        return self.suits(status, headers) and (not self._body or self._body.hold(body))


def _is_status(status: int, told: int | str) -> bool:
    if isinstance(told, int):
        return status == told
    return told == str(status) or (told[1:].lower() == "xx" and told[:1] == str(status)[:1])


def is_status_word(told: int | str) -> bool:
    """Whether this names a status, or a class of them."""
    text = str(told).lower()
    return len(text) == 3 and text[0] in "12345" and (text[1:].isdecimal() or text[1:] == "xx")  # noqa: PLR2004
