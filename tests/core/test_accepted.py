"""What a version of the bridge has accepted stays in force under every later one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sales_crm_adapters import CATALOGUE
from sales_crm_adapters.rest import Mistake

from sales_crm_bridge import tenants
from sales_crm_bridge.errors import ConfigError

ACCEPTED = sorted((Path(__file__).parent / "accepted").glob("*.yaml"))
DECLARED = next(file for file in ACCEPTED if file.stem == "bottlecrm").read_text(encoding="utf-8")


def stricter(*_: object) -> list[Mistake]:
    """A later version's finding about every declaration."""
    return [Mistake(path=("lists",), message="new in this version", remedy="change it", code="rest.contradiction")]


STRICTER: dict[str, Any] = {**CATALOGUE, "rest": replace(CATALOGUE["rest"], lint=stricter)}


@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.stem)
def test_every_file_that_was_accepted_is_read_again(file: Path) -> None:
    """With its mapping and an adapter of its options."""
    text = file.read_text(encoding="utf-8")
    tenant = tenants.reaccept(text, file.stem, CATALOGUE)
    connection = tenant.connection
    assert connection.adapter in text
    assert CATALOGUE[connection.adapter].makes(connection.options, tenant.mapping.crm_fields, connection.address)


def test_a_finding_that_is_new_in_a_version_refuses_new_files_alone() -> None:
    """`check` names it; a start goes on with what was accepted before it was known."""
    _, found = tenants.parse(DECLARED.encode(), "bottlecrm.yaml", STRICTER, secrets=False)
    assert [one.code for one in found] == ["rest.contradiction"]
    before = tenants.reaccept(DECLARED, "acme", CATALOGUE)
    after = tenants.reaccept(DECLARED, "acme", STRICTER)
    assert after.digest == before.digest
    assert after.connection == before.connection


def test_a_declaration_of_which_no_adapter_can_be_made_stops_the_start() -> None:
    """With its findings: to pass its intents over would lose them."""
    broken = DECLARED.replace("lists:", "lsits:", 1)
    assert broken != DECLARED
    with pytest.raises(ConfigError, match="lsits"):
        tenants.reaccept(broken, "acme", CATALOGUE)
