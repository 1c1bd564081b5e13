"""What answers mean: tests of values, rules, statuses, waits, and how moments are written."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sales_crm_adapters.rest.answers import Answers, names_in, parsed, wait_s
from sales_crm_adapters.rest.checks import Check, Checks, Matcher, is_status_word
from sales_crm_adapters.rest.notions import AnyTest, Condition, Filter, Times
from sales_crm_adapters.rest.options import Options
from sales_crm_adapters.rest.reference import page
from sales_crm_adapters.rest.times import TimeForm

from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import Answered, Effect, HttpReply, Quota, Ref, SignInAgain, Stop, TryAgain
from tests.adapters.rest.kit import ANSWERED_US, adapter, declared, hold, reply


@pytest.mark.parametrize(
    ("test", "values", "holds"),
    [
        ("a", ["a"], True),
        ("a", ["b", "a"], True),
        ("a", [], False),
        (1, [True], False),
        (True, [1], False),
        (True, [True], True),
        (None, [None], True),
        (None, [], False),
        (["a", 2], [2], True),
        ({"has": "taken"}, ["Already TAKEN."], True),
        ({"has": ["x", "taken"]}, ["taken"], True),
        ({"has": "taken"}, [["taken"]], False),
        ({"has": "taken"}, ["x" * 2_000 + "taken"], False),
        ({"present": True}, [None], False),
        ({"present": True}, [0], True),
        ({"present": True}, [], False),
        ({"present": False}, [], True),
        ({"present": False}, [None], True),
        ({"present": False}, [""], False),
        ({"not": "a"}, ["b"], True),
        ({"not": "a"}, ["b", "a"], False),
        ({"not": ["a", None]}, [], True),
        ({"not": "", "present": True}, [], False),
        ({"not": "", "present": True}, ["x"], True),
        ({"has": "x", "not": "xy"}, ["xy"], False),
    ],
)
def test_a_test_of_a_value(test: Any, values: list[object], holds: bool) -> None:
    """Equality by kind, membership, containment, presence; ``not`` alone holds where nothing is refused, also of nothing."""
    assert Check(msgspec.convert(test, AnyTest)).holds(values) is holds


def test_no_tests_hold_for_nothing() -> None:
    """A condition that says nothing of the body is no condition on it."""
    assert not Checks(None).hold({})
    assert not Checks({})
    assert Checks({"a.*.b": 1}).hold({"a": [{"b": 2}, {"b": 1}]})
    assert not Checks({"a": 1, "b": 2}).hold({"a": 1})


@pytest.mark.parametrize(
    ("condition", "status", "holds"),
    [
        ({"status": 404}, 404, True),
        ({"status": "4xx"}, 404, True),
        ({"status": "404"}, 404, True),
        ({"status": [409, "5XX"]}, 503, True),
        ({"status": [409, "5xx"]}, 404, False),
        ({"header": {"X-Error": "locked"}}, 200, True),
        ({"header": {"x-other": {"present": False}}}, 200, True),
        ({"header": {"x-other": "a"}}, 200, False),
        ({"status": 404, "body": {"code": 7}}, 404, True),
        ({"status": 404, "body": {"code": 8}}, 404, False),
        ({}, 500, True),
    ],
)
def test_a_condition_holds_when_all_of_it_does(condition: dict[str, Any], status: int, holds: bool) -> None:
    """Status or class, body and headers; the case of a header's name does not count."""
    matcher = Matcher(msgspec.convert(condition, Condition))
    assert matcher.holds(status, {"x-error": "locked"}, {"code": 7}) is holds


def test_status_words() -> None:
    """Three digits, or a class."""
    assert all(is_status_word(word) for word in (404, "404", "4xx", "5XX"))
    assert not any(is_status_word(word) for word in (40, 999, "4x", "xx4", "4xxx", "", "abc"))


# --- rules ------------------------------------------------------------------------------------------------------------


def answers(*failures: object, **parts: object) -> Answers:
    return Answers(msgspec.convert(declared({"failures": list(failures), **parts}), Options))


def test_the_first_rule_that_holds_counts_and_then_the_status() -> None:
    """Rules in their order, before the defaults; the CRM's code, else what the rule says, else the status."""
    read = answers(
        {"when": {"status": 400, "body": {"code": "TAKEN"}}, "means": "duplicate", "code": "code", "other": "id"},
        {"when": {"status": 400, "body": {"code": {"present": True}}}, "means": "forbidden", "say": "no-code"},
        {"when": {"status": 400}, "means": "conflict"},
    )
    told = read.meaning(reply({"code": "TAKEN", "id": 5}, 400))
    assert (told.means, told.code, told.other, told.ruled) == ("duplicate", "TAKEN", "5", True)
    assert read.meaning(reply({"code": "x y"}, 400)).code == "no-code"
    assert read.meaning(reply(b"<html>", 400)).means == "conflict"
    told = read.meaning(reply(b"", 422))
    assert (told.means, told.code, told.ruled) == ("validation", "http-422", False)


