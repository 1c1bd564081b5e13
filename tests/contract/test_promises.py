"""What every adapter promises beyond records: capabilities, sign-in, verdicts, hooks, purity, and calm in the face of garbage."""

import ast
import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sales_crm_adapters
from hypothesis import given
from hypothesis import strategies as st
from sales_crm_adapters import CATALOGUE
from sales_crm_adapters.__main__ import MEANINGS, page

from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    NO_HOOK_SECRET,
    NO_WEBHOOKS,
    Account,
    Answered,
    Capabilities,
    Category,
    Credentials,
    Effect,
    FeedKind,
    FieldDefinition,
    Hook,
    HookRefused,
    HttpReply,
    NoReply,
    Operation,
    Outcome,
    Page,
    Quota,
    Record,
    Ref,
    Rejected,
    Secrets,
    SignInAgain,
    SignInRefused,
    Stop,
    TryAgain,
    Verdict,
)
from sales_crm_bridge.ports import Talk
from sales_crm_bridge.sandbox import Answer, Fault, FaultKind
from tests.contract.world import Stopped, World
from tests.contract.worlds import WORLDS

CONTACTS = Capabilities(
    batch_max=100,
    unique_key=True,
    read_by_key=True,
    conditional_write=False,
    removed_feed=True,
    merges=True,
    restores=True,
    field_times=False,
    webhooks=True,
    time_step_us=1_000,
    budgets={"search": 4.0},
    atomic_write=False,
    emptied_first=("lifecyclestage",),
    describes=True,
)
PINNED = {
    "hubspot": CONTACTS,
    "hubspot-2026-09": CONTACTS,
    "hubspot-leads": Capabilities(
        batch_max=100,
        unique_key=True,
        read_by_key=True,
        conditional_write=False,
        removed_feed=True,
        merges=False,
        restores=True,
        field_times=False,
        webhooks=True,
        time_step_us=1_000,
        budgets={"search": 4.0},
        atomic_write=False,
        emptied_first=(),
        describes=True,
    ),
    "declared-cloud": Capabilities(
        batch_max=50,
        unique_key=True,
        read_by_key=True,
        conditional_write=True,
        removed_feed=True,
        merges=False,
        restores=True,
        field_times=False,
        webhooks=True,
        time_step_us=1_000,
        budgets={},
        atomic_write=True,
        emptied_first=(),
        describes=True,
    ),
    "declared-miserly": Capabilities(
        batch_max=10,
        unique_key=False,
        read_by_key=False,
        conditional_write=False,
        removed_feed=False,
        merges=False,
        restores=False,
        field_times=False,
        webhooks=False,
        time_step_us=1_000_000,
        budgets={},
        atomic_write=True,
        emptied_first=(),
        describes=False,
    ),
    "declared-plain": Capabilities(
        batch_max=10,
        unique_key=True,
        read_by_key=True,
        conditional_write=True,
        removed_feed=True,
        merges=False,
        restores=True,
        field_times=False,
        webhooks=False,
        time_step_us=1_000_000,
        budgets={},
        atomic_write=True,
        emptied_first=(),
        describes=True,
    ),
    "declared-rpc": Capabilities(
        batch_max=10,
        unique_key=True,
        read_by_key=True,
        conditional_write=False,
        removed_feed=True,
        merges=False,
        restores=True,
        field_times=False,
        webhooks=False,
        time_step_us=1_000_000,
        budgets={},
        atomic_write=True,
        emptied_first=(),
        describes=True,
    ),
    "memory": Capabilities(
        batch_max=20,
        unique_key=True,
        read_by_key=True,
        conditional_write=True,
        removed_feed=True,
        merges=True,
        restores=True,
        field_times=False,
        webhooks=False,
        time_step_us=1_000_000,
        budgets={},
        atomic_write=True,
        emptied_first=(),
        describes=True,
    ),
}
"""What each adapter must declare. To declare less, change it here, and say why in the commit."""


# --- capabilities and catalogue ---------------------------------------------------------------------------------------


def test_capabilities_are_what_was_agreed(world: World) -> None:
    """No adapter escapes a promise by declaring less; and it declares the same every time."""
    name = next(name for name, made in WORLDS.items() if made is type(world))
    assert world.adapter.capabilities == PINNED[name]
    assert world.adapter.capabilities == world.adapter.capabilities


