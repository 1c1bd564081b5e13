"""Nothing secret and nothing personal stands in an error or a log."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.crm_http import Redactor, Seal, SealBroken
from sales_crm_bridge.errors import BridgeError, ConnectionStopped, CrmUnavailable
from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    Effect,
    HttpCall,
    NoReply,
    Record,
    Rejected,
    Stop,
    Unknown,
)
from sales_crm_bridge.observe import JsonLines
from tests.core.rim_kit import Answer, Seen, World, get, ok, play, post, saying

PERSONAL = ["ada@corp.example", "ada%40corp.example", "+44 20 7946 0958", "(555) 010-4477", "4915123456789"]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Z"]), min_size=4, max_size=40))
def test_a_known_secret_is_masked_in_every_form(secret: str) -> None:
    """As it is, percent-encoded, in Base64, after ``Bearer``: gone from any text."""
    redactor = Redactor([f"Bearer {secret}"])
    encoded = base64.b64encode(secret.encode()).decode()
    for form in (secret, encoded, encoded.rstrip("=")):
        assert form not in redactor(f"before |{form}| after").replace("before", "").replace("after", "").replace(
            "***", ""
        )


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Authorization: Basic dXNlcjpwYXNz and more", "dXNlcjpwYXNz"),
        ("{'authorization': 'Bearer eyJhbGciOi.x.y'}", "eyJhbGciOi"),
        ("GET /a?hapikey=0f2e-44&x=1", "0f2e-44"),
        ("https://h/cb?code=4%2F0AX4&state=1", "0AX4"),
        ('{"refresh_token": "na1-77aa", "x": 1}', "na1-77aa"),
        ("client_secret='s3cr3t'", "s3cr3t"),
        *((f"the value {value} is not valid", value) for value in PERSONAL),
    ],
)
def test_what_looks_secret_or_personal_is_masked(text: str, gone: str) -> None:
    """Tokens in headers, queries and bodies, addresses, phone numbers; the rest of the sentence stays."""
    found = Redactor()(text)
    assert gone not in found
    assert "***" in found


def test_words_and_small_numbers_stay() -> None:
    """A code, a status, a count and a date's year are what an operator needs."""
    text = "PROPERTY_DOESNT_EXIST: answer 400, try 3 of 5, 190 calls per 10 s in 2026"
    assert Redactor()(text) == text


def test_foreign_words_are_trimmed_to_one_short_line() -> None:
    """A CRM's error page does not become our log."""
    found = Redactor()("line\nafter\r\nline " + "x" * 5000)
    assert len(found) <= 300
    assert "\n" not in found


@given(st.binary(max_size=200), st.text(min_size=16, max_size=30), st.text(min_size=16, max_size=30))
def test_what_is_sealed_opens_with_its_key_for_its_account_only(text: bytes, key: str, other: str) -> None:
    """The right key opens it, also as an older one; another key, another account or a changed byte does not."""
    sealed = Seal([key], bound_to="acme/crm").close(text)
    assert Seal([other, key], bound_to="acme/crm").open(sealed) == text
    broken = [Seal([key], bound_to="rival/crm")] + ([Seal([other], bound_to="acme/crm")] if other != key else [])
    for seal in broken:
        with pytest.raises(SealBroken):
            seal.open(sealed)
    for changed in (sealed[:-1] + bytes([sealed[-1] ^ 1]), b"\x02" + sealed[1:], sealed[:5], b""):
        with pytest.raises(SealBroken):
            Seal([key], bound_to="acme/crm").open(changed)


SECRETS = ["static-token-1", "configured-refresh", "access-77-planted", "refresh-77-planted", "seal" * 8]


