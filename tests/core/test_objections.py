"""What speaks against an account: all of it for a person who looks, the gravest for a worker that must stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import tenants, wiring
from sales_crm_bridge.errors import ConnectionStopped
from sales_crm_bridge.model import Account

EXAMPLE = Path(__file__).parents[2] / "config" / "tenants" / "acme.yaml"
PROBLEMS = (("hubspot.a", "no a", "make a"), ("hubspot.b", "no b", "make b"))


@pytest.fixture
def tenant() -> tenants.Tenant:
    """Give the tenant of the example, whose account is 4242."""
    found, _ = tenants.parse(EXAMPLE.read_bytes(), "acme.yaml", CATALOGUE, environ={"ACME_HUBSPOT_TOKEN": "x"})
    assert found is not None
    return found


def account(account_id: str, missing: tuple[str, ...], problems: tuple[tuple[str, str, str], ...]) -> Account:
    return Account(account_id=account_id, name="", time_zone="UTC", fields={}, missing=missing, problems=problems)


@pytest.mark.parametrize(
    ("account_id", "missing", "problems", "codes"),
    [
        ("999", ("write",), PROBLEMS, ["crm.wrong-account", "crm.missing-rights", "hubspot.a", "hubspot.b"]),
        ("4242", ("write",), PROBLEMS, ["crm.missing-rights", "hubspot.a", "hubspot.b"]),
        ("", (), PROBLEMS, ["hubspot.a", "hubspot.b"]),
        ("4242", (), (), []),
    ],
)
def test_one_objection_hides_no_other(
    tenant: tenants.Tenant,
    account_id: str,
    missing: tuple[str, ...],
    problems: tuple[tuple[str, str, str], ...],
    codes: list[str],
) -> None:
    """A wrong account, missing rights and every problem of the adapter, each with its remedy; a worker is told the first."""
    looked = account(account_id, missing, problems)
    found = wiring.objections(tenant, looked)
    assert [one.code for one in found] == codes
    assert all(one.remedy and one.place.file == "acme.yaml" for one in found)
    if not codes:
        assert wiring.verify(tenant, looked) is looked
        return
    with pytest.raises(ConnectionStopped) as caught:
        wiring.verify(tenant, looked)
    assert (caught.value.code, caught.value.remedy) == (codes[0], found[0].remedy)
