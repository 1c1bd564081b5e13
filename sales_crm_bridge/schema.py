"""The JSON Schemas of the two files and the reference page, generated from the models that read the files.

``python -m sales_crm_bridge.schema --write`` writes them, ``--check`` exits 1 when a committed one is not what the models say.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from sales_crm_bridge import wiring
from sales_crm_bridge.findings import FINDINGS
from sales_crm_bridge.mapping import MISFITS
from sales_crm_bridge.settings import PREFIX, Settings
from sales_crm_bridge.tenants import TenantFile
from sales_crm_bridge.units import duration_text

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BRIDGE = Path("config/schema/bridge.json")
TENANT = Path("config/schema/tenant.json")
PAGE = Path("docs/config.md")


def bridge_schema() -> dict[str, Any]:
    """The schema of ``config/bridge.yaml``."""
    schema = Settings.model_json_schema(by_alias=True)
    schema["properties"]["ledger"]["default"] = Settings.model_fields["ledger"].default.get_secret_value()
    return {"$schema": DIALECT, **schema, "title": "Settings of one deployment of sales-crm-bridge"}


def tenant_schema() -> dict[str, Any]:
    """The schema of a tenant's file, with each CRM's credentials and options."""
    schema = TenantFile.model_json_schema(by_alias=True)
    connection = schema["$defs"]["ConnectionPart"]
    catalogue = wiring.catalogue()
    connection["properties"]["adapter"]["enum"] = sorted(catalogue)
    for entry in catalogue.values():
        schema["$defs"] |= entry.definitions()
    connection["allOf"] = [
        {
            "if": {"properties": {"adapter": {"const": name}}, "required": ["adapter"]},
            "then": {
                "properties": {"credentials": _credentials(entry), "options": {"$ref": f"#/$defs/{name}.Options"}},
                "required": _required(entry),
            },
        }
        for name, entry in sorted(catalogue.items())
    ]
    return {"$schema": DIALECT, **schema, "title": "One tenant of sales-crm-bridge"}


def _required(entry: Any) -> list[str]:
    """What a connection to this CRM cannot do without."""
    return [*([] if entry.address else ["address"]), *(["options"] if entry.schema().get("required") else [])]


def _credentials(entry: Any) -> dict[str, Any]:
    reference = {"type": "string", "pattern": r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$"}
    return {
        "oneOf": [
            {
                "type": "object",
                "title": kind.title,
                "properties": {
                    "kind": {"const": kind.name},
                    **dict.fromkeys((*kind.secrets, *kind.optional), reference),
                },
                "required": ["kind", *kind.secrets],
                "additionalProperties": False,
            }
            for kind in entry.credentials
        ]
    }


# --- the reference page -----------------------------------------------------------------------------------------------


def page() -> str:
    """docs/config.md: every key of both files, and every finding with its remedy."""
    lines = [
        "# Configuration",
        "",
        "Generated from the models that read the files: `make generate`. Editors use the schemas in `config/schema/`.",
        "",
        "A duration is a number with a unit: `500ms`, `30s`, `15m`, `1h30m`, `7d`. A time is RFC 3339 with a zone. A secret is a",
        "reference, `env:NAME` or `file:/run/secrets/name`, never the secret itself. The files are YAML 1.2: `NO` is text.",
        "",
        "## config/bridge.yaml",
        "",
        f"Each setting can also come from the environment, as `{PREFIX}` and the key in capitals (`__` between levels), or from a",
        "file in the folder of `--secrets`; the environment wins over secret files, those over the YAML file. `PORT_HTTP` and",
        "`PORT_GRPC` have no prefix.",
        "",
    ]
    bridge, tenant = bridge_schema(), tenant_schema()
    lines += _keys(bridge, bridge, "")
    lines += ["", "## config/tenants/<tenant>.yaml", ""]
    lines += _keys(tenant, tenant, "")
    lines += ["", "### Credentials and options by CRM", ""]
    for name, entry in sorted(wiring.catalogue().items()):
        lines += [f"**{name}** — {entry.title}; address: {entry.address or 'must be given'}.", ""]
        for kind in entry.credentials:
            optional = f" (optional: {', '.join(kind.optional)})" if kind.optional else ""
            lines.append(f"- credentials `kind: {kind.name}` — {kind.title}: {', '.join(kind.secrets)}{optional}")
        for option, value in sorted(entry.schema().get("properties", {}).items()):
            lines.append(f"- option `{option}` — {_type(value, {})}, default `{value.get('default', 'none')}`")
        lines.append("")
    lines += ["## Findings", "", "| code | meaning | what to do |", "|---|---|---|"]
    lines += [f"| `{code}` | {one.meaning} | {one.remedy} |" for code, one in sorted(FINDINGS.items())]
    lines += ["", "## Values that do not fit the mapping", "", "| code | meaning |", "|---|---|"]
    lines += [f"| `mapping.{code}` | {meaning} |" for code, meaning in sorted(MISFITS.items())]
    return "\n".join(lines) + "\n"


def _keys(schema: dict[str, Any], whole: dict[str, Any], path: str) -> list[str]:
    """A table of the keys at ``path``, then the tables of what lies below."""
    required = schema.get("required", [])
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    below: list[str] = []
    for name, value in schema.get("properties", {}).items():
        inner = _resolved(value, whole)
        default = "required" if name in required else _default(value.get("default", inner.get("default")), inner)
        if "properties" in inner and name not in required:
            default = ""
        said = " ".join(str(value.get("description") or inner.get("description") or "").split())
        rows.append(f"| `{path}{name}` | {_type(value, whole)} | {default} | {said.replace('|', '/')} |")
        if "properties" in inner:
            below += ["", f"### `{path}{name}`", "", *_keys(inner, whole, f"{path}{name}.")]
        elif isinstance(inner.get("additionalProperties"), dict):
            entry = _resolved(inner["additionalProperties"], whole)
            if "properties" in entry:
                below += ["", f"### `{path}{name}.<name>`", "", *_keys(entry, whole, f"{path}{name}.<name>.")]
        elif isinstance(inner.get("items"), dict) and "properties" in _resolved(inner["items"], whole):
            entry = _resolved(inner["items"], whole)
            below += ["", f"### `{path}{name}[]`", "", *_keys(entry, whole, f"{path}{name}[].")]
    return rows + below


def _default(value: object, inner: dict[str, Any]) -> str:
    """A default as a person writes it: a duration with its unit, nothing where there is none."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and inner.get("type") == "string":
        return f"`{duration_text(value)}`"
    return f"`{json.dumps(value)}`"