def leaky(seen: Seen, step: list[int]) -> Answer:
    """A CRM that repeats everything it was told, in bodies and headers, with every status there is."""
    echo = f"{seen.url} {seen.headers} {seen.body!r} {PERSONAL}".encode()
    if seen.path.startswith("/oauth"):
        said = {"access": "access-77-planted", "refresh": "refresh-77-planted", "expires_in": 1800}
        return (200, {}, json.dumps(said).encode()) if step[0] >= 0 else (400, {}, echo)
    status = [500, 503, 429, 403, 302, 401, 401, 423, 200][step[0] % 9]
    step[0] += 1
    headers = {"location": f"https://evil.example/?token={SECRETS[0]}", "x-echo": echo.decode(errors="replace")}
    return status, headers, echo


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("start", range(9))
def test_planted_secrets_and_personal_data_reach_no_log_and_no_error(
    caplog: pytest.LogCaptureFixture, start: int, *, static: bool
) -> None:
    """Through every kind of answer, on paths and in bodies that hold them: no log line (as JSON), error or traceback does."""
    caplog.set_level(logging.DEBUG)
    found: list[str] = []
    step = [start]

    async def scene(world: World) -> None:
        for _ in range(3):
            for talk in (_reading(), saying(post(f"/leads/{PERSONAL[0]}", "; ".join(PERSONAL).encode()))):
                try:
                    replies = await world.rim.converse(talk, purpose="push")
                except BridgeError as fault:
                    found.append(f"{fault}\n{fault!r}\n{''.join(traceback.format_exception(fault))}")
                else:
                    found.extend(repr(reply) for reply in replies if isinstance(reply, NoReply))
        found.append(repr(world.rim.state()) + repr(world.terms))

    def _reading() -> Any:
        query = (("email", PERSONAL[0]), ("phone", PERSONAL[2]), ("hapikey", SECRETS[0]))
        call = HttpCall(method="GET", path=f"/leads/{PERSONAL[1]}/{PERSONAL[4]}", effect=Effect.READ, query=query)
        return saying(call)

    play(scene, lambda seen: leaky(seen, step), static=static, tries_max=2)
    found += [JsonLines().format(record) for record in caplog.records]
    assert len(found) > 3
    for text in found:
        for planted in (*SECRETS, *PERSONAL):
            assert planted not in text, text


def test_an_adapters_own_error_is_redacted_too() -> None:
    """What a talk raises about an unreadable answer passes the same mask, and gets the account as its place."""

    async def scene(world: World) -> None:
        def talk() -> Any:
            (reply,) = yield (get(),)
            raise CrmUnavailable("crm.unreadable", f"cannot read {PERSONAL[0]} of {reply.status}", retry_at_us=0)

        with pytest.raises(CrmUnavailable, match=r"cannot read \*\*\* of 200") as caught:
            await world.rim.converse(talk(), purpose="pull")
        assert caught.value.place == "acme/crm"
        assert PERSONAL[0] not in "".join(traceback.format_exception_only(caught.value))

    play(scene, ok)


def test_a_stops_words_are_redacted() -> None:
    """An adapter that copies the CRM's sentence into a Stop does no harm."""

    async def scene(world: World) -> None:
        world.adapter.classify = lambda *_: Stop(  # type: ignore[method-assign]
            category=Category.PERMISSION,
            code=f"NO {PERSONAL[0]}",
            message=f"user {PERSONAL[0]} with static-token-1 may not",
            remedy=f"ask {PERSONAL[0]}",
        )
        with pytest.raises(ConnectionStopped) as caught:
            await world.rim.converse(saying(get()), purpose="pull")
        text = f"{caught.value} {caught.value.code}"
        assert PERSONAL[0] not in text
        assert "static-token-1" not in text
        assert "may not" in text

    play(scene, ok)


def test_an_outcomes_words_are_redacted() -> None:
    """A CRM whose code or field's name is what it was told: neither the log nor a fact gets it; its records stay what they are."""

    async def scene(world: World) -> None:
        word = f"static-token-1.{PERSONAL[0]}"
        record = Record(id=PERSONAL[4], version="", modified_us=0, fields={"email": PERSONAL[0]})
        good = Accepted(crm_id=PERSONAL[4], record=record)
        refused = Rejected(category=Category.VALIDATION, code=word, fields=("city", word), other_id=PERSONAL[4])

        def talk() -> Any:
            yield (post(),)
            return [good, refused, Deferred(not_before_us=7, reason=word), Unknown(reason=word)]

        assert await world.rim.converse(talk(), purpose="push") == [
            good,
            Rejected(category=Category.VALIDATION, code="***", fields=("city", "***"), other_id=PERSONAL[4]),
            Deferred(not_before_us=7, reason="***"),
            Unknown(reason="***"),
        ]

    play(scene, ok)