def test_every_form_of_every_crm_has_its_world() -> None:
    """The suite runs against everything in the catalogue, in every form that the catalogue tells apart."""
    for entry in CATALOGUE.values():
        worlds = [world.options for world in WORLDS.values() if world.name == entry.name]
        defaults = {name: option.get("default") for name, option in entry.schema()["properties"].items()}
        for _, form in entry.forms:
            assert any(form.items() <= {**defaults, **options}.items() for options in worlds), (entry.name, form)


def test_the_page_about_crms_tells_every_capability() -> None:
    """No capability is declared and left out of the documentation; nothing is told that is not one; every CRM has its part."""
    assert set(MEANINGS) == {field.name for field in dataclasses.fields(Capabilities)}
    assert all(f"## {entry.title}" in page() for entry in CATALOGUE.values())


def test_the_adapter_is_called_what_the_catalogue_calls_it(world: World) -> None:
    """One name, in the catalogue, in tenant files and on the adapter."""
    assert world.adapter.name == world.name == world.entry.name


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_options_report_every_problem_at_once(name: str) -> None:
    """Unknown names and bad values are found together, each with its path and a remedy; good options have none."""
    entry = CATALOGUE[name]
    lacking = {problem.message for problem in entry.problems({})}
    assert lacking == {f"{key!r} is missing" for key in entry.schema().get("required", [])}
    for _, form in entry.forms:
        assert entry.problems(form) == []
    known = sorted(entry.schema()["properties"])
    problems = entry.problems({key: ["nonsense"] for key in known} | {"nonsense": 1})
    assert sorted(problem.path[0] for problem in problems) == sorted([*known, "nonsense"])
    assert all(problem.remedy for problem in problems)
    with pytest.raises(msgspec.ValidationError):
        entry.make({"nonsense": 1}, ())


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_the_options_schema_stands_alone(name: str) -> None:
    """Editors get one document: no reference leads out of it, unknown names are refused, every option is explained."""
    schema = CATALOGUE[name].schema()
    assert "$ref" not in json.dumps(schema)
    assert schema["additionalProperties"] is False
    assert all(option["description"] for option in schema["properties"].values())


# --- who we are -------------------------------------------------------------------------------------------------------


def test_check_tells_the_account_and_its_fields(world: World) -> None:
    """Account, time zone, and a definition for every mapped field, read-only ones marked; nothing is wrong; nothing is changed."""
    world.create(1)
    before = world.raws(FeedKind.SWEEP)
    account = world.converse(world.adapter.check())
    assert account.account_id
    assert account.time_zone == world.zone
    assert set(world.fields.values()) <= set(account.fields)
    assert all(name == definition.name for name, definition in account.fields.items())
    assert not account.fields[world.fields["read_only"]].writable
    assert account.fields[world.fields["name"]].writable
    assert set(world.statuses) <= set(account.fields[world.fields["status"]].options)
    assert (account.missing, account.problems) == ((), ())
    assert world.raws(FeedKind.SWEEP) == before


def test_the_fields_are_described_as_the_check_tells_them(world: World) -> None:
    """Asked again and again, so in few calls; where the CRM cannot say, that is declared and nothing is asked."""
    fields = world.converse(world.adapter.check()).fields
    if world.adapter.capabilities.describes:
        world.calls.clear()
        assert world.converse(world.adapter.describe()) == fields
        assert 1 <= len(world.calls) <= 3


def test_a_sign_in_gives_headers_and_an_expiry(world: World) -> None:
    """Headers for every call; an expiry in the future or none; nothing secret in what is printed."""
    signed = world.sign_in()
    assert signed.headers
    assert signed.expires_us == 0 or signed.expires_us > world.clock.now_us
    assert all(value not in repr(signed) for _, value in signed.headers)
    world.converse(world.adapter.check())


EXCHANGED = sorted(name for name, made in WORLDS.items() if made.exchanged)
"""Worlds whose secrets are exchanged for a token; a static one neither expires nor is asked for."""


@pytest.mark.parametrize("name", EXCHANGED)
def test_an_expired_token_asks_for_a_new_sign_in(name: str) -> None:
    """A token that ran out: SignInAgain, and after it the same talk goes on; the write is made once."""
    world = WORLDS[name]()
    assert world.sign_in().expires_us > world.clock.now_us
    world.expire()
    world.converse(world.adapter.push([world.write(1)]))
    assert world.count() == 1


@pytest.mark.parametrize("name", EXCHANGED)
def test_a_refused_sign_in_is_a_value(name: str) -> None:
    """Wrong secrets: SignInRefused with the CRM's code and a remedy, no exception, no secret in it."""
    world = WORLDS[name]()
    wrong = dict.fromkeys(world.secrets, "planted-secret")
    refused = world.converse(world.adapter.authenticate(Secrets(values=wrong), {}, world.clock.now_us))
    assert isinstance(refused, SignInRefused)
    assert refused.code
    assert refused.remedy
    assert "planted-secret" not in repr(refused)


