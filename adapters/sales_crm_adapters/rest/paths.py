"""Where something stands in an answer: paths, compiled once, and shapes that decode only what is wanted.

A path is a text such as ``data.items.0.id``, or a list of steps where a name holds a dot. A step names a member of a mapping, or
is the number of a member of a list; ``*`` means every member of either, ``@keys`` (the last step) the names of a mapping, and no
step at all the whole. A path that leads nowhere finds nothing; it is never an error. What it can find is bounded by the answer.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sales_crm_adapters.rest.notions import Places, Steps

Path = tuple[str, ...]

EVERY, KEYS = "*", "@keys"
STEPS_MAX = 20
MISSING: Any = UNSET
"""What a path that leads nowhere finds."""


class BadPath(ValueError):
    """A text that is no path; says why."""


def path_of(steps: Steps) -> Path:
    """The path that a declaration says. Raises ``BadPath``."""
    if isinstance(steps, str):
        found: Path = tuple(steps.split(".")) if steps else ()
    else:
        found = tuple(str(step) for step in steps)
    if not all(found):
        raise BadPath("a step is empty")
    if len(found) > STEPS_MAX:
        raise BadPath(f"more than {STEPS_MAX} steps")
    if KEYS in found[:-1]:
        raise BadPath(f"{KEYS} is not the last step")
    return found


def paths_of(places: Places | None) -> tuple[Path, ...]:
    """One path or several, as a declaration says them. Raises ``BadPath``."""
    if places is None:
        return ()
    return tuple(map(path_of, places)) if isinstance(places, list) else (path_of(places),)


def is_plain(path: Path) -> bool:
    """Whether it names members of mappings alone, so that something can be put there."""
    return not any(step in (EVERY, KEYS) or step.isdecimal() for step in path)


def every(value: Any, path: Path) -> Iterator[Any]:
    """All that ``path`` finds in a decoded value, in its order."""
    for at, step in enumerate(path):
        if step == EVERY:
            members: Iterable[Any] = ()
            if isinstance(value, dict | list):
                members = value.values() if isinstance(value, dict) else value
            for member in members:
                yield from every(member, path[at + 1 :])
            return
        if step == KEYS:
            if isinstance(value, dict):
                yield from value
            return
        value = _member(value, step)
        if value is MISSING:
            return
    yield value


def one(value: Any, path: Path) -> Any:
    """The first that ``path`` finds, or ``MISSING``."""
    return next(every(value, path), MISSING)


def _member(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step, MISSING)
    if isinstance(value, list) and step.isdecimal() and len(step) < 7 and int(step) < len(value):  # noqa: PLR2004 - no such list is longer
        return value[int(step)]
    return MISSING


def put(target: dict[str, Any], path: Path, value: Any) -> None:
    """Set ``value`` at a plain path, making the mappings on the way."""
    for step in path[:-1]:
        inner = target.setdefault(step, {})
        if not isinstance(inner, dict):
            inner = target[step] = {}
        target = inner
    target[path[-1]] = value


# --- shapes -----------------------------------------------------------------------------------------------------------


class _Node:
    """A place in an answer: what is wanted of it, and of what stands below it."""

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.whole = False
        self.rows = False


class Shape:
    """Decodes of a JSON text what some paths find, and passes over the rest without making objects of it.

    ``wanted``: name → path. ``rows``: names whose path leads to a list of records, which are left as they are (``msgspec.Raw``).
    A path may lead anywhere in a text of another shape: then it finds nothing.
    """

    def __init__(self, wanted: Mapping[str, Path], rows: Sequence[str] = ()) -> None:
        root = _Node()
        heads: dict[str, int] = {}
        for name, path in wanted.items():
            head = next((at for at, step in enumerate(path) if not is_plain((step,))), len(path))
            node = root
            for step in path[:head]:
                node = node.below.setdefault(step, _Node())
            node.rows |= name in rows
            node.whole |= name not in rows
            heads[name] = head
        types: dict[int, type[msgspec.Struct]] = {}
        decoder = msgspec.json.Decoder(_type_of(root, types))
        self._decode: Callable[[bytes | msgspec.Raw], Any] = decoder.decode
        getters = {name: _getter(root, path[: heads[name]], path, types) for name, path in wanted.items()}
        self._getters = tuple(getters.items())
        self._root, self._types = root, types

    def read(self, text: bytes | msgspec.Raw) -> dict[str, Any]:
        """What each path finds, ``MISSING`` included. Raises ``msgspec.MsgspecError`` or ``UnicodeDecodeError`` for no JSON."""
        decoded = self._decode(text)
        return {name: getter(decoded) for name, getter in self._getters}

    def reader(self, name: str) -> Callable[[Any], Any]:
        """The way to what one path finds in a decoded text (see ``decoded``)."""
        return dict(self._getters)[name]

    def bundle(self, wanted: Mapping[str, Path]) -> list[Bundle]:
        """What paths find that end in members of one structure, together; what no structure holds is left out."""
        together: dict[Path, dict[str, str]] = {}
        for name, path in wanted.items():
            node = _below(self._root, path[:-1]) if path else None
            if node is not None and id(node) in self._types and path[-1] in node.below and node.below[path[-1]].whole:
                together.setdefault(path[:-1], {})[name] = f"f{list(node.below).index(path[-1])}"
        return [Bundle(self._chain(path), members) for path, members in together.items()]

    def _chain(self, path: Path) -> tuple[tuple[type[msgspec.Struct], str], ...]:
        """The structures that lead to the one at ``path``, each with the attribute to go on by; "" at the last."""
        node, chain = self._root, []
        for step in path:
            chain.append((self._types[id(node)], f"f{list(node.below).index(step)}"))
            node = node.below[step]
        return (*chain, (self._types[id(node)], ""))

    def decoded(self, text: bytes | msgspec.Raw) -> Any:
        """The text, decoded as far as it is wanted."""
        return self._decode(text)


class Bundle:
    """Some members of one structure: their ``names``, and their values at once.

    The twin of as many readers, for the many fields of a record: they are taken without a call for each.
    """

    def __init__(self, chain: tuple[tuple[type[msgspec.Struct], str], ...], members: Mapping[str, str]) -> None:
        self.names = tuple(members)
        self._way = chain[:-1]
        self._kind = chain[-1][0]
        attributes = tuple(members.values())
        # With one name alone an attrgetter gives no tuple.
        self._values: Callable[[Any], tuple[Any, ...]] = attrgetter(*attributes, attributes[0])

    def values(self, decoded: Any) -> tuple[Any, ...]:
        """The values in the order of ``names`` (``MISSING`` where there is none), and one more; () where another thing stands."""
        for kind, name in self._way:
            if type(decoded) is not kind:
                return ()
            decoded = getattr(decoded, name)
        return self._values(decoded) if type(decoded) is self._kind else ()


def _below(node: _Node, path: Path) -> _Node | None:
    for step in path:
        if step not in node.below or node.whole:
            return None
        node = node.below[step]
    return None if node.whole else node


def _type_of(node: _Node, types: dict[int, type[msgspec.Struct]]) -> Any:
    """The type to decode ``node`` as: a structure where names are wanted, whatever else stands there."""
    if node.whole:
        return Any
    if node.rows:
        return list[msgspec.Raw] | dict[str, Any] | str | int | float | bool | None
    names = list(node.below)
    fields = [(f"f{at}", _type_of(node.below[name], types) | UnsetType, UNSET) if not node.below[name].whole
              else (f"f{at}", Any, UNSET) for at, name in enumerate(names)]  # fmt: skip
    made = msgspec.defstruct("Shape", fields, rename={f"f{at}": name for at, name in enumerate(names)}, gc=False)
    types[id(node)] = made
    return made | list[Any] | str | int | float | bool | None


def _getter(root: _Node, head: Path, path: Path, types: Mapping[int, type[msgspec.Struct]]) -> Callable[[Any], Any]:
    """From a decoded text to what ``path`` finds: by attributes as far as there are structures, then by steps."""
    chain: list[tuple[type[msgspec.Struct], str]] = []
    node = root
    for step in head:
        if id(node) not in types:
            break
        chain.append((types[id(node)], f"f{list(node.below).index(step)}"))
        node = node.below[step]
    rest = path[len(chain) :]
    if len(chain) == 1 and not rest:
        return _flat(*chain[0])

    def get(decoded: Any) -> Any:
        for kind, name in chain:
            if type(decoded) is not kind:
                return MISSING
            decoded = getattr(decoded, name)
        return one(decoded, rest) if rest else decoded

    def get_all(decoded: Any) -> Any:
        for kind, name in chain:
            if type(decoded) is not kind:
                return []
            decoded = getattr(decoded, name)
        return list(every(decoded, rest)) if decoded is not MISSING else []

    return get_all if EVERY in rest or KEYS in rest else get


def _flat(kind: type[msgspec.Struct], name: str) -> Callable[[Any], Any]:
    return lambda decoded: getattr(decoded, name) if type(decoded) is kind else MISSING
