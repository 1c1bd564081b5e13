"""Every line of the log has an event, every event has a row in docs/operations.md, and no row speaks of one that is gone."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from sales_crm_bridge import clerk

ROOT = Path(__file__).parents[2]
BRIDGE = ROOT / "sales_crm_bridge"
LEVELS = {"debug", "info", "warning", "error"}
NO_SERVICE = ("demo/", "pb/", "sandbox/", "simulate/")
ROW = re.compile(r"^\| ((?:`[a-z.-]+`(?:, )?)+) \| ([a-z, ]+) \| .+ \| .+ \|$", re.MULTILINE)


def calls(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield line, level and event ("" none) of each call of a logger; ``extra`` stands in the call or right above it."""
    named = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Dict)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in {"log", "logger", "logging", "_log", "_logger"}
            and node.func.attr in LEVELS | {"exception", "critical", "warn"}
        ):
            extra: ast.expr | None = next((word.value for word in node.keywords if word.arg == "extra"), None)
            if isinstance(extra, ast.Name):
                extra = named.get(extra.id)
            pairs = zip(extra.keys, extra.values, strict=True) if isinstance(extra, ast.Dict) else ()
            event = next((v for k, v in pairs if isinstance(k, ast.Constant) and k.value == "event"), None)
            yield node.lineno, node.func.attr, str(event.value) if isinstance(event, ast.Constant) else ""


def spoken() -> dict[str, set[str]]:
    """Give event → levels, of every line that the service can write; the clerk's come from its table."""
    found: dict[str, set[str]] = defaultdict(set)
    for state, (_, number) in clerk.SAID.items():
        found[f"command.{state.value}"].add({20: "info", 30: "warning"}[number])
    for path in sorted(BRIDGE.rglob("*.py")):
        if not str(path.relative_to(BRIDGE)).startswith(NO_SERVICE):
            for line, level, event in calls(ast.parse(path.read_text(encoding="utf-8"))):
                assert event, f"{path.relative_to(ROOT)}:{line}: a line of the log without an event"
                assert level in LEVELS, f"{path.relative_to(ROOT)}:{line}: a foreign exception's text can hold a value"
                found[event].add(level)
    return dict(found)


def explained() -> dict[str, set[str]]:
    """Give event → levels as the page tells them; one level for all events of a row, or one for each."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("## The log")[2].partition("\n## ")[0]
    found = {}
    for names, levels in ROW.findall(section):
        events, all_levels = re.findall(r"`([^`]+)`", names), levels.split(", ")
        for number, event in enumerate(events):
            found[event] = {all_levels[min(number, len(all_levels) - 1)]}
    return found


def test_every_event_is_explained_with_its_level() -> None:
    """Who searches the log by an event finds what it means and what to do; the two lists are the same."""
    said, told = spoken(), explained()
    assert said.keys() - told.keys() == set(), "explain them in docs/operations.md"
    assert told.keys() - said.keys() == set(), "docs/operations.md speaks of events that nobody utters"
    assert {event: levels for event, levels in said.items() if levels != told[event]} == {}


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ('log.info("x", extra={"event": "a.b", "tenant": t})', (1, "info", "a.b")),
        ('log.warning("x %s", y)', (1, "warning", "")),
        ('log.exception("x", extra={"event": "a.b"})', (1, "exception", "a.b")),
        ('extra = {"event": "a.b"}\nlog.error("x", extra=extra)', (2, "error", "a.b")),
        ('log.error("x", extra={"event": name})', (1, "error", "")),
    ],
)
def test_the_check_sees_what_it_looks_for(source: str, seen: tuple[int, str, str]) -> None:
    """The check above is not blind: an event that is missing or no literal is found missing."""
    assert list(calls(ast.parse(source))) == [seen]
