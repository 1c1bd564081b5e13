"""The generated schemas say what the loader says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import schema, tenants, yaml_places

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config" / "tenants" / "acme.yaml").read_text()
DECLARED = (ROOT / "config" / "examples" / "bottlecrm.yaml").read_text()
PAGE = (ROOT / "docs" / "declare-a-crm.md").read_text()
DECLARATIONS = {
    "bottlecrm": DECLARED,
    **{path.stem: path.read_text() for path in sorted((ROOT / "tests" / "contract" / "declared").glob("*.yaml"))},
    **{f"page, part {n}": text for n, text in enumerate(re.findall(r"```yaml\n(tenant: .*?)```", PAGE, re.DOTALL), 1)},
}


def is_valid(text: str) -> bool:
    document = yaml_places.parse(text.encode(), "acme.yaml")
    validator = jsonschema.Draft202012Validator(json.loads((ROOT / schema.TENANT).read_text()))
    return not list(validator.iter_errors(document.value))


def test_the_committed_files_are_what_the_models_say() -> None:
    """Nobody edits a generated file by hand."""
    for path, text in schema.files().items():
        assert (ROOT / path).read_text() == text, path


@pytest.mark.parametrize("name", ["bridge", "tenant"])
def test_a_schema_is_one(name: str) -> None:
    """Valid by its own dialect."""
    jsonschema.Draft202012Validator.check_schema(json.loads((ROOT / f"config/schema/{name}.json").read_text()))


def test_the_examples_are_valid() -> None:
    """Both example files, as an editor would check them."""
    assert is_valid(EXAMPLE)
    bridge = yaml_places.parse((ROOT / "config" / "bridge.yaml").read_bytes(), "bridge.yaml").value
    jsonschema.validate(bridge, json.loads((ROOT / schema.BRIDGE).read_text()), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("adapter: hubspot", "adapter: hubspott"),
        ("  city: city", "  city: {crm: city, wriet: once}"),
        ("every: 30s", "every: 30"),
        ("token: env:ACME_HUBSPOT_TOKEN", "token: pat-plain-text"),
        ("kind: token", "kind: telepathy"),
        ("object: contacts", "object: companies"),
        ('account: "4242"', "account: 4242"),
        ("owner: crm", "owner: nobody"),
        ("after_parked: wait", "after_parked: explode"),
        ("default: crm,", "default: dice,"),
        ("tenant: acme\n", ""),
    ],
)
def test_schema_and_loader_refuse_the_same(old: str, new: str) -> None:
    """What an editor marks is what the loader finds."""
    assert old in EXAMPLE
    text = EXAMPLE.replace(old, new, 1)
    tenant, _ = tenants.parse(text.encode(), "acme.yaml", CATALOGUE, environ={"ACME_HUBSPOT_TOKEN": "x"})
    assert tenant is None
    assert not is_valid(text)


@pytest.mark.parametrize("name", DECLARATIONS)
def test_declared_crms_are_valid(name: str) -> None:
    """What an integrator starts from has no mark in the editor: the example, the dialects, the page's files."""
    assert is_valid(DECLARATIONS[name])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("means: duplicate", "means: dublicate"),
        ("by: offset", "by: ofset"),
        ("    read:\n", "    raed:\n"),
        ("size: 500", "size: 0"),
        ("scheme: hmac-sha256", "scheme: md5"),
        ("{present: true}", "{presnt: true}"),
        ("      id: id\n      modified", "      modified"),
        ("records: duplicates", "recods: duplicates"),
        ("method: PATCH", "method: PACTH"),
        ("unit: s,", "unit: seconds,"),
    ],
)
def test_schema_and_loader_refuse_the_same_in_a_declaration(old: str, new: str) -> None:
    """The language of declared CRMs is in the schema, too, down to its last word."""
    assert old in DECLARED
    text = DECLARED.replace(old, new, 1)
    tenant, _ = tenants.parse(text.encode(), "acme.yaml", CATALOGUE, secrets=False)
    assert tenant is None
    assert not is_valid(text)
