"""A tenant's file: what is good, and every problem with its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import tenants, yaml_places
from sales_crm_bridge.crm_http import HostRules
from sales_crm_bridge.errors import ConfigError, Finding
from sales_crm_bridge.model import FieldDefinition
from sales_crm_bridge.tenants import Outline, Tenant
from sales_crm_bridge.tenants.outlining import outline_of

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
        ("from: 2024-01-01T00:00:00Z", "from: 0001-01-01T00:00:00+01:00", "config.bad-time", "from: 0001-01-01"),
        ("from: 2026-01-01T00:00:00Z", "from: 9999-12-31T23:59:59-05:00", "config.bad-time", "from: 9999-12-31"),
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
        ("adapter: hubspot", "adapter: hubspot\n  address: https://a b.com", "config.bad-address", "https://a"),
        ("adapter: hubspot", "adapter: hubspot\n  address: https://a_-.com", "config.bad-address", "https://a"),
        ("adapter: hubspot", "adapter: hubspot\n  address: https://10.0.0.256/x", "config.bad-address", "https://10"),
        ("adapter: hubspot", "adapter: hubspot\n  address: https://crm.example:0", "config.bad-address", "https://crm"),
        ("adapter: hubspot", "adapter: hubspot\n  address: https://crm..example", "config.bad-address", "https://crm"),
        (
            "adapter: hubspot",
            "adapter: hubspot\n  sign_in_address: http://login.example",
            "config.bad-address",
            "sign_in_address",
        ),
        ("tenant: acme", "tenant: acme\ntenant: acme", "yaml.duplicate-key", "tenant: acme"),
        ("tenant: acme", "tenant: [acme", "yaml.syntax", "tenant"),
        ("otherwise: working", "otherwise: wroking", "mapping.bad-status", "otherwise"),
        ("otherwise: working", "default: fresh", "mapping.bad-status", "default: fresh"),
        ("  city: city", "  city: {crm: [a, a], join: ' '}", "mapping.two-writers", "[a, a]"),
        ("  city: city", "  city: {crm: a, join: ' '}", "mapping.wrong-kind", "join"),
        ("  city: city", "  city: {crm: a, otherwise: x}", "mapping.wrong-kind", "otherwise: x"),
        ("  city: city", "  city: {crm: a, steps: [lower, upper]}", "config.bad-value", "lower"),
        ("  city: city", "  city: {crm: a, steps: [lower], prefix: X-}", "config.bad-value", "prefix"),
        ("  city: city", "  city: {crm: a, steps: [lower], values: {A: b}}", "config.bad-value", "values: {A"),
        ("  city: city", "  city: {crm: a, write: never, create_default: x}", "mapping.wrong-kind", "create_default"),
        ("  city: city", "  city: {crm: [a, b], join: ' ', prefix: x}", "mapping.wrong-kind", "prefix"),
        ("  city: city", "  score: {crm: a, default: many}", "config.bad-value", "many"),
        ("  city: city", "  score: {crm: a, create_default: many}", "config.bad-value", "many"),
        ("  city: city", "  score: {crm: a, scale: 0}", "config.out-of-range", "scale"),
        ("  city: city", "  email_opt_out: {crm: a, values: {A: maybe}}", "config.bad-value", "maybe"),
        ("  city: city", "  lead_id: a", "mapping.not-mappable", "lead_id: a"),
        ("  city: city", "  estimated_value: {crm: a, currency: EUR, default: x}", "config.bad-value", "estimated"),
        ("owner: {parts: {user_id:", "owner: {parts: {user:", "mapping.unknown-field", "owner: {parts"),
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


HOSTS = "adapter: hubspot\n  address: {address}\n  allow_hosts: {hosts}"


@pytest.mark.parametrize(
    "host",
    ["10.0.0.0/8", "https://x", "*", "*.example", "crm.example:8443", "10.0.0.256", "a b", "crm/x", "-crm", "1.2.3"],
)
def test_what_cannot_be_one_host_is_not_allowed_in_vain(host: str) -> None:
    """``allow_hosts`` is compared name by name: an entry that no name can equal would be taken for a permission."""
    hosts = json.dumps(["crm.example", host])
    text = EXAMPLE.replace("adapter: hubspot", HOSTS.format(address="https://crm.example", hosts=hosts))
    _, (found,) = read(text)
    assert (found.code, found.place.line) == ("config.bad-host", line_of(text, "allow_hosts"))
    assert repr(host) in found.message
    assert "such as crm.internal or 10.0.0.7" in found.remedy


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://crm_app:8000/api", "crm_app"),
        ("http://CRM.Internal", "crm.internal."),
        ("http://10.0.0.7", "10.0.0.7"),
        ("http://[fd00::7]:8080", "fd00::7"),
        ("http://[fd00::7]", "[FD00::7]"),
        ("http://bücher.example", "bücher.example"),
        ("http://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("http://crm", "CRM"),
    ],
)
def test_hosts_of_all_kinds_are_allowed(address: str, host: str) -> None:
    """Names of one or many parts, addresses of both kinds; compared as the calls compare them, whatever their case."""
    text = EXAMPLE.replace("adapter: hubspot", HOSTS.format(address=address, hosts=json.dumps([host])))
    assert good(text).connection.allow_hosts == (host,)
    assert HostRules([host]).refusal("http", urlsplit(address).hostname or "") == ""


def test_what_was_accepted_with_a_host_that_is_none_stays_in_force() -> None:
    """An earlier version let it pass: it never helped a call, and refusing it now would stop what works."""
    text = EXAMPLE.replace("adapter: hubspot", HOSTS.format(address="https://crm.example", hosts='["10.0.0.0/8"]'))
    assert tenants.reaccept(text, "acme", CATALOGUE).connection.allow_hosts == ("10.0.0.0/8",)


def test_an_id_of_another_form_is_told_the_form() -> None:
    """``tenant: a/b``: what may stand there is said, not that some page lists values."""
    _, found = read(EXAMPLE.replace("tenant: acme", "tenant: a/b", 1))
    (one,) = [one for one in found if one.place.line == line_of(EXAMPLE, "tenant: acme")]
    assert one.code == "config.bad-value"
    assert "'a/b'" in one.message
    assert one.remedy == "write a text that matches ^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def test_a_status_map_that_cannot_disqualify_is_found() -> None:
    """A command that would change nothing in the CRM must be declared unsupported by name."""
    text = EXAMPLE.replace(", UNQUALIFIED: disqualified", "")
    assert "mapping.status-missing" in {one.code for one in read(text)[1]}
    assert read(text + "\ndisqualify: unsupported\n")[0] is not None


def test_a_reserve_that_leaves_nothing_of_the_day_is_found() -> None:
    """Every call would wait for a midnight that brings nothing; what is in force already stays so."""
    text = EXAMPLE.replace("in_flight: 4", "in_flight: 4, per_day: 100, reserve_per_day: 100")
    (one,) = read(text)[1]
    assert (one.code, one.place.line) == ("config.bad-value", line_of(text, "reserve_per_day"))
    assert "per_day" in one.remedy
    assert tenants.reaccept(text, "acme", CATALOGUE).connection.limits.reserve_per_day == 100
    assert good(text.replace("reserve_per_day: 100", "reserve_per_day: 99")).connection.limits.reserve_per_day == 99


MISTAKES = [
    ("  city: city", "  city: {crm: city, wriet: once}", "config.unknown-key"),
    ("  region: state", "  region: {crm: state, read: maybe}", "config.bad-type"),
    ("  postal_code: zip", "  postcode: zip", "mapping.unknown-field"),
    ("NEW: new", "NEW: fresh", "mapping.bad-status"),
    ("env:ACME_HUBSPOT_TOKEN", "env:NOT_THERE", "config.unresolvable-secret"),
    ('account: "4242"', "account: 4242", "config.bad-type"),
    ("in_flight: 4", "in_flight: 0", "config.out-of-range"),
    ("every: 30s", "every: 30", "config.bad-duration"),
    ("owner: crm, from: 2026", "owner: domain, from: 2026", "tenant.leads-repeated"),
    ("email: domain}", "emial: domain}", "mapping.unknown-field"),
    ("object: contacts", "object: companies", "config.bad-value"),
]


def test_all_mistakes_are_told_at_once_and_nothing_else() -> None:
    """Mistakes of form do not hide mistakes of meaning, and none of them makes another finding appear."""
    text = EXAMPLE
    for old, new, _ in MISTAKES:
        assert old in text
        text = text.replace(old, new, 1)
    found = read(text)[1]
    assert sorted(one.code for one in found) == sorted(code for _, _, code in MISTAKES)
    assert [one.place for one in found] == sorted(one.place for one in found)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("qualify: unsupportd", ["qualify: 'unsupportd' is not one of 'unsupported'"]),
        ("qualify: {set: {a: [1]}}", ["not a single value"]),
        ("qualify: {sett: {}, note: 3}", ["note: 3 is not text (quote it)", "unknown key 'sett'"]),
        ("disqualify: null", ["disqualify: is not a mapping"]),
        ("qualify: {set: {'': 1}}", ["the key '' must have at least 1 entries or characters"]),
    ],
)
def test_where_a_word_or_a_mapping_may_stand_a_mistake_is_told_once_in_the_files_own_words(
    written: str, told: list[str]
) -> None:
    """No finding of the form that was not meant, and no name that is none of the file's."""
    _, found = read(f"{EXAMPLE}{written}\n")
    assert sorted(one.message for one in found) == told
    assert {one.place.line for one in found} == {line_of(f"{EXAMPLE}{written}\n", written)}


