"""Alert rules and dashboard: held against a scrape of the service at work; promtool runs every rule, to fire and to keep still."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from sales_crm_bridge import contract, fronts
from sales_crm_bridge.gate import Reason
from sales_crm_bridge.sandbox.hubspot import throttled
from sales_crm_bridge.service import Service
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from sales_crm_bridge.state import Commit, Gap
from sales_crm_bridge.web import Meter
from tests.core.web_kit import SECRET, event, signed
from tests.flow.flow_kit import TOKEN, world

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
RULE_TESTS = RULES.with_name("rules.test.yaml")
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
OPERATIONS = ROOT / "docs" / "operations.md"

Samples = dict[str, list[dict[str, str]]]


def rules() -> list[dict[str, Any]]:
    (group,) = YAML(typ="safe").load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[tuple[str, str]]:
    """Give (title, expression) of every panel."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", ())]


# --- a scrape of the service at work ----------------------------------------------------------------------------------


async def busy(home: World) -> str:
    """A day in short: an import, commands done and parked, another's intent, one of no known form, a gap, a file, webhooks."""
    scraped = ""

    async def work(service: Service) -> None:
        nonlocal scraped

        async def kafka() -> str:
            return ""

        outside: Any = SimpleNamespace(ledger=service._ledger, clock=home.clock)
        assert isinstance(home.observer, Meter)
        face = fronts.face_of(home.settings, outside, service, home.observer, kafka)
        home.observer.called("CreateLead", "OK")
        home.observer.account("acme", "hubspot").unsettled("list")
        home.topics.put(b"acme/x", b"\xff\x00garbage", [])
        for number, email in enumerate(("no address", "a@sales.example")):
            lead = contract.Lead(lead_id=f"L-{number}", email=email)
            home.utter(
                contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id=f"L-{number}", message_id=f"m-{number}"
            )
        home.utter(contract.QualifyLeadRequested(), tenant="umbrella", lead_id="L-9", message_id="m-9")
        await home.clock.sleep(300)
        (Path(home.settings.tenants.folder) / "other.yaml").write_text("tenant: another\n")
        home.portal.faults.add(throttled(times=2))
        gap = Gap(
            id="g", conn=1, feed="intents", from_us=0, to_us=1, cause="c", opened_us=home.clock.now_us(), told_us=1
        )
        fence = next(worker.desk.fence for worker in service.workers.values())
        await service._ledger.commit(fence, Commit(conn=1, gaps=(gap,)))
        home.portal.administrator.remove_option("contacts", "hs_lead_status", "CONNECTED")
        next(iter(service.workers.values())).desk.fields.wanted = True
        await home.clock.sleep(300)
        transport = httpx.ASGITransport(face.app)
        async with httpx.AsyncClient(transport=transport, base_url="https://bridge.example") as client:
            path = "/webhooks/acme/hubspot"
            body, headers = signed([event()], path=path, at_us=home.clock.now_us(), base="https://bridge.example")
            for signature in (headers, {}):
                await client.post(path, content=body, headers=signature)
            await client.post("/webhooks/nobody/hubspot", content=body, headers=headers)
            await face.pulse.look()
            await face.pulse.ask_kafka()
            scraped = (await client.get("/metrics")).text

    assert not await home.live(lambda service: asyncio.ensure_future(work(service)))
    return scraped


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Give the label sets of every sample that a service at work has on its page, by the sample's name."""
    loop = VirtualLoop()

    async def main() -> str:
        home = world(loop, tmp_path_factory.mktemp("scrape"), "scrape", leads=20)
        home.observer = Meter()
        file = Path(home.settings.tenants.folder) / "acme.yaml"
        text = file.read_text()
        file.write_text(text.replace("token: env:ACME_TOKEN", "token: env:ACME_TOKEN, client_secret: env:ACME_HOOKS"))
        return await busy(home)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACME_TOKEN", TOKEN)
        patch.setenv("ACME_HOOKS", SECRET)
        page = run(main(), loop)
    found: Samples = defaultdict(list)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found[sample.name].append(dict(sample.labels))
    return found


# --- what an expression speaks of -------------------------------------------------------------------------------------

SELECTOR = re.compile(r"\b(sales_crm_bridge_\w+)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(by|on|without|ignoring)\s*\(([^)]*)\)")
ANY = "$"


