"""Alert rules and dashboard: they speak of metrics that there are, and promtool runs the rules."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
PREFIX = "sales_crm_bridge_"


def rules() -> list[dict[str, Any]]:
    (group,) = YAML(typ="safe").load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def exported() -> set[str]:
    """The metrics of the page's table, each of which the HTTP side's own text must hold, whole or in its two halves."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("## Health, metrics and webhooks")[2].partition("\n## ")[0]
    source = "".join(
        file.read_text(encoding="utf-8") for file in sorted((ROOT / "sales_crm_bridge" / "web").glob("*.py"))
    )
    found = set(re.findall(r"`([a-z][a-z0-9_]+)`", table))
    return {name for name in found if name.removesuffix("_total") in source or name.partition("_")[2] in source}


def named(expression: str) -> set[str]:
    return {name.removeprefix(PREFIX) for name in re.findall(rf"{PREFIX}\w+", expression)}


def known(name: str, there: set[str]) -> bool:
    return any(name.removesuffix(end) in there for end in ("", "_total", "_bucket"))


def test_every_metric_of_a_rule_or_a_panel_is_exported() -> None:
    """A renamed metric would silence an alert for ever."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    wanted = set[str]().union(*(named(rule["expr"]) for rule in rules()))
    wanted |= set[str]().union(*(named(target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]))
    there = exported()
    assert len(wanted) > 20
    assert sorted(name for name in wanted if not known(name, there)) == []


def test_every_alert_leads_to_a_section_that_says_what_to_do() -> None:
    """The anchor is a heading of the operations page."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    }
    for rule in rules():
        file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert file == "docs/operations.md"
        assert anchor in anchors, rule["alert"]


@pytest.mark.real
def test_promtool_accepts_the_rules_and_they_fire_when_they_should(promtool: str) -> None:
    """Syntax by ``check rules``, behaviour over time by ``test rules``."""
    subprocess.run([promtool, "check", "rules", RULES], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        [promtool, "test", "rules", RULES.with_name("rules.test.yaml")], check=True, stdout=subprocess.DEVNULL
    )