@pytest.mark.parametrize(
    ("status", "means"),
    [
        (200, "ok"), (204, "ok"), (304, "ok"), (400, "validation"), (401, "sign_in"), (403, "permission"), (404, "gone"),
        (408, "busy"), (409, "conflict"), (410, "gone"), (412, "conflict"), (418, "validation"), (423, "turned_away"),
        (429, "quota"), (500, "busy"), (599, "busy"), (302, "unknown"), (100, "unknown"),
    ],
)  # fmt: skip
def test_what_a_status_means_by_itself(status: int, means: str) -> None:
    """The table of the language's reference."""
    assert answers().meaning(reply(b"", status)).means == means
    assert "(3xx among them) `unknown`" in page()


def test_a_failure_under_a_good_status_is_seen() -> None:
    """JSON-RPC: HTTP says 200, the body says no; a good answer is not taken for one, whatever stands in its records."""
    read = answers(
        {
            "when": {"status": 200, "body": {"error.data.name": "Denied"}},
            "means": "permission",
            "code": "error.data.name",
        },
        {"when": {"status": "2xx", "body": {"error": {"present": True}}}, "means": "unknown"},
    )
    assert read.meaning(reply({"result": [{"error": "in a record"}]})).means == "ok"
    assert read.meaning(reply({"error": {"data": {"name": "Denied"}}})).means == "permission"
    assert read.meaning(reply({"error": {"data": {}}})).means == "unknown"
    assert read.meaning(reply({"error": None, "result": 1})).means == "ok"
    assert read.meaning(reply(b"no json")).means == "ok"


TESTS = st.one_of(
    st.sampled_from([1, True, "x", None, ["x", 1], []]),
    st.fixed_dictionaries(
        {},
        optional={
            "present": st.booleans(),
            "not": st.sampled_from([True, "x", 1, ["x", None]]),
            "has": st.sampled_from(["x", ["y", "x"]]),
        },
    ),
)
PATHS = st.sampled_from(["", "a", "a.b", "a.*.b", "b", "b.@keys", "*", "0.a"])
VALUES = st.recursive(
    st.sampled_from([None, True, False, 1, "x", "y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=6,
)
RULE = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from([200, "2xx", [202, 404], 404]),
        "body": st.dictionaries(PATHS, TESTS, max_size=2),
        "header": st.dictionaries(st.sampled_from(["X-Error", "X-Other"]), TESTS, max_size=1),
    },
)


@given(
    whens=st.lists(RULE, max_size=3),
    body=VALUES.map(lambda value: json.dumps(value).encode()) | st.sampled_from([b"", b"<html>", b'{"a": 1', b"\xff"]),
    status=st.sampled_from([200, 202, 204]),
    headers=st.sampled_from([{}, {"x-error": "x"}]),
)
def test_the_quick_way_tells_what_judging_tells(
    whens: list[dict[str, Any]], body: bytes, status: int, headers: dict[str, str]
) -> None:
    """A good answer that is taken without decoding it is one of which no rule holds; all others are told by the same rule."""
    read = answers(*({"when": when, "means": "unknown", "say": f"rule-{at}"} for at, when in enumerate(whens)))
    heard = HttpReply(status=status, headers=headers, body=body, asked_us=0, answered_us=ANSWERED_US)
    told = read.meaning(heard)
    judged = read.judge(heard.status, heard.headers, parsed(heard.body), heard.answered_us)
    assert (told.means, told.ruled) == (judged.means, judged.ruled)
    assert not told.ruled or told == judged


@pytest.mark.parametrize(
    ("whens", "error", "body"),
    [
        ([{"status": "2xx", "body": {"data": {"present": False}}}], "", {"x": 1}),
        ([{"body": {"success": {"not": True}}}], "", {"x": 1}),
        ([{"status": 200, "body": {"error": {"present": True}}}, {"header": {"X-E": "a"}}], "a", {}),
        ([{"status": 200, "body": {"error": {"present": True}}}, {"status": [200, 202]}], "", {"x": 1}),
        ([{"body": {"error": {"present": True}}}, {"header": {"X-E": "a"}}], "a", b"<html>"),
    ],
)  # fmt: skip
def test_a_failure_that_shows_by_what_is_not_there_is_seen(
    whens: list[dict[str, Any]], error: str, body: object
) -> None:
    """A lacking member, a header, a status alone: each makes a failure of a 2xx, whatever other rules look at the body."""
    read = answers(*({"when": when, "means": "validation"} for when in whens))
    assert read.meaning(reply(body, x_e=error)).means == "validation"