def _resolved(value: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """A schema with its reference followed; of a choice, the member that has keys."""
    if "$ref" in value:
        return _resolved(whole["$defs"][value["$ref"].rsplit("/", 1)[1]], whole)
    for choice in value.get("anyOf", []) + value.get("allOf", []):
        found = _resolved(choice, whole) if isinstance(choice, dict) else {}
        if "properties" in found:
            return found
    return value


def _type(value: dict[str, Any], whole: dict[str, Any]) -> str:
    """What may stand there, in short."""
    inner = _resolved(value, whole)
    if "enum" in inner:
        return " or ".join(f"`{one}`" for one in inner["enum"])
    if "const" in inner:
        return f"`{inner['const']}`"
    if "anyOf" in inner:
        kinds = dict.fromkeys(_type(one, whole) for one in inner["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    if inner.get("not") == {}:
        return "refused"
    kind = inner.get("type", "anything")
    word = " or ".join(kind) if isinstance(kind, list) else str(kind)
    word = {"object": "mapping", "array": "list", "string": "text", "integer": "whole number"}.get(word, word)
    least, most = inner.get("minimum", inner.get("exclusiveMinimum")), inner.get("maximum")
    bounds = f" {least if least is not None else '…'} to {most if most is not None else '…'}"
    return word + (bounds if least is not None or most is not None else "")


# --- writing and checking ---------------------------------------------------------------------------------------------


def files() -> dict[Path, str]:
    """Every generated file by its path from the root, with what it should hold."""
    return {
        BRIDGE: json.dumps(bridge_schema(), indent=2, ensure_ascii=False, sort_keys=True) + "\n",
        TENANT: json.dumps(tenant_schema(), indent=2, ensure_ascii=False, sort_keys=True) + "\n",
        PAGE: page(),
    }


@click.command()
@click.option("--write", is_flag=True, help="Write the files.")
@click.option("--check", is_flag=True, help="Exit 1 if a file is not what the models say.")
def main(*, write: bool, check: bool) -> None:
    """Generate config/schema/*.json and docs/config.md from the models."""
    wrong = []
    for path, text in files().items():
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif check and (not path.is_file() or path.read_text(encoding="utf-8") != text):
            wrong.append(str(path))
    if wrong:
        click.echo(f"not what the models say: {', '.join(wrong)}; run `make generate`", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