def test_what_a_sign_in_keeps_is_used_by_the_next(world: World) -> None:
    """Signing in again with what was kept works, also where the CRM rotates what it gave."""
    secrets = Secrets(values=world.secrets)
    keep: dict[str, str] = {}
    for _ in range(3):
        signed = world.converse(world.adapter.authenticate(secrets, keep, world.clock.now_us))
        assert isinstance(signed, Credentials)
        keep = dict(signed.keep)


def test_a_missing_right_stops_the_connection(world: World) -> None:
    """Stop with PERMISSION and what is missing: no retry, no loop of sign-ins."""
    world.forbid_reading()
    with pytest.raises(Stopped) as stopped:
        world.raws(FeedKind.SWEEP)
    verdict = stopped.value.verdict
    assert verdict.category is Category.PERMISSION
    assert verdict.code
    assert "read" in verdict.message
    assert verdict.remedy


# --- verdicts ---------------------------------------------------------------------------------------------------------


def verdict(world: World, status: int, effect: Effect = Effect.READ, body: bytes = b"", **headers: str) -> Verdict:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = HttpReply(status=status, headers=told, body=body, asked_us=0, answered_us=1)
    return world.adapter.classify(reply, effect)


@pytest.mark.parametrize("effect", list(Effect))
def test_good_answers_and_refusals_are_the_adapters_own(world: World, effect: Effect) -> None:
    """2xx, 400, 404, 409: passed on to the talk, whatever it was about."""
    for status in (200, 201, 204, 207, 400, 404, 409, 410, 412, 422):
        assert isinstance(verdict(world, status, effect), Answered)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'"x"', b'{"message":5,"errors":7,"category":[]}'])
def test_verdicts_need_no_body(world: World, body: bytes) -> None:
    """401 signs in again, 403 stops, 429 waits without effect, 5xx may have had one: by status alone, whatever the body."""
    assert isinstance(verdict(world, 401, body=body), SignInAgain)
    assert isinstance(verdict(world, 403, body=body), Stop)
    limited = verdict(world, 429, Effect.WRITE, body)
    assert isinstance(limited, TryAgain)
    assert (limited.executed, limited.quota) == (False, Quota.BURST)
    for status in (500, 502, 503, 504):
        failed = verdict(world, status, Effect.WRITE, body)
        assert isinstance(failed, TryAgain)
        assert failed.executed


def test_the_crms_own_wish_is_heard(world: World) -> None:
    """``Retry-After`` in seconds is passed on; nonsense in it is not."""
    heard = verdict(world, 429, retry_after="37")
    assert isinstance(heard, TryAgain)
    assert heard.wait_s == 37.0
    for text in ("soon", "-5", "1e9", "", "9" * 40, "٣"):
        ignored = verdict(world, 429, retry_after=text)
        assert isinstance(ignored, TryAgain)
        assert ignored.wait_s is None or 0 <= ignored.wait_s < 10**9


def test_a_token_endpoint_that_says_no_is_heard_by_the_sign_in(world: World) -> None:
    """400, 401 and 403 to a sign-in are not answered with another sign-in."""
    for status in (400, 401, 403):
        assert isinstance(verdict(world, status, Effect.SIGN_IN), Answered)


# --- hooks ------------------------------------------------------------------------------------------------------------


@given(body=st.binary(max_size=60), headers=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3))
@pytest.mark.parametrize("name", sorted(WORLDS))
def test_an_unsigned_delivery_is_refused(name: str, body: bytes, headers: dict[str, str]) -> None:
    """Whatever comes without a good signature: HookRefused with a code, nothing else; who can verify none says it in one word."""
    world = WORLDS[name]()
    hook = Hook(method="POST", url="https://bridge.example/hooks", headers=headers, body=body, received_us=1)
    for secrets in ({}, {"client_secret": "s", "webhook_secret": "s"}):
        with pytest.raises(HookRefused) as refused:
            world.adapter.notices(hook, Secrets(values=secrets))
        listens = world.adapter.capabilities.webhooks
        assert refused.value.code
        assert (refused.value.code == NO_WEBHOOKS) is not listens
        assert (refused.value.code == NO_HOOK_SECRET) is (listens and not secrets)