def test_names_of_fields_are_names_and_nothing_else() -> None:
    """Pointers are cut to their last step; what looks like no name (an address, a sentence) is left out; none twice."""
    read = answers({"when": {"status": 400}, "means": "validation", "fields": ["errors.*.at", "bad.@keys"]})
    body = {
        "errors": [{"at": "/data/0/email"}, {"at": "#/email"}, {"at": "ada@corp.example"}, {"at": "a b"}, {"at": 5}],
        "bad": {"phone": [], "name": []},
    }
    assert read.meaning(reply(body, 400)).fields == ("email", "phone", "name")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("TAKEN", "TAKEN"), (17, "17"), ("https://crm.example/errors/taken", "taken"), ("ada@corp.example", "http-400"),
        ("has a blank", "http-400"), (None, "http-400"), ({"a": 1}, "http-400"), ("x" * 81, "http-400"), (True, "http-400"),
    ],
)  # fmt: skip
def test_a_code_is_a_word(code: object, told: str) -> None:
    """What may stand in a log: a word, a number, the last step of a type's address; never a sentence or an address."""
    read = answers({"when": {"status": 400}, "means": "validation", "code": "code"})
    assert read.meaning(reply({"code": code}, 400)).code == told


def test_names_in_a_text_stand_there_as_words() -> None:
    """A name within another word is not meant."""
    text = "Field 'email' is bad; email_from too; phone."
    assert names_in(text, ["email", "email_from", "phone", "from", "bad_"]) == ("email", "email_from", "phone")


