"""The search index: what it has heard of so far, and how it answers a query without looking at everything."""

from __future__ import annotations

import heapq
import re
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

import msgspec

from sales_crm_bridge.sandbox.hubspot.refusals import Refusal, invalid
from sales_crm_bridge.sandbox.hubspot.times import moment_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sales_crm_bridge.sandbox.hubspot.definitions import Definition
    from sales_crm_bridge.sandbox.hubspot.kinds import Kind
    from sales_crm_bridge.sandbox.hubspot.records import Record, Version

GROUPS_MAX = 5
FILTERS_MAX = 6
FILTERS_IN_ALL_MAX = 18
BODY_MAX = 3000
RESULTS_MAX = 10_000
LIMIT_MAX = 200
LIMIT_DEFAULT = 10

_OPERATORS = frozenset(
    {
        *("EQ", "NEQ", "LT", "LTE", "GT", "GTE", "BETWEEN", "IN", "NOT_IN"),
        *("HAS_PROPERTY", "NOT_HAS_PROPERTY", "CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN"),
    },
)
_TOKENS = re.compile(r"[\w*]+")
_KEPT = 16
"""Result lists remembered, so that the pages of one walk are cut from one list."""

_ENDLESS = 1 << 62

_Item = TypeVar("_Item", int, tuple[int, int])
_Value = TypeVar("_Value", float, str)


class Filter(msgspec.Struct, frozen=True, rename="camel"):
    """One condition; all of a group must hold."""

    property_name: str
    operator: str
    value: str | int | float | bool | None = None
    high_value: str | int | float | bool | None = None
    values: tuple[str | int | float | bool, ...] | None = None


class FilterGroup(msgspec.Struct, frozen=True, rename="camel"):
    """Conditions that must hold together."""

    filters: tuple[Filter, ...]


class Sort(msgspec.Struct, frozen=True, rename="camel"):
    """What the results are ordered by."""

    property_name: str
    direction: str = "ASCENDING"


