"""A tenant's file: what is good, and every problem with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import tenants
from sales_crm_bridge.errors import ConfigError, Finding
from sales_crm_bridge.model import FieldDefinition
from sales_crm_bridge.tenants import Tenant

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config" / "tenants" / "acme.yaml").read_text()
ENVIRON = {"ACME_HUBSPOT_TOKEN": "pat-very-secret"}


def read(text: str) -> tuple[Tenant | None, list[Finding]]:
    return tenants.parse(text.encode(), "acme.yaml", CATALOGUE, environ=ENVIRON)


def good(text: str = EXAMPLE) -> Tenant:
    tenant, found = read(text)
    assert tenant is not None, found
    return tenant


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if part in line)


def test_the_example_is_good() -> None:
    """The file that the README explains loads as it says."""
    tenant = good()
    assert (tenant.tenant, tenant.connection.adapter, tenant.connection.name) == ("acme", "hubspot", "hubspot")
    assert tenant.connection.address == "https://api.hubapi.com"
    assert tenant.pull.second_pass_s == 900
    assert tenant.mapping.qualify_wire() == {"hs_lead_status": "CONNECTED"}
    assert tenant.conflicts.rule("email") == "domain"
    assert tenant.conflicts.rule("phone") == "crm"


@pytest.mark.parametrize(
    ("old", "new", "code", "at"),
    [
        ("adapter: hubspot", "adapter: hubspott", "config.unknown-crm", "adapter:"),
        ("  city: city", "  citty: city", "mapping.unknown-field", "citty"),
        ("  city: city", "  city: {crm: city, wriet: once}", "config.unknown-key", "wriet"),
        ("NEW: new", "NEW: fresh", "mapping.bad-status", "NEW:"),
        ("    write_values: {working: IN_PROGRESS}\n", "", "mapping.not-invertible", "values:"),
        ("working: IN_PROGRESS}", "working: NEW}", "mapping.no-way-back", "write_values"),
        ("  city: city", "  city: phone", "mapping.two-writers", "city:"),
        ("  city: city", "  city: {crm: city, scale: 2}", "mapping.wrong-kind", "scale"),
        ("  city: city", "  city: {crm: [a, b]}", "mapping.needs-join", "[a, b]"),
        ("  city: city", "  city: {crm: city, read: false, write: never}", "mapping.unused", "city:"),
        ("  city: city", "  annual_revenue: annualrevenue", "config.missing-key", "annual_revenue"),
        ("every: 30s", "every: 30", "config.bad-duration", "pull: {"),
        ("every: 30s", "every: 10ms", "config.out-of-range", "pull: {"),
        ("from: 2026-01-01T00:00:00Z", "from: 2026-01-01", "config.bad-time", "from: 2026-01-01"),
        ("from: 2026-01-01T00:00:00Z", "from: 2020-01-01T00:00:00Z", "tenant.leads-order", "from: 2020"),
        ("owner: crm, from: 2026", "owner: domain, from: 2026", "tenant.leads-repeated", "2026-01-01"),
        ("token: env:ACME_HUBSPOT_TOKEN", "token: pat-plain-text", "config.plain-secret", "credentials: {"),
        ("token: env:ACME_HUBSPOT_TOKEN", "token: env:NOT_THERE", "config.unresolvable-secret", "credentials: {"),
        ("kind: token, token:", "kind: token, tokken:", "config.missing-key", "credentials: {"),
        ("kind: token", "kind: telepathy", "config.bad-value", "credentials: {"),
        ("object: contacts", "object: companies", "config.bad-value", "options"),
        ('account: "4242"', "account: 4242", "config.bad-type", "account"),
        ("email: domain}", "emial: domain}", "mapping.unknown-field", "conflicts"),
        ("create: {lifecyclestage: lead}", "create: {email: x}", "mapping.two-writers", "create: {"),
        ("adapter: hubspot", "adapter: hubspot\n  address: http://crm.example", "config.bad-address", "http://crm"),
        ("tenant: acme", "tenant: acme\ntenant: acme", "yaml.duplicate-key", "tenant: acme"),
        ("tenant: acme", "tenant: [acme", "yaml.syntax", "tenant"),
    ],
)
def test_a_mistake_is_found_with_its_place_and_remedy(old: str, new: str, code: str, at: str) -> None:
    """Each mistake alone: its code, the line where it stands, and what to do."""
    assert old in EXAMPLE
    text = EXAMPLE.replace(old, new, 1)
    tenant, found = read(text)
    assert tenant is None
    finding = next((one for one in found if one.code == code), None)
    assert finding is not None, found
    assert finding.remedy
    if code not in {"yaml.syntax", "yaml.duplicate-key"}:
        assert finding.place.line == line_of(text, at)
        assert finding.place.column > 0
    assert "pat-plain-text" not in str(found)


def test_a_status_map_that_cannot_disqualify_is_found() -> None:
    """A command that would change nothing in the CRM must be declared unsupported by name."""
    text = EXAMPLE.replace(", UNQUALIFIED: disqualified", "")
    assert "mapping.status-missing" in {one.code for one in read(text)[1]}
    assert read(text + "\ndisqualify: unsupported\n")[0] is not None


def test_all_mistakes_are_told_at_once() -> None:
    """Three mistakes, three findings."""
    text = EXAMPLE.replace("  city: city", "  citty: city").replace("adapter: hubspot", "adapter: hubspott")
    text = text.replace("env:ACME_HUBSPOT_TOKEN", "env:NOT_THERE")
    codes = {one.code for one in read(text)[1]}
    assert {"mapping.unknown-field", "config.unknown-crm"} <= codes


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.yaml").write_text(text)


def test_files_are_checked_against_each_other(tmp_path: Path) -> None:
    """A tenant in two files, a file under a wrong name, two tenants on one account: findings, and the good one loads."""
    write(tmp_path, "acme", EXAMPLE)
    write(tmp_path, "other", EXAMPLE)
    write(tmp_path, "umbrella", EXAMPLE.replace("tenant: acme", "tenant: umbrella"))
    loaded = tenants.load(tmp_path, CATALOGUE, environ=ENVIRON)
    assert set(loaded.tenants) == {"acme"}
    codes = {(Path(one.place.file).name, one.code) for one in loaded.findings}
    assert codes == {
        ("other.yaml", "tenant.wrong-file"),
        ("other.yaml", "tenant.duplicate"),
        ("umbrella.yaml", "tenant.shared-account"),
    }


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("from: 2026-01-01T00:00:00Z", "from: 2026-02-01T00:00:00Z", "tenant.leads-changed"),
        ("  - {owner: crm, from: 2026-01-01T00:00:00Z}\n", "", "tenant.leads-changed"),
        (
            "2026-01-01T00:00:00Z}\n",
            "2026-01-01T00:00:00Z}\n  - {owner: domain, from: 2026-02-01T00:00:00Z}\n",
            "tenant.leads-past",
        ),
        ('account: "4242"', 'account: "4343"', "tenant.account-moved"),
    ],
)
def test_what_was_accepted_may_not_change(tmp_path: Path, old: str, new: str, code: str) -> None:
    """The append-only list keeps its entries, a new entry begins in the future, and a connection keeps its account."""
    accepted = good()
    write(tmp_path, "acme", EXAMPLE.replace(old, new, 1))
    passed_us = 1_790_000_000_000_000
    loaded = tenants.load(
        tmp_path, CATALOGUE, previous={"acme": accepted}, passed_us={"acme": passed_us}, environ=ENVIRON
    )
    assert [one.code for one in loaded.findings] == [code]
    assert not loaded.tenants


def test_an_entry_in_the_future_may_be_appended(tmp_path: Path) -> None:
    """Handing the leads back is a new entry with a time to come."""
    text = EXAMPLE.replace(
        "2026-01-01T00:00:00Z}\n", "2026-01-01T00:00:00Z}\n  - {owner: domain, from: 2030-01-01T00:00:00Z}\n", 1
    )
    write(tmp_path, "acme", text)
    loaded = tenants.load(
        tmp_path, CATALOGUE, previous={"acme": good()}, passed_us={"acme": 1_790_000_000_000_000}, environ=ENVIRON
    )
    assert not loaded.findings


def test_an_accepted_text_is_read_again_without_its_secrets() -> None:
    """After a restart the accepted version rules even if a secret is not there now; the secret is asked for when needed."""
    tenant = tenants.reaccept(EXAMPLE, "acme", CATALOGUE)
    assert tenant.mapping.version == good().mapping.version
    with pytest.raises(ConfigError, match="unresolvable-secret"):
        tenants.secrets_of(tenant, {})
    assert tenants.secrets_of(tenant, ENVIRON)["token"] == "pat-very-secret"
    assert "pat-very-secret" not in repr(tenants.secrets_of(tenant, ENVIRON))
    with pytest.raises(ConfigError):
        tenants.reaccept("tenant: acme\n", "acme", CATALOGUE)


def test_a_stamp_changes_with_the_files(tmp_path: Path) -> None:
    """Equal stamps, equal files."""
    assert tenants.stamp(tmp_path / "nowhere") == {}
    write(tmp_path, "acme", EXAMPLE)
    before = tenants.stamp(tmp_path)
    assert tenants.stamp(tmp_path) == before
    write(tmp_path, "acme", EXAMPLE + "\n")
    assert tenants.stamp(tmp_path) != before


def test_the_mapping_is_compared_with_the_crms_own_fields() -> None:
    """A field the CRM lacks, a read-only one that is written, a value it does not offer, a required one that nothing writes."""
    tenant = good()
    names = set(tenant.mapping.crm_fields)
    fields = {name: FieldDefinition(name=name, kind="string", writable=True) for name in names - {"jobtitle"}}
    fields["phone"] = FieldDefinition(name="phone", kind="string", writable=False)
    fields["hs_lead_status"] = FieldDefinition(
        name="hs_lead_status", kind="enumeration", writable=True, options=("NEW", "OPEN", "IN_PROGRESS", "CONNECTED")
    )
    fields["must"] = FieldDefinition(name="must", kind="string", writable=True, required=True)
    found = {(one.code, one.place.line) for one in tenants.compare(tenant, fields)}
    assert found == {
        ("mapping.crm-field-unknown", line_of(EXAMPLE, "job_title")),
        ("mapping.crm-field-read-only", line_of(EXAMPLE, "phone: phone")),
        ("mapping.crm-option-unknown", line_of(EXAMPLE, "crm: hs_lead_status")),
        ("mapping.crm-field-required", line_of(EXAMPLE, "email: email")),
    }