@pytest.mark.parametrize(
    ("old", "new", "codes"),
    [
        (
            "{default: crm, fields: {email",
            "{default: none, fields: {emial",
            {"config.bad-value", "mapping.unknown-field"},
        ),
        ("fields: {email: domain}", "fields: {phone: none, emial: crm}", {"config.bad-value", "mapping.unknown-field"}),
        ("create: {lifecyclestage: lead}", "create: {a: [1], email: x}", {"config.bad-type", "mapping.two-writers"}),
    ],
)
def test_a_broken_value_hides_no_other_mistake_of_its_part(old: str, new: str, codes: set[str]) -> None:
    """What can be judged without it is judged, so that the integrator needs no second round."""
    assert old in EXAMPLE
    _, found = read(EXAMPLE.replace(old, new))
    assert {one.code for one in found} == codes


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a file's values with each of its keys or indexes."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [spot for key in keys for spot in spots(value[key])]


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=5), st.text(max_size=3), max_size=2),
)


@given(st.data())
def test_a_mangled_file_gives_findings_and_never_an_exception(data: st.DataObject) -> None:
    """Any two values anywhere replaced by anything: a tenant without findings, or findings without a tenant."""
    document = yaml_places.parse(EXAMPLE.encode(), "acme.yaml").value
    for _ in range(2):
        container, key = data.draw(st.sampled_from(spots(document)))
        container[key] = data.draw(ANYTHING)
    tenant, found = read(json.dumps(document))
    assert (tenant is None) is bool(found)