class Query(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a search; one of the groups must hold, and every word of ``query`` must occur."""

    filter_groups: tuple[FilterGroup, ...] = ()
    sorts: tuple[str | Sort, ...] = ()
    properties: tuple[str, ...] = ()
    query: str = ""
    limit: int = LIMIT_DEFAULT
    after: str | int | None = None

    @property
    def offset(self) -> int:
        """Where the page begins: ``after`` is a count, not a cursor. Raises ``Refusal`` if it is no number."""
        if self.after is None or self.after == "":
            return 0
        try:
            return int(self.after)
        except ValueError:
            raise invalid(f"after must be a number: {self.after}") from None


def checked(query: Query) -> Query:
    """Give the query back if it keeps within the limits of the search guide; raises ``Refusal`` if not."""
    groups = query.filter_groups
    if len(groups) > GROUPS_MAX:
        raise invalid(f"Too many filterGroups: {len(groups)}, at most {GROUPS_MAX}.")
    if any(len(group.filters) > FILTERS_MAX for group in groups):
        raise invalid(f"A filterGroup may have at most {FILTERS_MAX} filters.")
    if sum(len(group.filters) for group in groups) > FILTERS_IN_ALL_MAX:
        raise invalid(f"At most {FILTERS_IN_ALL_MAX} filters in all.")
    if len(query.sorts) > 1:
        raise invalid("Only one sort is allowed.")
    if not 0 < query.limit <= LIMIT_MAX:
        raise invalid(f"limit must be between 1 and {LIMIT_MAX}: {query.limit}")
    if not 0 <= query.offset <= RESULTS_MAX - query.limit:
        raise Refusal(400, "VALIDATION_ERROR", f"Only the first {RESULTS_MAX} results of a query can be read.")
    return query


class SearchIndex:
    """What search knows of one object type. A write becomes visible when its lag is over; a deletion at once."""

    def __init__(self, kind: Kind, known: Mapping[str, Definition]) -> None:
        self._kind = kind
        self._known = known
        self._documents: dict[int, tuple[Record, Version]] = {}
        self._ids: list[int] = []
        self._modified: list[tuple[int, int]] = []
        self._waiting: list[tuple[int, int, int, Record, Version]] = []
        self._gone: dict[int, int] = {}
        self._edition = 0
        self._lists: OrderedDict[object, tuple[int, list[int]]] = OrderedDict()

    def put(self, record: Record, visible_ms: int, now_ms: int) -> None:
        """Hear of a record's last version, to be shown from ``visible_ms`` on."""
        if visible_ms <= now_ms:
            self._show(record, record.now)
        else:
            heapq.heappush(self._waiting, (visible_ms, record.now.seq, record.id, record, record.now))

    def put_many(self, records: Iterable[Record]) -> None:
        """Show many new records at once."""
        for record in records:
            self._documents[record.id] = (record, record.now)
            self._ids.append(record.id)
            self._modified.append((record.now.modified_ms, record.id))
        self._ids.sort()
        self._modified.sort()
        self._edition += 1

    def drop(self, record: Record) -> None:
        """Show a record no more, nor any of the versions that are still on their way."""
        self._gone[record.id] = record.now.seq
        known = self._documents.pop(record.id, None)
        if known is not None:
            _remove(self._ids, record.id)
            _remove(self._modified, (known[1].modified_ms, record.id))
            self._edition += 1

    def settle(self, now_ms: int) -> None:
        """Show what has become visible by now."""
        while self._waiting and self._waiting[0][0] <= now_ms:
            _, _, _, record, version = heapq.heappop(self._waiting)
            self._show(record, version)

    def find(self, query: Query) -> tuple[int, list[tuple[Record, Version]]]:
        """How many records match, and those of the page."""
        sort = query.sorts[0] if query.sorts else Sort(self._kind.created)
        if isinstance(sort, str):
            sort = Sort(sort.removeprefix("-"), "DESCENDING" if sort.startswith("-") else "ASCENDING")
        groups, beyond = query.filter_groups, -1
        if len(groups) == 1 and sort == Sort("hs_object_id"):
            groups, beyond = _without_id_bound(groups[0])
        key = (groups, query.query, sort)
        edition, ids = self._lists.get(key, (-1, []))
        if edition != self._edition:
            ids = self._matching(groups, query.query)
            self._order(ids, sort)
            self._lists[key] = (self._edition, ids)
        self._lists.move_to_end(key)
        if len(self._lists) > _KEPT:
            self._lists.popitem(last=False)
        start = bisect_right(ids, beyond) if beyond >= 0 else 0
        page = ids[start + query.offset : start + query.offset + query.limit]
        return len(ids) - start, [self._documents[each] for each in page]

    def _show(self, record: Record, version: Version) -> None:
        if version.seq <= self._gone.get(record.id, -1):
            return
        known = self._documents.get(record.id)
        if known is None:
            insort(self._ids, record.id)
        elif known[1].seq >= version.seq:
            return
        else:
            _remove(self._modified, (known[1].modified_ms, record.id))
        insort(self._modified, (version.modified_ms, record.id))
        self._documents[record.id] = (record, version)
        self._edition += 1

    def _matching(self, groups: tuple[FilterGroup, ...], words: str) -> list[int]:
        if not groups:
            found = list(self._ids)
        else:
            found = []
            seen: set[int] = set()
            for group in groups:
                for each in self._of_group(group):
                    if each not in seen:
                        seen.add(each)
                        found.append(each)
        if words:
            wanted = _tokens(words)
            searched = self._kind.searched
            found = [
                each
                for each in found
                if _contains(
                    _tokens(" ".join(self._documents[each][1].props.get(name, "") for name in searched)), wanted
                )
            ]
        return found

    def _of_group(self, group: FilterGroup) -> list[int]:
        low, high = -_ENDLESS, _ENDLESS
        tests: list[Callable[[Record, Version], bool]] = []
        for each in group.filters:
            bounds = _bounds(each) if each.property_name == self._kind.modified else None
            if bounds is not None:
                low, high = max(low, bounds[0]), min(high, bounds[1])
            else:
                tests.append(_test(each, self._known))
        if low > -_ENDLESS or high < _ENDLESS:
            start = bisect_left(self._modified, (low, -1))
            candidates = [each[1] for each in self._modified[start : bisect_left(self._modified, (high, _ENDLESS))]]
        else:
            candidates = list(self._ids)
        for test in tests:
            candidates = [each for each in candidates if test(*self._documents[each])]
        return candidates

    def _order(self, ids: list[int], sort: Sort) -> None:
        """Sort in place. Ties come in an order that is steady but has nothing to do with ids, and empty values last."""
        name, documents = sort.property_name, self._documents
        if name == "hs_object_id":
            ids.sort(reverse=sort.direction == "DESCENDING")
            return
        number = _numeric(self._known.get(name))
        ids.sort(key=_scattered)
        if name == self._kind.modified:
            ids.sort(key=lambda each: documents[each][1].modified_ms, reverse=sort.direction == "DESCENDING")
            return
        if name == self._kind.created:
            ids.sort(key=lambda each: documents[each][0].created_ms, reverse=sort.direction == "DESCENDING")
            return
        empty = [each for each in ids if name not in documents[each][1].props]
        filled = [each for each in ids if name in documents[each][1].props]
        filled.sort(
            key=(lambda each: number(documents[each][1].props[name]))
            if number
            else (lambda each: documents[each][1].props[name].lower()),
            reverse=sort.direction == "DESCENDING",
        )
        ids[:] = [*filled, *empty]


def _without_id_bound(group: FilterGroup) -> tuple[tuple[FilterGroup, ...], int]:
    """Take ``hs_object_id GT n`` out of a group: in a list sorted by id it is a place, so one list serves all its pages."""
    rest, beyond = [], -1
    for each in group.filters:
        if each.property_name == "hs_object_id" and each.operator == "GT" and str(each.value).isdecimal():
            beyond = max(beyond, int(str(each.value)))
        else:
            rest.append(each)
    return ((FilterGroup(tuple(rest)),) if rest else ()), beyond


def _scattered(record_id: int) -> int:
    return record_id * 2_654_435_761 % 4_294_967_296


def _remove(ordered: list[_Item], item: _Item) -> None:
    place = bisect_left(ordered, item)
    if place < len(ordered) and ordered[place] == item:
        del ordered[place]


def _numeric(definition: Definition | None) -> Callable[[str], float] | None:
    """How the values of a property are compared, if not as text."""
    if definition is None:
        return None
    if definition.type == "number":
        return float
    if definition.type in {"date", "datetime"}:
        return lambda text: moment_ms(text) or 0
    return None


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _needed(each: Filter, value: object) -> str:
    if value is None:
        raise invalid(f"{each.operator} on {each.property_name} needs a value.")
    return _text(value)


def _bounds(each: Filter) -> tuple[int, int] | None:
    """Turn a condition on a time into the least and greatest millisecond that meet it; None if it is no such interval."""
    if each.operator not in {"EQ", "LT", "LTE", "GT", "GTE", "BETWEEN"}:
        return None
    value = _moment(each, each.value)
    match each.operator:
        case "EQ":
            return value, value
        case "LT":
            return -_ENDLESS, value - 1
        case "LTE":
            return -_ENDLESS, value
        case "GT":
            return value + 1, _ENDLESS
        case "GTE":
            return value, _ENDLESS
        case _:
            return value, _moment(each, each.high_value)


def _moment(each: Filter, value: object) -> int:
    text = _needed(each, value)
    ms = moment_ms(text)
    if ms is None:
        raise invalid(f"{text} is no time that {each.property_name} could be compared with.")
    return ms


def _tokens(text: str) -> list[str]:
    return _TOKENS.findall(text.lower())


def _contains(tokens: list[str], wanted: list[str]) -> bool:
    """Whether every wanted word is among the tokens; an asterisk stands for any letters."""
    return all(
        any(re.fullmatch(word.replace("*", ".*"), token) for token in tokens) if "*" in word else word in tokens
        for word in wanted
    )


def _test(each: Filter, known: Mapping[str, Definition]) -> Callable[[Record, Version], bool]:
    """Compile one condition. A property that is not defined matches nothing: search does not complain about it."""
    name, operator = each.property_name, each.operator
    if operator not in _OPERATORS:
        raise invalid(f"{operator} is no operator.")
    definition = known.get(name)
    if definition is None:
        return lambda _record, _version: False
    if operator == "HAS_PROPERTY":
        return lambda _record, version: name in version.props
    if operator == "NOT_HAS_PROPERTY":
        return lambda _record, version: name not in version.props
    if operator in {"CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN"}:
        wanted, contained = _tokens(_needed(each, each.value)), operator == "CONTAINS_TOKEN"
        return lambda _record, version: _contains(_tokens(version.props.get(name, "")), wanted) is contained
    number = _numeric(definition)
    if number is not None:
        return _compare_numbers(each, name, number, is_time=definition.type != "number")
    return _compare_text(each, name, str.lower if definition.type == "string" else str)


def _compare_numbers(
    each: Filter, name: str, number: Callable[[str], float], *, is_time: bool
) -> Callable[[Record, Version], bool]:
    def read(value: object) -> float:
        if is_time:
            return _moment(each, value)
        try:
            return float(_needed(each, value))
        except ValueError:
            raise invalid(f"{value} is no number that {name} could be compared with.") from None

    if each.operator in {"IN", "NOT_IN"}:
        among = {read(value) for value in each.values or ()}
        wanted = each.operator == "IN"
        return lambda _record, version: ((n := version.props.get(name)) is not None and number(n) in among) is wanted
    return _compare(
        each, name, number, read(each.value), each.high_value if each.high_value is None else read(each.high_value)
    )


def _compare_text(each: Filter, name: str, fold: Callable[[str], str]) -> Callable[[Record, Version], bool]:
    """Free text is indexed in lower case; IN and NOT_IN take their values as they are: they must be lower-case (search guide)."""
    if each.operator in {"IN", "NOT_IN"}:
        among, wanted = {_text(value) for value in each.values or ()}, each.operator == "IN"
        return lambda _record, version: ((t := version.props.get(name)) is not None and fold(t) in among) is wanted
    high = each.high_value if each.high_value is None else fold(_text(each.high_value))
    return _compare(each, name, fold, fold(_needed(each, each.value)), high)


def _compare(
    each: Filter, name: str, read: Callable[[str], _Value], value: _Value, high: _Value | None
) -> Callable[[Record, Version], bool]:
    match each.operator:
        case "EQ":
            return lambda _record, version: (v := version.props.get(name)) is not None and read(v) == value
        case "NEQ":
            return lambda _record, version: (v := version.props.get(name)) is None or read(v) != value
        case "LT":
            return lambda _record, version: (v := version.props.get(name)) is not None and read(v) < value
        case "LTE":
            return lambda _record, version: (v := version.props.get(name)) is not None and read(v) <= value
        case "GT":
            return lambda _record, version: (v := version.props.get(name)) is not None and read(v) > value
        case "GTE":
            return lambda _record, version: (v := version.props.get(name)) is not None and read(v) >= value
        case _:
            if high is None:
                raise invalid(f"BETWEEN on {name} needs a highValue.")
            return lambda _record, version: (v := version.props.get(name)) is not None and value <= read(v) <= high