def test_a_signed_delivery_names_its_record_where_webhooks_are_declared(world: World) -> None:
    """A person renames a lead: a notice names it, whose ``dedupe`` is the same when the delivery comes again.

    A CRM that declares no webhooks refuses whatever comes, signed or not.
    """
    crm_id = world.create(1)
    world.clock.advance(1)
    hook, secrets = world.deliver(crm_id), Secrets(values=world.hook_secrets)
    if not world.adapter.capabilities.webhooks:
        with pytest.raises(HookRefused):
            world.adapter.notices(hook, secrets)
        return
    told = world.adapter.notices(hook, secrets)
    assert crm_id in {notice.id for notice in told}
    assert all(notice.id and notice.what and notice.dedupe for notice in told)
    assert world.adapter.notices(hook, secrets) == told


def test_a_delivery_that_is_not_the_crms_own_is_refused(world: World) -> None:
    """Its body was changed, another secret signed it, there is no secret to check it with, or it is a day old."""
    hook = world.deliver(world.create(1))
    forged = dataclasses.replace(hook, body=hook.body.replace(b"e", b"E", 1))
    late = dataclasses.replace(hook, received_us=hook.received_us + 86_400_000_000)
    others = dict.fromkeys(world.hook_secrets, "another-secret")
    for delivery, secrets in (
        (forged, world.hook_secrets),
        (late, world.hook_secrets),
        (hook, others),
        (hook, {}),
    ):
        with pytest.raises(HookRefused):
            world.adapter.notices(delivery, Secrets(values=secrets))


# --- garbage ----------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
STATUS = st.sampled_from(
    [100, 199, 200, 201, 204, 207, 301, 302, 400, 404, 408, 409, 410, 412, 414, 418, 422, 499, 599]
)


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[int | None, bytes | None, list[object]]:
    """A status (None: the true one), a body (None: the true one), and a way into the true body with what to put there."""
    status = draw(st.none() | STATUS)
    body = draw(st.none() | st.binary(max_size=20) | JSON.map(lambda value: json.dumps(value).encode()))
    way: list[object] = [*draw(st.lists(st.integers(0, 3), max_size=5)), draw(JSON)]
    return status, body, way


def twist(value: object, way: list[object]) -> object:
    """The value with one part of it replaced: ``way`` says which, and by what."""
    step = way[0]
    if len(way) == 1 or not isinstance(value, dict | list) or not value or not isinstance(step, int):
        return way[-1]
    if isinstance(value, list):
        at = step % len(value)
        return [*value[:at], twist(value[at], way[1:]), *value[at + 1 :]]
    name = sorted(value)[step % len(value)]
    return {**value, name: twist(value[name], way[1:])}