def test_what_looks_wrong_and_is_right() -> None:
    """Two amounts share the field of their currency; a CRM whose statuses have the contract's names needs no map."""
    text = EXAMPLE.replace(
        "  city: city", "  estimated_value: {crm: a, currency_crm: c}\n  annual_revenue: {crm: b, currency_crm: c}"
    )
    good(text)
    start, end = text.index("  status:\n"), text.index("  created_at:")
    tenant = good(f"{text[:start]}  status: stage\n{text[end:]}")
    assert tenant.mapping.qualify_wire() == {"stage": "qualified"}


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    """A file that cannot be read and one that is broken are findings; the good one is in force."""
    write(tmp_path, "acme", EXAMPLE)
    write(tmp_path, "broken", "tenant: [")
    (tmp_path / "unreadable.yaml").symlink_to("/proc/self/mem")
    (tmp_path / "nowhere.yaml").symlink_to(tmp_path / "gone")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / ".#acme.yaml").symlink_to("somebody@desk.1:2")  # how an editor marks a file that is open
    loaded = tenants.load(tmp_path, CATALOGUE, environ=ENVIRON)
    assert set(loaded.tenants) == {"acme"}
    codes = [(Path(one.place.file).name, one.code) for one in loaded.findings]
    assert codes == [
        ("broken.yaml", "yaml.syntax"),
        ("folder.yaml", "yaml.unreadable"),
        ("nowhere.yaml", "yaml.unreadable"),
        ("unreadable.yaml", "yaml.unreadable"),
    ]


def test_a_new_tenant_may_not_claim_what_intake_has_passed_over(tmp_path: Path) -> None:
    """Intents that were left to the domain while the tenant was unknown do not become the CRM's afterwards."""
    write(tmp_path, "acme", EXAMPLE)
    loaded = tenants.load(tmp_path, CATALOGUE, strangers_us=1_790_000_000_000_000, environ=ENVIRON)
    assert [(one.code, one.place.line) for one in loaded.findings] == [
        ("tenant.leads-past", line_of(EXAMPLE, "owner: crm"))
    ]
    assert set(tenants.load(tmp_path, CATALOGUE, strangers_us=1_700_000_000_000_000, environ=ENVIRON).tenants) == {
        "acme"
    }


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.yaml").write_text(text)