def strangers(expression: str, there: Mapping[str, list[dict[str, str]]]) -> Iterator[str]:
    """Yield what an expression names and the scrape has not: metrics, labels, and values that a label is compared with."""
    labels = set[str]()
    for name, matchers in SELECTOR.findall(expression):
        if name not in there:
            yield name
            continue
        labels |= {label for sample in there[name] for label in sample}
        for label, sign, value in MATCHER.findall(matchers):
            values = {sample.get(label) for sample in there[name]}
            if values == {None}:
                yield f"{name}{{{label}}}"
            elif ANY not in value and sign in ("=", "!=") and value not in values:
                yield f'{name}{{{label}="{value}"}}'
            elif ANY not in value and sign in ("=~", "!~"):
                yield from (f"{name}{{{label}: {one}}}" for one in value.split("|") if one not in values)
    for _, names in GROUPING.findall(expression):
        yield from (f"label {name}" for each in names.split(",") if (name := each.strip()) not in labels)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_speaks_of_what_the_service_exports(rule: dict[str, Any], scraped: Samples) -> None:
    """A renamed metric, label or state would silence the alert for ever; what its text names is a label of its result."""
    expression = rule["expr"]
    assert list(strangers(expression, scraped)) == []
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    kept = {name.strip() for word, names in GROUPING.findall(expression) if word == "by" for name in names.split(",")}
    assert shown <= kept


@pytest.mark.parametrize(("title", "expression"), panels(), ids=lambda text: str(text)[:40])
def test_a_panel_speaks_of_what_the_service_exports(title: str, expression: str, scraped: Samples) -> None:
    """A panel that stays empty for ever looks as if all were well."""
    assert list(strangers(expression, scraped)) == [], title


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("max by (tenant) (sales_crm_bridge_no_such)", ["sales_crm_bridge_no_such", "label tenant"]),
        ('sales_crm_bridge_commands{state="stuck"}', ['sales_crm_bridge_commands{state="stuck"}']),
        ('sales_crm_bridge_commands{flavour="x"}', ["sales_crm_bridge_commands{flavour}"]),
        ("max by (flavour) (sales_crm_bridge_commands)", ["label flavour"]),
        ('max by (tenant) (sales_crm_bridge_commands{tenant=~"$tenant", state="parked"})', []),
    ],
)
def test_the_check_of_expressions_sees(expression: str, found: list[str], scraped: Samples) -> None:
    """The check above is not blind."""
    assert list(strangers(expression, scraped)) == found


def test_the_operations_page_and_the_scrape_name_the_same_metrics(scraped: Samples) -> None:
    """The table has each metric with its labels, and none that there is not."""
    section = OPERATIONS.read_text(encoding="utf-8").partition("**`/metrics`**")[2].partition("\n## ")[0]
    told = {
        f"sales_crm_bridge_{name}": set(re.findall(r"`(\w+)`", labels))
        for names, labels in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|([^|]*)\|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    plain = {re.sub(r"_(bucket|sum|count)$", "", name): name for name in scraped}
    assert told.keys() ^ plain.keys() == set()
    differing = {
        name: labels
        for name, labels in told.items()
        if labels != {label for one in scraped[plain[name]] for label in one} - {"le"}
    }
    assert differing == {}


def test_the_scrape_tells_why_an_intent_was_passed_over(scraped: Samples) -> None:
    """By the gate's reason, which is one of few; no other result has one."""
    told = {(sample["result"], sample["reason"]) for sample in scraped["sales_crm_bridge_intents_total"]}
    assert ("passed_over", "unknown-tenant") in told
    assert {reason for result, reason in told if result != "passed_over"} == {""}
    assert {reason for result, reason in told if result == "passed_over"} <= {*Reason}


# --- alerts and what to do about them ---------------------------------------------------------------------------------


def test_every_alert_leads_to_its_own_section_and_every_section_has_an_alert() -> None:
    """The link is to a heading of the operations page that says what it means and what to do."""
    page = OPERATIONS.read_text(encoding="utf-8").partition("\n## Alerts\n")[2].partition("\n## ")[0]
    sections = {text.partition("\n")[0]: text for text in page.split("\n### ")[1:]}
    alerts = {rule["alert"]: rule for rule in rules()}
    assert sections.keys() == alerts.keys()
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
        assert "*Do:* " in sections[name], name
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["for"]


def test_every_alert_is_tried_both_ways() -> None:
    """Each has a test in which it fires, and a time in one at which it must not."""
    cases = [
        case
        for test in YAML(typ="safe").load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]
        for case in test["alert_rule_test"]
    ]
    names = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_promtool_accepts_the_rules_and_they_fire_when_they_should(promtool: str) -> None:
    """Syntax by ``check rules``, behaviour over time by ``test rules``."""
    for verb, file in (("check", RULES), ("test", RULE_TESTS)):
        done = subprocess.run([promtool, verb, "rules", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboards_parts_are_told_apart() -> None:
    """Ids are unique and no two panels lie on one another, or Grafana drops one in silence."""
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in found)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert all(x < 24 for x, _ in cells)
