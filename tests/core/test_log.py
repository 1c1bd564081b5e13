"""The log's two forms: one event a line, its fields apart from its words."""

from __future__ import annotations

import json
import logging

from sales_crm_bridge.observe import JsonLines, TextLines


def record(message: str, *args: object, level: int = logging.WARNING, **extra: object) -> logging.LogRecord:
    made = logging.getLogger("room").makeRecord("room", level, __file__, 1, message, args, None, extra=extra)
    made.created = 1_790_000_000.25
    return made


def test_a_json_line_has_the_event_and_its_fields() -> None:
    """One object a line; what is empty is left out, what is zero is not."""
    line = JsonLines().format(
        record("%s waits", "push", event="worker.interrupted", tenant="acme", code="", attempt=0, trace_id=None)
    )
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-09-21T14:13:20.250000Z",
        "level": "warning",
        "logger": "room",
        "message": "push waits",
        "event": "worker.interrupted",
        "tenant": "acme",
        "attempt": 0,
    }


def test_text_from_outside_cannot_forge_a_line() -> None:
    """A line end in a value stays inside its JSON string, and becomes a blank in a text, as what steers a terminal does."""
    line = JsonLines().format(record("x", event="a.b", code='no\n{"level": "info"}'))
    assert line.count("\n") == 0
    assert json.loads(line)["code"] == 'no\n{"level": "info"}'
    text = TextLines().format(record("from %s", "a\nb", event="a.b", message_id="m\nERROR room: all is lost\x1b[2J"))
    assert text == "WARNING room: from a b  event=a.b  message_id=m ERROR room: all is lost [2J"


def test_a_text_line_has_the_fields_too() -> None:
    """On a terminal the tenant and the code stand behind the words, a traceback under them."""
    line = TextLines().format(record("a bug", event="worker.bug", tenant="acme", traceback="  File x\n"))
    assert line == "WARNING room: a bug  event=worker.bug  tenant=acme\n  File x"


def test_a_librarys_traceback_is_kept() -> None:
    """A library's exception is shown whole in both forms, since its line has no event to tell of it."""
    made = record("odd")
    made.exc_info = (ValueError, ValueError("odd"), None)
    assert "ValueError" in json.loads(JsonLines().format(made))["traceback"]
    assert TextLines().format(made).endswith("ValueError: odd")
