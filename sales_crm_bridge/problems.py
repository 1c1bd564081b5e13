"""pydantic's errors as findings: with place, code and remedy, and without what was written where that may be a secret."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Tag, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from sales_crm_bridge.findings import FINDINGS, did_you_mean, finding
from sales_crm_bridge.units import DURATION_PATTERN, FOREVER, TIME_PATTERN, duration_text, seconds, time_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic import ValidationError

    from sales_crm_bridge.errors import Finding, Place

    Locate = Callable[[Sequence[str | int], bool], Place]

_RANGE = ("greater_than", "less_than", "too_short", "too_long", "finite_number")
_SEVERAL: Final = "several"
_PARTS: Final = "<mapping>"
_WORD: Final = "<word>"
_KEY: Final = "[key]"
"""What pydantic adds to a route that is about a mapping's key itself."""
_SILENT = frozenset({"credentials", "ledger", "ledger_password", "hash_keys", "seal_key", "kafka", "headers"})


class Strict(BaseModel):
    """A part of a file: frozen, no unknown keys, no guessing of kinds."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


def _duration(value: object) -> object:
    try:
        return seconds(value) if isinstance(value, str) else _refuse_number()
    except ValueError:
        raise PydanticCustomError("config.bad-duration", "not a duration") from None


def _refuse_number() -> float:
    raise PydanticCustomError("config.bad-duration", "a duration needs a unit")


def _instant(value: object) -> object:
    try:
        if isinstance(value, str):
            return time_us(value)
    except ValueError:
        pass
    raise PydanticCustomError("config.bad-time", "not a point in time with a zone, within the years 1 to 9999 of UTC")


Seconds = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["500ms", "30s", "1h30m"]}),
]
"""A duration: text with units in a file, seconds in memory."""

SecondsOrForever = Annotated[
    float,
    BeforeValidator(lambda value: math.inf if value == FOREVER else _duration(value)),
    WithJsonSchema({"type": "string", "pattern": f"^{FOREVER}$|{DURATION_PATTERN}", "examples": ["30d", FOREVER]}),
]
"""A duration that may have no end: ``math.inf`` in memory. Its field needs ``allow_inf_nan=True``."""

Instant = Annotated[
    int,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "pattern": TIME_PATTERN, "examples": ["2026-01-01T00:00:00Z"]}),
]
"""A point in time: RFC 3339 with a zone in a file, epoch microseconds in memory."""


def part_or_word(value: object) -> str:
    """Which of the two a value is judged as where a mapping or one word may stand: a text is no broken mapping, nor the reverse."""
    return _WORD if isinstance(value, str) else _PARTS


AsPart = Tag(_PARTS)
AsWord = Tag(_WORD)


def findings_of(error: ValidationError, model: type[BaseModel], locate: Locate) -> list[Finding]:
    """Every error as a finding; ``locate`` gives the place of a route (and whether the key itself is at fault)."""
    found: list[Finding] = []
    for detail in error.errors(include_url=False):
        if detail["type"] != _SEVERAL:
            found.append(_finding(detail, model, locate))
            continue
        for step, code, message in detail["ctx"]["problems"]:
            found.append(finding(code, message, locate((*detail["loc"], step), False)))  # noqa: FBT003
    return found


def routes_of(error: ValidationError) -> list[tuple[str | int, ...]]:
    """Where each error is."""
    return [
        (*detail["loc"], *inner)
        for detail in error.errors(include_url=False)
        for inner in ([(one[0],) for one in detail["ctx"]["problems"]] if detail["type"] == _SEVERAL else [()])
    ]


def several(problems: Sequence[tuple[str, str, str]]) -> PydanticCustomError:
    """One error for many findings: each is the key at fault, the finding's code, and what is wrong."""
    said = "; ".join(message for _, _, message in problems)
    return PydanticCustomError(_SEVERAL, "{said}", {"problems": list(problems), "said": said})


