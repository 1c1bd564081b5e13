"""Reads the settings from their places, and says where each problem stands: a line of the file, a variable, a secret file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError
from pydantic_settings import SettingsError

from sales_crm_bridge import yaml_places
from sales_crm_bridge.errors import ConfigError, Finding, Place
from sales_crm_bridge.findings import did_you_mean, finding
from sales_crm_bridge.problems import findings_of, keys_at
from sales_crm_bridge.secret_refs import is_reference
from sales_crm_bridge.settings.models import KAFKA_SECRETS, PREFIX, Settings, Tenants

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NOT_SETTINGS = frozenset({f"{PREFIX}CONFIG", f"{PREFIX}SECRETS"})
"""Variables of the command line: where the file and the secret files are."""

_UNPREFIXED = frozenset({"port_http", "port_grpc"})


def load(file: Path | None, secrets: Path | None = None) -> Settings:
    """The settings from the process's environment, the folder ``secrets`` and the YAML ``file`` (None: there is none).

    A file of ``secrets`` holds one setting and is called ``sales_crm_bridge_<setting>``. Raises ``ConfigError`` with every problem.
    """
    document = (
        yaml_places.read(file, str(file)) if file is not None else yaml_places.Document(file="(no file)", value={})
    )
    found = list(document.findings)
    values: dict[str, object] = {}
    if isinstance(document.value, Mapping):
        values = dict(document.value)
    elif not found:
        found.append(finding("config.bad-type", "the file is not a mapping", document.place(())))
    found += _plain_secrets(document)
    folder = secrets if secrets is not None and secrets.is_dir() else None
    found += _unknown_names(folder)

    def locate(route: Sequence[str | int], key: bool) -> Place:  # noqa: FBT001 - the shape of problems.Locate
        return _origin(route, folder) or document.place(route, key=key)

    try:
        settings = Settings(_secrets_dir=folder, **values)  # type: ignore[arg-type]  # untrusted: the models check it
    except ValidationError as error:
        raise ConfigError(_ordered([*found, *findings_of(error, Settings, locate)])) from None
    except SettingsError as error:
        place = Place(file="environment")
        found.append(
            finding("config.bad-value", f"a variable is not the JSON that its setting needs ({_named(error)})", place)
        )
        raise ConfigError(_ordered(found)) from None
    if found:
        raise ConfigError(_ordered(found))
    return settings


def tenants_folder(file: Path | None) -> Path:
    """Where the tenants' files are, as far as settings that ``load`` refuses tell: a broken one of them hides no other file."""
    named: object = os.environ.get(f"{PREFIX}TENANTS__FOLDER")
    if named is None and file is not None:
        value = yaml_places.read(file, str(file)).value
        part = value.get("tenants") if isinstance(value, Mapping) else None
        named = part.get("folder") if isinstance(part, Mapping) else None
    return Path(named if isinstance(named, str) and named else Tenants().folder)


def run_findings(settings: Settings) -> list[Finding]:
    """What a bridge in production needs and these settings lack; a demo brings its own."""
    place = Place(file="settings")
    found = []
    if "bootstrap.servers" not in settings.kafka:
        found.append(
            finding("config.missing-key", "no Kafka cluster", place, "set kafka: {bootstrap.servers: host:port}")
        )
    if not settings.hash_keys:
        remedy = "set hash_keys to a list with one reference to a random text of 32 characters or more"
        found.append(finding("config.missing-key", "no key for the hashes of field values", place, remedy))
    if settings.seal_key is None:
        remedy = "set seal_key to a reference to a random text of 32 characters or more"
        found.append(finding("config.missing-key", "no key to seal what sign-ins keep", place, remedy))
    return found


def _ordered(found: Iterable[Finding]) -> list[Finding]:
    one_each = {(one.place, one.code, one.remedy): one for one in found}
    return sorted(one_each.values(), key=lambda one: (one.place, one.code, one.message))


def _named(error: SettingsError) -> str:
    """The setting's name in an error of pydantic-settings, without the value."""
    return str(error).split('"')[1] if '"' in str(error) else "unnamed"


def _origin(route: Sequence[str | int], folder: Path | None) -> Place | None:
    """The variable or secret file that gave the value at ``route``; None: neither did."""
    names = {name.upper(): name for name in os.environ}
    for length in range(len(route), 0, -1):
        parts = [str(step).replace(".", "_") for step in route[:length]]
        wanted = parts[0] if parts[0] in _UNPREFIXED else PREFIX + "__".join(parts)
        if wanted.upper() in names:
            return Place(file=f"environment variable {names[wanted.upper()]}")
    if folder is not None and route:
        path = folder / f"{PREFIX}{route[0]}".lower()
        if path.is_file():
            return Place(file=str(path))
    return None


def _unknown_names(folder: Path | None) -> list[Finding]:
    """Variables and secret files that carry our prefix and name no setting."""
    found = []
    for name in sorted(os.environ):
        if not name.upper().startswith(PREFIX) or name.upper() in _NOT_SETTINGS:
            continue
        route = name[len(PREFIX) :].lower().split("__")
        unknown = _first_unknown(route)
        if unknown is not None:
            remedy = did_you_mean(route[unknown], keys_at(Settings, route[:unknown]))
            place = Place(file=f"environment variable {name}")
            found.append(finding("config.unknown-key", f"no setting is called {route[unknown]!r}", place, remedy))
    for path in sorted(folder.iterdir()) if folder is not None else ():
        name = path.name.lower()
        if name.startswith(PREFIX.lower()) and name[len(PREFIX) :] not in keys_at(Settings, ()):
            remedy = did_you_mean(name[len(PREFIX) :], keys_at(Settings, ()))
            found.append(
                finding("config.unknown-key", f"no setting is called {path.name!r}", Place(file=str(path)), remedy)
            )
    return found


def _first_unknown(route: Sequence[str]) -> int | None:
    if route[0] == "kafka":
        return None
    for index, step in enumerate(route):
        if step not in keys_at(Settings, route[:index]):
            return index
    return None


def _plain_secrets(document: yaml_places.Document) -> list[Finding]:
    """Secrets that stand in the YAML file as they are."""
    values = document.value if isinstance(document.value, Mapping) else {}
    routes: list[tuple[str | int, ...]] = [(name,) for name in ("ledger_password", "seal_key")]
    keys, kafka, ledger = values.get("hash_keys"), values.get("kafka"), values.get("ledger")
    routes += [("hash_keys", index) for index in range(len(keys))] if isinstance(keys, list) else []
    routes += [("kafka", name) for name in kafka if name in KAFKA_SECRETS] if isinstance(kafka, Mapping) else []
    telemetry = _at(values, ("telemetry", "headers"))
    routes += [("telemetry", "headers", name) for name in telemetry] if isinstance(telemetry, Mapping) else []
    plain = [route for route in routes if _is_plain(_at(values, route))]
    if isinstance(ledger, str) and not is_reference(ledger):
        try:
            password = unquote(urlsplit(ledger).password or "")
        except ValueError:
            password = ""
        if password and not is_reference(password):
            plain.append(("ledger",))
    return [
        finding("config.plain-secret", f"{'.'.join(map(str, route))} stands here in plain text", document.place(route))
        for route in plain
    ]


def _at(values: Mapping[str, object], route: Sequence[str | int]) -> object:
    found: object = values
    for step in route:
        if isinstance(found, Mapping):
            found = found.get(str(step))
        elif isinstance(found, list) and isinstance(step, int):
            found = found[step]
        else:
            return None
    return found


def _is_plain(value: object) -> bool:
    return value is not None and not (isinstance(value, str) and value.startswith(("env:", "file:")))
