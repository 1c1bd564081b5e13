"""Settings beside the file: variables of the environment and secret files, each a name and a text.

A mistake in one hides no other: what cannot be read is left out, and told with its place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from pydantic_settings import EnvSettingsSource

from sales_crm_bridge.errors import Bug, Finding, Place
from sales_crm_bridge.findings import finding, nearest
from sales_crm_bridge.problems import models_in, written_name
from sales_crm_bridge.settings.models import PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

Route = tuple[str | int, ...]

_PREFIX = PREFIX.lower()
_UNPREFIXED = frozenset({"port_http", "port_grpc"})
_COMMAND_LINE = ("config", "secrets")
"""Variables of the command line: where the file and the secret files are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one place says, in the shape of the file. ``places``: where each name stands, in lower case and without dots.

    ``findings``: what is wrong with its names and texts; ``broken``: where something is left out for that.
    """

    values: Mapping[str, Any]
    places: Mapping[str, Place]
    findings: tuple[Finding, ...] = ()
    broken: tuple[Route, ...] = ()

    def place(self, route: Sequence[str | int]) -> Place:
        """Where the value at ``route`` stands, which is in ``values`` or ``broken``; in many places: the first."""
        parts = [str(step).replace(".", "_").lower() for step in route]
        whole = parts[0] if parts[0] in _UNPREFIXED else _PREFIX + "__".join(parts)
        around = [name for name in self.places if f"{whole}__".startswith(f"{name}__")]
        inside = [name for name in self.places if name.startswith(f"{whole}__")]
        if not around and not inside:
            raise Bug("bug.no-place", f"nothing gave the setting {route[0]!r}")
        return self.places[max(around, key=len) if around else min(inside)]


def environment() -> Source:
    """The process's environment. A variable that carries our prefix and names no setting would do nothing: it is a finding."""
    texts: dict[str, str | _Unread] = {name: os.environ[name] for name in sorted(os.environ) if _ours(name)}
    places = {name: Place(file=f"environment variable {name}") for name in texts}
    return _source(texts, places, _COMMAND_LINE, str.upper)


def secret_files(folder: Path | None) -> Source:
    """The files of ``folder``, one setting in each, without the blanks around it. None: there is no such folder.

    A folder that is not there is a finding, or what it was to hold would be silently missing.
    """
    if folder is None:
        return Source(values={}, places={})
    try:
        files = {path.name: path for path in sorted(folder.iterdir()) if _ours(path.name)}
    except OSError as error:
        found = finding("config.no-secrets", f"cannot look into {folder}: {error.strerror}", _named_by(folder))
        return Source(values={}, places={}, findings=(found,))
    texts = {name: _text_of(path) for name, path in files.items()}
    return _source(texts, {name: Place(file=str(path)) for name, path in files.items()}, (), str.lower)


def holds(values: object, route: Sequence[str | int]) -> bool:
    """Whether something stands at ``route`` in ``values``; a variable has ``_`` where Kafka's own names have a dot."""
    for step in route:
        if isinstance(values, Mapping):
            key = step if step in values else str(step).replace(".", "_")
            if key not in values:
                return False
            values = values[key]
        elif not isinstance(values, list) or not isinstance(step, int) or step >= len(values):
            return False
        else:
            values = values[step]
    return True


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, mapping by mapping; where both say something else, ``over`` wins."""
    both = dict(under)
    for name, value in over.items():
        below = both.get(name)
        both[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return both


# --- texts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Unread:
    """What stands for a value that could not be read: why, and what to do."""

    message: str
    remedy: str


class _Texts(EnvSettingsSource):
    """pydantic's reader of variables, which gives ``_Unread`` in place of a text that is not the JSON that its setting needs."""

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:
        """What ``value`` writes as JSON. Without a field any text will do, as in a mapping: then it raises ``ValueError``."""
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            if field is None:
                raise ValueError("not JSON") from error
            example = '["…"]' if get_origin(field.annotation) is tuple else '{"…": "…"}'
            return _Unread("not the JSON that this setting needs", f"write it as JSON: {example}")


def _text_of(path: Path) -> str | _Unread:
    remedy = "let it be a file of UTF-8 text that the bridge's user can read"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        return _Unread(f"the file cannot be read: {error.strerror}", remedy)
    except UnicodeDecodeError:
        return _Unread("the file is not UTF-8 text", remedy)


def _named_by(folder: Path) -> Place:
    """Who named the folder of secret files: a variable, unless the command line did."""
    for name, value in sorted(os.environ.items()):
        if name.upper() == f"{PREFIX}SECRETS" and Path(value) == folder:
            return Place(file=f"environment variable {name}")
    return Place(file="--secrets")


def _source(
    texts: Mapping[str, str | _Unread], places: Mapping[str, Place], besides: Sequence[str], case: Callable[[str], str]
) -> Source:
    """``besides``: names that carry the prefix and are no settings; ``case``: how names are written here."""
    there = Source(values={}, places={name.lower().replace(".", "_"): place for name, place in places.items()})
    strays = dict(_strays(places, besides, case))
    good = {name.lower(): text for name, text in texts.items() if name not in strays}
    reader = _Texts(Settings)
    reader.env_vars = {name: text for name, text in good.items() if isinstance(text, str)}
    values = reader()
    unread = [*_pick_unread(values, ())]
    unread += [(tuple(_route(name)), text) for name, text in good.items() if isinstance(text, _Unread)]
    found = [
        finding("config.bad-value", f"{route[-1]}: {text.message}", there.place(route), text.remedy)
        for route, text in unread
    ]
    return Source(
        values=values,
        places=there.places,
        findings=(*strays.values(), *found),
        broken=tuple(route for route, _ in unread),
    )


def _pick_unread(values: dict[str, Any], above: Route) -> Iterator[tuple[Route, _Unread]]:
    """Take out what could not be read."""
    for name, value in list(values.items()):
        if isinstance(value, _Unread):
            yield (*above, name), values.pop(name)
        elif isinstance(value, dict):
            yield from _pick_unread(value, (*above, name))


# --- names ------------------------------------------------------------------------------------------------------------


def _ours(name: str) -> bool:
    return name.lower().startswith(_PREFIX) or name.lower() in _UNPREFIXED


def _route(name: str) -> list[str]:
    return name.lower().removeprefix(_PREFIX).split("__")


def _strays(
    places: Mapping[str, Place], besides: Sequence[str], case: Callable[[str], str]
) -> Iterator[tuple[str, Finding]]:
    """Names that no setting has, so that they would do nothing."""
    settings = {*_names(Settings)}
    mappings = tuple(name for name in sorted(settings) if name.endswith("__"))
    known = {name.removeprefix(_PREFIX): name for name in settings if not name.endswith("__")}
    known |= {name: _PREFIX + name for name in besides}
    for name, place in places.items():
        if name.lower() in known.values() or name.lower().startswith(mappings):
            continue
        near = nearest("__".join(_route(name)), known)
        remedy = f"did you mean {case(known[near])!r}?" if near else "remove it; docs/config.md names every setting"
        yield name, finding("config.unknown-key", f"no setting is called {name!r}", place, remedy)


def _names(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """How a variable of each setting is called, in lower case; that of a mapping once more, with what begins its entries."""
    for name, info in model.model_fields.items():
        path = above + written_name(model, name)
        full = path if path in _UNPREFIXED else _PREFIX + path
        yield full
        if get_origin(info.annotation) is dict:
            yield f"{full}__"
        elif get_origin(info.annotation) is not tuple:
            for inner in models_in(info.annotation):
                yield from _names(inner, f"{path}__")