def as_json(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return {}


@given(data=st.data(), at=st.integers(0, 4), seed=spoilt())
@pytest.mark.parametrize("name", sorted(WORLDS))
def test_garbage_never_becomes_an_exception_that_is_not_ours(
    name: str, data: st.DataObject, at: int, seed: tuple[int | None, bytes | None, list[object]]
) -> None:
    """Any status, any body, or a true body with one part replaced, at any call of any talk: a proper value, or CrmUnavailable."""
    world = WORLDS[name]()
    crm_id, other = world.create(1, key="L-1"), world.create(2)
    world.sign_in()
    status, body, way = seed
    world.calls.clear()

    def spoil(_: object, answer: Answer) -> Answer:
        if len(world.calls) - 1 != at:
            return answer
        twisted = json.dumps(twist(as_json(answer.body), way)).encode() if body is None else body
        return answer._replace(status=status or answer.status, body=twisted)

    world.spoil = spoil
    feeds = world.adapter.feeds()
    refs = [Ref(id=crm_id), *world.ref("L-1"), Ref(id="123456"), *world.ref("L-9")]
    writes = [
        world.write(5),
        world.write(6, values={"name": "x", "email": "lead2@corp.example"}),
        world.write(1, Operation.REVISE, crm_id, {"phone": "+1", "name": "x"}),
        world.write(2, Operation.DISQUALIFY, other, {"status": "no-such-status"}),
    ]
    talks: list[Callable[[], Talk[Any]]] = [
        world.adapter.check,
        world.adapter.describe,
        lambda: world.adapter.read(refs),
        lambda: world.adapter.push(writes),
        lambda: world.adapter.authenticate(Secrets(values=world.secrets), {}, world.clock.now_us),
        *(partial(world.adapter.pull, feed, world.window(feed, 0, world.clock.now_us), 5) for feed in feeds),
    ]
    talk = data.draw(st.sampled_from(talks))()
    try:
        value = world.converse(talk)
    except (CrmUnavailable, Stopped):
        return
    if isinstance(value, Page):
        try:
            records = world.adapter.decode(value.raws)
        except msgspec.MsgspecError:
            return  # one record of an unknown shape: the core sets it apart
        assert len(records) == len(value.raws)
    elif isinstance(value, list):
        assert len(value) in (len(refs), len(writes))
        assert all(isinstance(one, Record | Outcome) for one in value)
        assert all(" " not in one.code and "@" not in one.code for one in value if isinstance(one, Rejected))
    elif isinstance(value, dict):
        assert all(isinstance(one, FieldDefinition) for one in value.values())
    else:
        assert isinstance(value, Account | Credentials | SignInRefused)


@given(status=STATUS | st.integers(400, 599), body=st.binary(max_size=30) | JSON.map(lambda v: json.dumps(v).encode()))
@pytest.mark.parametrize("name", sorted(WORLDS))
def test_every_answer_has_a_verdict(name: str, status: int, body: bytes) -> None:
    """Any status with any body, to any kind of call: one of the four verdicts."""
    adapter = WORLDS[name]().adapter
    reply = HttpReply(status=status, headers={}, body=body, asked_us=0, answered_us=1)
    for effect in Effect:
        assert isinstance(adapter.classify(reply, effect), Verdict)


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_a_reply_that_never_comes_leaves_every_write_with_an_outcome(world: World, answered: int) -> None:
    """The line dies for good after some calls: every write has its outcome all the same, and none is called accepted wrongly."""
    known = world.create(1)
    fault = Fault(FaultKind.REFUSED, times=None, skip=answered)
    world.sign_in()
    world.crm.faults.add(fault)
    batch = [world.write(3), world.write(1, Operation.REVISE, known, {"phone": "+1 new"})]
    try:
        outcomes = world.converse(world.adapter.push(batch))
    except CrmUnavailable:
        return
    world.crm.faults.clear()
    assert len(outcomes) == 2
    truth = [world.count() == 2, world.holds(known, "phone") == "+1 new"]
    for outcome, happened in zip(outcomes, truth, strict=True):
        assert type(outcome).__name__ in ({"Accepted", "Unknown"} if happened else {"Deferred", "Unknown", "Rejected"})


def test_no_reply_at_all_is_deferred_or_unknown_as_it_says(world: World) -> None:
    """The first writing calls answered with NoReply: ``sent`` decides between Unknown and Deferred for every write."""
    for sent in (True, False):
        talk = world.adapter.push([world.write(1), world.write(2)])
        calls = next(talk)
        while calls[0].effect is not Effect.WRITE:
            calls = talk.send(tuple(world._reply(call) for call in calls))
        none = NoReply(sent=sent, reason="why", retry_at_us=5)
        names: set[str] = set()
        try:
            while True:
                calls = talk.send(tuple(none if call.effect is Effect.WRITE else world._reply(call) for call in calls))
        except StopIteration as end:
            names = {type(outcome).__name__ for outcome in end.value}
        assert names == ({"Unknown"} if sent else {"Deferred"})


# --- purity -----------------------------------------------------------------------------------------------------------

MAY_IMPORT = frozenset({
    "__future__", "base64", "binascii", "collections", "dataclasses", "datetime", "email", "enum", "functools", "hashlib",
    "hmac", "itertools", "json", "math", "msgspec", "operator", "re", "types", "typing", "urllib", "zoneinfo",
})  # fmt: skip
OURS = {"sales_crm_bridge.errors", "sales_crm_bridge.model", "sales_crm_bridge.ports"}
PROGRAM = "__main__.py"


def imports(file: Path) -> list[str]:
    """Modules that a file imports, however it does."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.append(node.module or "")
    return found


def test_adapters_import_values_and_pure_things_only() -> None:
    """No I/O, no clock, no chance, no other adapter: a list of what may be imported, package initialisers included."""
    (folder,) = sales_crm_adapters.__path__
    files = [path for path in Path(folder).rglob("*.py") if path.name != PROGRAM]
    assert len(files) > 8
    for file in files:
        place = file.relative_to(folder)
        own = (
            f"sales_crm_adapters.{place.parts[0].removesuffix('.py')}" if len(place.parts) > 1 else "sales_crm_adapters"
        )
        for name in imports(file):
            pure = name.split(".")[0] in MAY_IMPORT and not name.startswith("urllib.request")
            assert pure or name in OURS or name == own or name.startswith(f"{own}."), f"{place} imports {name}"