ENTRY = "  - {owner: crm, from: 2026-01-01T00:00:00Z}\n"
PAST = ENTRY + "  - {owner: domain, from: 2026-02-01T00:00:00Z}\n"
MISTAKE = "pushh: {batch: 1}\n"


def codes_in(folder: Path, previous: dict[str, Outline] | None = None) -> set[tuple[str, str]]:
    """Load what ``folder`` holds beside ``previous``, intake having gone by; tell the findings by file."""
    now_us = 1_790_000_000_000_000
    loaded = tenants.load(folder, CATALOGUE, previous=previous, passed_us=now_us, environ=ENVIRON)
    found = [(Path(one.place.file).name, one.code) for one in loaded.findings]
    assert len(found) == len(set(found))
    assert {name for name, _ in found} & {f"{name}.yaml" for name in loaded.tenants} == set()
    return set(found)


@pytest.mark.parametrize("mistake", ["", MISTAKE], ids=["alone", "beside another mistake"])
@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("beta", "", "", "tenant.wrong-file"),
        ("acme", ENTRY, "", "tenant.leads-changed"),
        ("acme", ENTRY, ENTRY.replace("2026", "2027"), "tenant.leads-changed"),
        ("acme", ENTRY, PAST, "tenant.leads-past"),
        ("acme", 'account: "4242"', 'account: "4343"', "tenant.account-moved"),
        ("umbrella", "tenant: acme", "tenant: umbrella", "tenant.shared-account"),
    ],
)
def test_what_a_file_is_compared_by_is_told_beside_its_other_mistakes(
    tmp_path: Path, name: str, old: str, new: str, code: str, mistake: str
) -> None:
    """An unknown key does not hide that the file breaks with the others, or with what was accepted; and nothing else is told."""
    write(tmp_path, name, EXAMPLE.replace(old, new, 1) + mistake)
    expected = {(f"{name}.yaml", code)} | ({(f"{name}.yaml", "config.unknown-key")} if mistake else set())
    assert codes_in(tmp_path, {"acme": good().outline}) == expected


@pytest.mark.parametrize("part", ["tenant: acme", 'account: "4242"', ENTRY])
def test_what_cannot_be_told_of_a_broken_file_is_not_compared(tmp_path: Path, part: str) -> None:
    """The broken id, account or entry is the one finding: nothing is said of what stands in for it."""
    broken = part.replace("acme", "[]").replace('"4242"', "4242").replace("2026-01-01", "soon")
    write(tmp_path, "acme", EXAMPLE.replace(part, broken))
    write(tmp_path, "beta", EXAMPLE.replace("tenant: acme", "tenant: beta").replace('account: "4242"', "account: 77"))
    assert part != broken
    found = codes_in(tmp_path, {"acme": good().outline})
    assert {code for name, code in found if name == "beta.yaml"} == {"config.bad-type"}
    assert len([code for name, code in found if name == "acme.yaml"]) == 1


@pytest.mark.parametrize("other", ["aaa", "other"])
def test_of_two_files_for_one_tenant_the_one_with_its_name_is_right(tmp_path: Path, other: str) -> None:
    """Whichever comes first; and nobody is told to write over the good file."""
    write(tmp_path, "acme", EXAMPLE)
    write(tmp_path, other, EXAMPLE.replace("every: 30s", "every: 20s"))
    loaded = tenants.load(tmp_path, CATALOGUE, environ=ENVIRON)
    assert loaded.tenants["acme"].pull.every_s == 30
    assert codes_in(tmp_path) == {(f"{other}.yaml", "tenant.wrong-file"), (f"{other}.yaml", "tenant.duplicate")}
    (wrong,) = [one for one in loaded.findings if one.code == "tenant.wrong-file"]
    assert wrong.remedy == "remove the file, or mend its `tenant`: acme.yaml is there already"
    write(tmp_path, "acme", "tenant: [")
    remedies = [one.remedy for one in tenants.load(tmp_path, CATALOGUE, environ=ENVIRON).findings]
    assert wrong.remedy in remedies


