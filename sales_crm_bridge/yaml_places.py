"""A YAML 1.2 file as plain values, with the line and column of each, and every problem of its text.

Scalars follow the core schema of YAML 1.2 (yaml.org/spec/1.2.2, §10.3.2): ``NO``, ``on`` and ``yes`` are text, and so is a
time. Anchors and aliases are allowed, merge keys and tags are not.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sales_crm_bridge.errors import Finding, Place
from sales_crm_bridge.findings import finding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]
Route = tuple[str | int, ...]

BYTES_MAX = 1024 * 1024
VALUES_MAX = 100_000
DEPTH_MAX = 40

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_DECIMAL = re.compile(r"[-+]?[0-9]+", re.ASCII)
_HALF = re.compile("[\ud800-\udfff]")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value")
)


@dataclass(slots=True, kw_only=True)
class Document:
    """A file's values and where each stands. ``findings`` not empty: ``value`` may lack what they are about."""

    file: str
    value: Plain = None
    findings: list[Finding] = field(default_factory=list)
    _values: dict[Route, tuple[int, int]] = field(default_factory=dict)
    _keys: dict[Route, tuple[int, int]] = field(default_factory=dict)

    def place(self, route: Sequence[str | int], *, key: bool = False) -> Place:
        """Where the value at ``route`` stands (``key``: its key), or the nearest that encloses it.

        Steps that the file does not have are passed over, so that a validator's route with its own steps in it is understood.
        """
        at: Route = ()
        for step in route:
            if (*at, step) in self._values:
                at = (*at, step)
        where = (self._keys if key and at in self._keys else self._values).get(at, (0, 0))
        return Place(file=self.file, line=where[0], column=where[1])

    def places(self) -> dict[tuple[str, ...], Place]:
        """Where each value stands, by its route with list indexes as text."""
        return {
            tuple(str(step) for step in route): Place(file=self.file, line=line, column=column)
            for route, (line, column) in self._values.items()
        }


def read(path: Path, name: str) -> Document:
    """The document in the file ``path``, called ``name`` in findings. Never raises for what the file is."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(BYTES_MAX + 1)
    except OSError as error:
        place = Place(file=name)
        return Document(file=name, findings=[finding("yaml.unreadable", f"cannot read it: {error.strerror}", place)])
    return parse(raw, name)


def parse(raw: bytes, name: str) -> Document:
    """The document in ``raw``. Never raises for what it holds; a parsed empty document is a finding."""
    document = Document(file=name)
    if len(raw) > BYTES_MAX:
        document.findings.append(finding("yaml.too-large", f"more than {BYTES_MAX:,} bytes", Place(file=name)))
        return document
    try:
        root = _compose(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        document.findings.append(finding("yaml.not-utf8", "not UTF-8 text", Place(file=name, line=line)))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file=name, line=mark.line + 1, column=mark.column + 1) if mark else Place(file=name)
        said = [part for part in (error.context, error.problem) if part]
        document.findings.append(finding("yaml.syntax", ", ".join(said) or "not YAML", place))
    except YAMLError:
        document.findings.append(finding("yaml.syntax", "holds a character that YAML does not allow", Place(file=name)))
    except RecursionError:
        document.findings.append(finding("yaml.too-deep", "nests too deep", Place(file=name)))
    else:
        if root is None:
            document.findings.append(finding("yaml.empty", "the file says nothing", Place(file=name)))
        else:
            _Builder(document).build(root)
    return document


def _compose(text: str) -> Node | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a re-used anchor is legal YAML
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    return node


class _Builder:
    """Turns nodes into values, noting places and problems on the way."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: list[Node] = []
        self._left = VALUES_MAX

    def build(self, root: Node) -> None:
        self._document.value = self._value(root, ())

    def _find(self, code: str, message: str, node: Node) -> None:
        place = Place(file=self._document.file, line=node.start_mark.line + 1, column=node.start_mark.column + 1)
        self._document.findings.append(finding(code, message, place))

    def _value(self, node: Node, route: Route) -> Plain:
        self._document._values[route] = (node.start_mark.line + 1, node.start_mark.column + 1)  # noqa: SLF001 - one module
        self._left -= 1
        if str(node.tag) not in _TAGS:
            self._find("yaml.bad-tag", f"the tag {node.tag} is not allowed", node)
            return None
        if isinstance(node, ScalarNode):
            node.value = self._text(node)
            return _scalar(node)
        if any(node is other for other in self._open):
            self._find("yaml.cycle", "this value contains itself", node)
            return None
        if self._left < 0 or len(self._open) >= DEPTH_MAX:
            if not any(one.code == "yaml.too-deep" for one in self._document.findings):
                self._find("yaml.too-deep", f"more than {VALUES_MAX:,} values or {DEPTH_MAX} levels", node)
            return None
        self._open.append(node)
        try:
            if isinstance(node, SequenceNode):
                return [self._value(item, (*route, index)) for index, item in enumerate(node.value)]
            return self._mapping(node, route) if isinstance(node, MappingNode) else None
        finally:
            self._open.pop()

    def _text(self, node: ScalarNode) -> str:
        """A scalar's text. JSON escapes a character beyond U+FFFF as two halves; a half alone is no character."""
        text = str(node.value)
        if _HALF.search(text) is None:
            return text
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self._find("yaml.syntax", "half a character (a lone surrogate)", node)
            return _HALF.sub("\N{REPLACEMENT CHARACTER}", text)

    def _mapping(self, node: MappingNode, route: Route) -> dict[str, Plain]:
        result: dict[str, Plain] = {}
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                self._find("yaml.bad-key", "a key must be plain text", key)
                continue
            name = self._text(key)
            if name in result:
                first = self._document._keys[(*route, name)]  # noqa: SLF001 - one module
                self._find("yaml.duplicate-key", f"the key {name!r} already stands in line {first[0]}", key)
                continue
            self._document._keys[(*route, name)] = (key.start_mark.line + 1, key.start_mark.column + 1)  # noqa: SLF001
            result[name] = self._value(item, (*route, name))
        return result


def _scalar(node: ScalarNode) -> str | int | float | bool | None:
    text = str(node.value)
    if node.style or str(node.tag) == "tag:yaml.org,2002:str":
        return text
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _DECIMAL.fullmatch(text) and len(text) < 20:  # noqa: PLR2004 - 19 digits fit 64 bits; more is an identifier
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and _DECIMAL.fullmatch(text) is None:
        return float(text)
    return text