def _finding(detail: ErrorDetails, model: type[BaseModel], locate: Locate) -> Finding:
    route, kind = tuple(step for step in detail["loc"] if step not in (_PARTS, _WORD)), detail["type"]
    at_key = route[-1:] == (_KEY,)
    route = route[:-1] if at_key else route
    name = str(route[-1]) if route else ""
    if route and isinstance(route[-1], int):
        name = f"entry {route[-1] + 1} of {route[-2]}"
    secret = any(step in _SILENT for step in route)
    if kind == "extra_forbidden":
        remedy = did_you_mean(name, keys_at(model, route[:-1]))
        return finding("config.unknown-key", f"unknown key {name!r}", locate(route, True), remedy)  # noqa: FBT003
    if kind == "missing":
        message = f"the key {name!r} is missing"
        return finding("config.missing-key", message, locate(route[:-1], False), f"add {name!r}")  # noqa: FBT003
    place = locate(route, at_key)
    if kind in FINDINGS:
        remedy = str(detail.get("ctx", {}).get("remedy", ""))
        return finding(kind, detail["msg"], place, remedy)
    written = detail["input"]
    if isinstance(written, float) and is_duration(model, route):
        written = duration_text(written)
    shown = f" {written!r}" if isinstance(written, str | int | float) and not secret and len(str(written)) <= 40 else ""  # noqa: PLR2004
    subject = f"{name}:{shown}" if name else f"the file:{shown}"
    subject = f"the key{shown}" if at_key else subject
    context = detail.get("ctx", {})
    if kind in ("literal_error", "enum"):
        return finding("config.bad-value", f"{subject} is not one of {context['expected']}", place)
    if kind.startswith(_RANGE) or kind.endswith(("too_short", "too_long")):
        return finding("config.out-of-range", f"{subject} {_limit(kind, context, model, route)}", place)
    if kind == "string_pattern_mismatch":
        remedy = f"write a text that matches {context['pattern']}"
        return finding("config.bad-value", f"{subject} does not have the form that is needed", place, remedy)
    if kind.endswith(("_type", "_parsing", "_attributes_type")) or kind in ("int_from_float", "is_instance_of"):
        return finding("config.bad-type", f"{subject} is not {_kind(kind)}", place)
    return finding("config.bad-value", f"{subject} is not allowed here", place)


def _limit(kind: str, context: dict[str, Any], model: type[BaseModel], route: Sequence[str | int]) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    for key, word in words.items():
        if key in context:
            bound = context[key]
            return f"must be {word} {duration_text(bound) if is_duration(model, route) else bound}"
    if "min_length" in context:
        return f"must have at least {context['min_length']} entries or characters"
    if "max_length" in context:
        return f"must have at most {context['max_length']} entries or characters"
    return "must be a finite number" if kind == "finite_number" else "is outside its limits"


def _kind(kind: str) -> str:
    words = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "text (quote it)",
        "list": "a list",
        "tuple": "a list",
        "dict": "a mapping",
        "model": "a mapping",
    }
    return next((word for start, word in words.items() if kind.startswith(start)), "of the right kind")


# --- walking a model by a route ---------------------------------------------------------------------------------------


def written_name(model: type[BaseModel], name: str) -> str:
    """The key under which a field stands in a file."""
    alias = model.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else name


def keys_at(model: type[BaseModel], route: Sequence[str | int]) -> list[str]:
    """The keys that a file may have at ``route``."""
    return sorted({written_name(found, name) for found in _models_at(model, route) for name in found.model_fields})


def is_duration(model: type[BaseModel], route: Sequence[str | int]) -> bool:
    """Whether the value at ``route`` is a ``Seconds``."""
    return any(
        written_name(found, name) == route[-1] and name.endswith("_s")
        for found in _models_at(model, route[:-1])
        for name in found.model_fields
    )


def _models_at(model: type[BaseModel], route: Sequence[str | int]) -> list[type[BaseModel]]:
    found = [model]
    for step in route:
        inner = [
            deeper
            for one in found
            for name, info in one.model_fields.items()
            if written_name(one, name) == step
            for deeper in models_in(info.annotation)
        ]
        found = inner or found  # a step of pydantic's own (a union's member) or an index
    return found


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that an annotation names, also inside lists, mappings, unions and ``Annotated``."""
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        if not isinstance(inner, str):
            yield from models_in(inner)