@pytest.mark.parametrize(
    ("told", "unit", "seconds"),
    [
        ("37", "s", 37.0), ("1.5", "s", 1.5), (1500, "ms", 1.5), (2, "s", 2.0),
        (str(ANSWERED_US // 1_000_000 + 30), "epoch_s", 30.0 - 0.25), (ANSWERED_US // 1_000 + 500, "epoch_ms", 0.5),
        ("Mon, 21 Sep 2026 14:13:50 GMT", "s", 29.75), ("Mon, 21 Sep 2026 14:13:00 GMT", "s", 0.0),
        ("soon", "s", None), ("-5", "s", None), ("1e9", "s", None), ("9" * 19, "s", None), (None, "s", None),
        (True, "s", None), ("٣", "s", None), ("Mon, 99 Sep 2026 99:13:50 GMT", "s", None), ([1], "s", None),
    ],
)  # fmt: skip
def test_waits(told: object, unit: str, seconds: float | None) -> None:
    """Seconds, milliseconds, moments, HTTP dates; nonsense and more than a week are no wish."""
    found = wait_s(told, unit, ANSWERED_US)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_verdicts_are_what_the_core_does_about_a_meaning() -> None:
    """Quota of the day, a lock, a stale token, a lacking right, calls left; a sign-in hears its own refusals."""
    read = answers(
        {"when": {"status": 429, "body": {"code": "day"}}, "means": "quota_day"},
        {"when": {"status": 403, "body": {"detail": {"has": "log in"}}}, "means": "sign_in", "say": "logged-out"},
        {
            "when": {"status": 400, "header": {"x-wait": {"present": True}}},
            "means": "busy",
            "wait": {"header": "X-Wait", "unit": "ms"},
        },
        limits={"day_left": {"header": "X-Left"}},
    )
    assert read.classify(reply({"code": "day"}, 429), Effect.WRITE) == TryAgain(
        quota=Quota.DAY, executed=False, code="http-429"
    )
    assert read.classify(reply(b"", 423), Effect.WRITE) == TryAgain(executed=False, code="http-423")
    assert read.classify(reply({"detail": "please Log In"}, 403), Effect.READ) == SignInAgain(code="logged-out")
    assert read.classify(reply(b"", 400, x_wait="1500"), Effect.WRITE) == TryAgain(wait_s=1.5, code="http-400")
    assert isinstance(read.classify(reply(b"", 403), Effect.READ), Stop)
    assert isinstance(read.classify(reply(b"", 403), Effect.SIGN_IN), Answered)
    assert read.classify(reply({}, x_left="41"), Effect.READ) == Answered(calls_left_day=41)
    assert read.classify(reply({}, x_left="many"), Effect.READ) == Answered()


def test_a_read_that_is_refused_as_a_whole_is_no_dead_letter() -> None:
    """A proxy's page, a rule that says "unknown": all reading waits. One record's own refusal holds up no other."""
    trial = adapter({"failures": [{"when": {"status": 404, "body": {"x": 1}}, "means": "unknown"}]})
    with pytest.raises(CrmUnavailable) as fault:
        hold(trial.read([Ref(id="r1")]), reply({"x": 1}, 404))
    assert fault.value.code == "rest.read-refused"
    with pytest.raises(CrmUnavailable) as fault:
        hold(trial.read([Ref(id="r1")]), reply(b"", 400))
    assert fault.value.code == "rest.unreadable"
    assert "trial" in fault.value.message


# --- moments ----------------------------------------------------------------------------------------------------------

MOMENT_US = 1_782_907_445_123_456  # 2026-07-01T12:04:05.123456Z


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"format": "rfc3339"}, "2026-07-01T12:04:05.123456Z"),
        ({"format": "rfc3339", "step": "ms"}, "2026-07-01T12:04:05.123Z"),
        ({"format": "rfc3339", "step": "s"}, "2026-07-01T12:04:05Z"),
        ({"format": "rfc3339", "step": "m"}, "2026-07-01T12:04:00Z"),
        ({"format": "datetime"}, "2026-07-01 12:04:05"),
        ({"format": "datetime", "zone": "Europe/Berlin"}, "2026-07-01 14:04:05"),
        ({"format": "datetime", "step": "us"}, "2026-07-01 12:04:05.123456"),
        ({"format": "date", "zone": "Pacific/Auckland"}, "2026-07-01"),
        ({"format": "epoch_s"}, 1_782_907_445),
        ({"format": "epoch_s", "step": "ms"}, "1782907445.123000"),
        ({"format": "epoch_ms"}, 1_782_907_445_123),
        ({"format": "http_date"}, "Wed, 01 Jul 2026 12:04:05 GMT"),
    ],
)
def test_moments_are_written_as_declared(form: dict[str, str], text: object) -> None:
    """Cut to the grain, in the zone where the format tells none; what is written is read back as the same moment."""
    times = TimeForm(msgspec.convert(form, Filter))
    assert times.text(MOMENT_US) == text
    if form["format"] != "date":
        assert times.read(text) == MOMENT_US - MOMENT_US % times.step_us


@given(
    us=st.integers(0, 4_102_444_800_000_000),
    form=st.sampled_from(["rfc3339", "datetime", "epoch_s", "epoch_ms", "http_date"]),
    step=st.sampled_from(["us", "ms", "s", "m"]),
)
def test_every_moment_comes_back(us: int, form: str, step: str) -> None:
    """Written and read again: the same, cut to the grain; and no earlier moment of the same grain is written later."""
    finest = {"epoch_ms": 1_000, "http_date": 1_000_000}.get(form, 1)
    times = TimeForm(msgspec.convert({"at": "x", "format": form, "step": step}, Times))
    grain = max(times.step_us, finest)
    assert times.read(times.text(us)) == us - us % grain


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("rfc3339", "yesterday"), ("rfc3339", 5), ("rfc3339", None), ("rfc3339", True), ("rfc3339", "0001-01-01T00:00:00Z"),
        ("epoch_s", "soon"), ("epoch_s", True), ("epoch_s", -1), ("epoch_ms", 10**17), ("http_date", "x"), ("date", []),
        ("epoch_s", float("inf")),
    ],
)  # fmt: skip
def test_what_is_no_moment_is_said_so(form: str, value: object) -> None:
    """Another format, another kind, a time that no CRM can mean."""
    with pytest.raises((ValueError, OverflowError)):
        TimeForm(msgspec.convert({"at": "x", "format": form}, Times)).read(value)


def test_a_moment_without_a_zone_is_in_the_declared_one() -> None:
    """With a zone of its own it is in that."""
    berlin = TimeForm(msgspec.convert({"format": "rfc3339", "zone": "Europe/Berlin"}, Filter))
    assert (
        berlin.read("2026-07-01T14:04:05")
        == berlin.read("2026-07-01T12:04:05Z")
        == berlin.read("2026-07-01T05:04:05-07:00")
    )
    assert json.dumps(berlin.text(MOMENT_US)) == '"2026-07-01T12:04:05.123456Z"'