def test_of_two_files_for_one_tenant_of_which_none_is_right_both_are_refused(tmp_path: Path) -> None:
    """Two endings of one name, or two wrong names: nobody can tell which one is meant."""
    write(tmp_path, "acme", EXAMPLE)
    (tmp_path / "acme.yml").write_text(EXAMPLE)
    assert codes_in(tmp_path) == {("acme.yaml", "tenant.duplicate"), ("acme.yml", "tenant.duplicate")}
    (tmp_path / "acme.yaml").rename(tmp_path / "beta.yaml")
    (tmp_path / "acme.yml").rename(tmp_path / "other.yaml")
    wrong = {"tenant.duplicate", "tenant.wrong-file"}
    assert codes_in(tmp_path) == {(file, code) for file in ("beta.yaml", "other.yaml") for code in wrong}


def named(tenant: str, account: str, connection: str = "first", more: str = "") -> str:
    text = EXAMPLE.replace("tenant: acme", f"tenant: {tenant}").replace('"4242"', f'"{account}"')
    return text.replace("adapter: hubspot", f"adapter: hubspot\n  name: {connection}") + more


def test_an_account_is_its_tenants_until_a_good_file_names_another(tmp_path: Path) -> None:
    """Who comes to it is refused, and stays where it was; also where it is refused because a third one had to stay."""
    accepted = {
        name: good(named(name, account)).outline for name, account in (("acme", "1"), ("beta", "2"), ("coop", "3"))
    }
    shared = "tenant.shared-account"
    for tenant, account in (("acme", "2"), ("beta", "3"), ("coop", "4")):
        write(tmp_path, tenant, named(tenant, account, "second"))
    assert codes_in(tmp_path, accepted) == set()  # each leaves before the other comes
    write(tmp_path, "coop", named("coop", "4", "second", MISTAKE))
    assert codes_in(tmp_path, accepted) == {
        ("coop.yaml", "config.unknown-key"),
        ("beta.yaml", shared),
        ("acme.yaml", shared),
    }
    write(tmp_path, "coop", named("coop", "3"))
    write(tmp_path, "beta", named("beta", "2"))
    assert codes_in(tmp_path, accepted) == {("acme.yaml", shared)}


def test_a_broken_file_takes_no_account_from_a_good_one(tmp_path: Path) -> None:
    """Of two new tenants on one account the one whose file is broken anyway is at fault."""
    write(tmp_path, "acme", named("acme", "1", more=MISTAKE))
    write(tmp_path, "beta", named("beta", "1"))
    assert codes_in(tmp_path) == {("acme.yaml", "config.unknown-key"), ("acme.yaml", "tenant.shared-account")}


PLAIN = (ROOT / "tests" / "contract" / "declared" / "plain.yaml").read_text()
AT = re.search(r"^  address: (\S+)\n", PLAIN, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        (EXAMPLE.replace("adapter: hubspot", "adapter: hubspot\n  address: https://api.hubapi.com:443"), True),
        (EXAMPLE.replace("adapter: hubspot", "adapter: hubspot\n  address: https://API.hubapi.com./"), True),
        (EXAMPLE.replace("adapter: hubspot", "adapter: hubspot\n  address: https://api-eu1.hubapi.com"), True),
        (EXAMPLE.replace('"4242"', '" 4242"'), True),
        (EXAMPLE.replace('"4242"', '"4242\\n"'), True),
        (EXAMPLE.replace('"4242"', '"4243"'), False),
    ],
)
def test_two_spellings_of_one_account_are_one_account(tmp_path: Path, text: str, shared: bool) -> None:
    """Else two processes would call it at once; HubSpot's ids are those of one account, whichever host answers for it."""
    assert text != EXAMPLE
    write(tmp_path, "acme", EXAMPLE)
    write(tmp_path, "beta", text.replace("tenant: acme", "tenant: beta"))
    assert codes_in(tmp_path) == ({("beta.yaml", "tenant.shared-account")} if shared else set())
    if not shared:
        return
    accepted = {"acme": good().outline}
    (tmp_path / "beta.yaml").unlink()
    write(tmp_path, "acme", text)
    assert codes_in(tmp_path, accepted) == set()  # it has not moved


@pytest.mark.parametrize(
    ("address", "shared"),
    [
        ("https://crm.example/", True),
        ("https://CRM.example:443", True),
        ("https://crm.example.", True),
        ("https://crm.example:8443", False),
        ("https://crm.example/eu", False),
        ("https://crm2.example", False),
    ],
)
def test_an_account_of_a_declared_crm_is_told_by_its_address_too(tmp_path: Path, address: str, shared: bool) -> None:
    """Ids of two installations have nothing to do with one another; one address has many spellings."""
    assert AT is not None
    for name, at in (("acme", "https://crm.example"), ("beta", address)):
        text = PLAIN.replace(AT[0], f"  address: {at}\n")
        write(tmp_path, name, re.sub(r"^tenant: .*$", f"tenant: {name}", text, flags=re.MULTILINE))
    loaded = tenants.load(tmp_path, CATALOGUE, environ=dict.fromkeys(re.findall(r"env:(\w+)", PLAIN), "x"))
    found = [(Path(one.place.file).name, one.code) for one in loaded.findings]
    assert found == ([("beta.yaml", "tenant.shared-account")] if shared else [])


def test_an_account_is_known_without_the_blanks_around_it() -> None:
    """And blanks alone are none."""
    assert good(EXAMPLE.replace('"4242"', '" 4242 "')).connection.account == "4242"
    assert [one.code for one in read(EXAMPLE.replace('"4242"', '"  "'))[1]] == ["config.out-of-range"]


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
        tmp_path, CATALOGUE, previous={"acme": accepted.outline}, passed_us=passed_us, environ=ENVIRON
    )
    assert [one.code for one in loaded.findings] == [code]
    assert not loaded.tenants


@pytest.mark.parametrize(("first", "then", "rewinds"), [("domain", "crm", True), ("crm", "domain", False)])
def test_a_rewind_is_proposed_only_where_it_can_help(tmp_path: Path, first: str, then: str, rewinds: bool) -> None:
    """It reads what was passed over; what the bridge has taken cannot become the domain's."""
    start, end = EXAMPLE.index("  - {owner: domain"), EXAMPLE.index("connection:")
    owners = ["crm"] if first == "crm" else ["crm", "domain"]
    accepted = [f"  - {{owner: {owner}, from: 202{number}-01-01T00:00:00Z}}" for number, owner in enumerate(owners)]
    text = "\n".join((EXAMPLE[:start].rstrip(), *accepted, EXAMPLE[end:]))
    past = text.replace("connection:", f"  - {{owner: {then}, from: 2026-02-01T00:00:00Z}}\nconnection:", 1)
    write(tmp_path, "acme", past)
    loaded = tenants.load(
        tmp_path, CATALOGUE, previous={"acme": good(text).outline}, passed_us=1_790_000_000_000_000, environ=ENVIRON
    )
    (one,) = loaded.findings
    assert (one.code, "rewind" in one.remedy) == ("tenant.leads-past", rewinds)


def test_an_entry_in_the_future_may_be_appended(tmp_path: Path) -> None:
    """Handing the leads back is a new entry with a time to come."""
    text = EXAMPLE.replace(
        "2026-01-01T00:00:00Z}\n", "2026-01-01T00:00:00Z}\n  - {owner: domain, from: 2030-01-01T00:00:00Z}\n", 1
    )
    write(tmp_path, "acme", text)
    loaded = tenants.load(
        tmp_path, CATALOGUE, previous={"acme": good().outline}, passed_us=1_790_000_000_000_000, environ=ENVIRON
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
        ("mapping.crm-option-unknown", line_of(EXAMPLE, "UNQUALIFIED: disqualified")),
        ("mapping.crm-field-required", line_of(EXAMPLE, "email: email")),
    }


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        EXAMPLE.replace("  - {owner", "- {owner"),
        json.dumps({"tenant": "acme", "leads": [{"owner": "domain", "from": "2024-01-01T00:00:00Z"}]}),
        "tenant: acme\nnote: |\n  leads: none\nleads: [{owner: crm, from: 2026-01-01T00:00:00Z}]",
        "leads: &all\n# who\n  - {owner: crm, from: 2026-01-01T00:00:00Z}\ntenant: acme\n",
    ],
)
def test_the_leads_alone_are_read_as_the_whole_file_says(text: str) -> None:
    """Wherever they stand and however they are written; of what is no file, nothing."""
    whole = outline_of(yaml_places.parse(text.encode(), "acme.yaml"), "", CATALOGUE)
    assert tenants.spans_of(text) == whole.spans
    assert whole.spans
    assert tenants.spans_of(text.replace("owner:", "owned:").replace('"owner"', '"owned"')) == ()
