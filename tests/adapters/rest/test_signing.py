"""Signing in and webhooks: tokens that rotate, sessions in cookies, and deliveries that somebody else has made."""

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Credentials,
    Effect,
    Hook,
    HookRefused,
    HttpCall,
    HttpReply,
    Notice,
    Secrets,
    SignInRefused,
)
from tests.adapters.rest.kit import ASKED_US, adapter, hold, reply

OAUTH = {"client_id": "me", "client_secret": "se:cret", "refresh_token": "first"}


def sign_in(
    part: dict[str, Any],
    secrets: dict[str, str],
    *answers: HttpReply,
    keep: dict[str, str] | None = None,
    **changes: Any,
) -> tuple[Any, list[HttpCall]]:
    trial = adapter({"sign_in": part, **changes})
    return hold(trial.authenticate(Secrets(values=secrets), keep or {}, ASKED_US), *answers)


def form_of(call: HttpCall) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(call.body.decode()).items()}


def test_a_static_token_and_a_basic_sign_in_need_no_call() -> None:
    """The header as declared; one that cannot be a header is refused with its remedy, not sent."""
    signed, _ = sign_in({"token": {"header": "X-Key", "value": "k={secret.token}"}}, {"token": "abc"})
    assert signed == Credentials(headers=(("x-key", "k=abc"),))
    signed, _ = sign_in({"basic": {}}, {"username": "ada", "password": "p:ü"})
    assert signed.headers == (("authorization", "Basic " + base64.b64encode("ada:p:ü".encode()).decode()),)
    for secrets in ({}, {"token": "two\nlines"}):
        refused, _ = sign_in({"token": {}}, secrets)
        assert isinstance(refused, SignInRefused)
        assert "two" not in repr(refused)
    signed, _ = sign_in({"basic": {}}, {"username": "key"})
    assert signed.headers == (("authorization", "Basic " + base64.b64encode(b"key:").decode()),)
    refused, _ = sign_in({"basic": {}}, {"password": "x"})
    assert refused == SignInRefused(code="secret-missing", remedy="give the secret 'username' under `credentials`")


@pytest.mark.parametrize("client", ["body", "basic"])
def test_client_credentials(client: str) -> None:
    """RFC 6749, section 4.4: the client in the form or in a header of its own, the scopes, whatever else is declared."""
    part = {"client_credentials": {"path": "/token", "client": client, "scope": "a b", "more": {"audience": "x"}}}
    signed, (call,) = sign_in(part, OAUTH, reply({"access_token": "A", "expires_in": "3600"}))
    assert signed == Credentials(headers=(("authorization", "Bearer A"),), expires_us=ASKED_US + 3_600_000_000)
    sent = form_of(call)
    assert (call.method, call.path, call.effect) == ("POST", "/token", Effect.SIGN_IN)
    assert (sent["grant_type"], sent["scope"], sent["audience"]) == ("client_credentials", "a b", "x")
    basic = ("authorization", "Basic " + base64.b64encode(b"me:se:cret").decode())
    assert (basic in call.headers) == (client == "basic")
    assert ("client_secret" in sent) == (client == "body")


REFRESH = {"refresh_token": {"path": "/token"}}


def test_a_rotated_refresh_token_is_kept_and_used() -> None:
    """Each sign-in uses what the last one was given, until a person gives a new token: then that one counts."""
    signed, (call,) = sign_in(REFRESH, OAUTH, reply({"access_token": "A", "expires_in": 60, "refresh_token": "second"}))
    assert form_of(call)["refresh_token"] == "first"
    assert signed.keep["refresh_token"] == "second"
    keep = dict(signed.keep)
    again, (call,) = sign_in(REFRESH, OAUTH, reply({"access_token": "B", "expires_in": 60}), keep=keep)
    assert form_of(call)["refresh_token"] == "second"
    assert again.keep == keep
    _, (call,) = sign_in(REFRESH, {**OAUTH, "refresh_token": "anew"}, reply({"access_token": "C"}), keep=keep)
    assert form_of(call)["refresh_token"] == "anew"


def test_a_refresh_token_that_stays_needs_no_keeping() -> None:
    """Nothing is stored that the file holds already."""
    for answer in ({"access_token": "A"}, {"access_token": "A", "refresh_token": "first"}):
        signed, _ = sign_in(REFRESH, OAUTH, reply(answer))
        assert (dict(signed.keep), signed.expires_us) == ({}, 0)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply({"error": "invalid_grant"}, 400), "invalid_grant"),
        (reply({"error": "invalid_code"}), "invalid_code"),
        (reply({"error": "the token first is bad"}), "refused"),
        (reply(b"<html>", 401), "http-401"),
        (reply({}, 403), "http-403"),
    ],
)
def test_a_refusal_is_a_value_with_the_crms_word(answer: HttpReply, code: str) -> None:
    """Also where it comes with status 200; a sentence is no code, since it may quote a secret."""
    refused, _ = sign_in(REFRESH, OAUTH, answer)
    assert isinstance(refused, SignInRefused)
    assert refused.code == code
    assert refused.remedy


@pytest.mark.parametrize(
    "answer", [reply(b"", 302), reply({"access_token": 5}), reply({"access_token": ""}), reply(b"x")]
)
def test_an_answer_that_is_neither_is_tried_later(answer: HttpReply) -> None:
    """No token and no refusal: nobody's credentials are wrong."""
    with pytest.raises(CrmUnavailable):
        sign_in(REFRESH, OAUTH, answer)


LOGIN = {
    "login": {
        "path": "/session",
        "body": {"user": "{secret.username}", "password": "{secret.password}", "database": "main"},
        "token": {"cookie": "sid"},
        "lasts_s": 600,
        "header": "Cookie",
        "value": "sid={token}",
    }
}
USER = {"username": "ada", "password": "pw"}


def test_a_login_yields_a_session() -> None:
    """From a cookie, a header or the body; for as long as the answer says, or the declaration."""
    header = "other=1; Path=/, sid=S1; Expires=Wed, 01 Jul 2026 00:00:00 GMT; HttpOnly"
    signed, (call,) = sign_in(LOGIN, USER, reply({}, set_cookie=header))
    assert signed == Credentials(headers=(("cookie", "sid=S1"),), expires_us=ASKED_US + 600_000_000)
    assert json.loads(call.body) == {"user": "ada", "password": "pw", "database": "main"}
    login = {**LOGIN["login"], "token": "result.token", "expires_in": "result.seconds"}
    signed, _ = sign_in({"login": login}, USER, reply({"result": {"token": 17, "seconds": 5}}))
    assert (signed.headers, signed.expires_us) == ((("cookie", "sid=17"),), ASKED_US + 5_000_000)
    signed, _ = sign_in({"login": {**login, "token": {"header": "X-Token"}}}, USER, reply({}, x_token="T"))
    assert signed.headers == (("cookie", "sid=T"),)


def test_a_login_that_is_refused_under_a_good_status() -> None:
    """A rule of the declaration sees it; without a token and without a rule it is tried later."""
    rule = {"when": {"status": 200, "body": {"error": {"present": True}}}, "means": "sign_in", "say": "wrong-password"}
    refused, _ = sign_in(LOGIN, USER, reply({"error": {"code": 1}}), failures=[rule])
    assert isinstance(refused, SignInRefused)
    assert refused.code == "wrong-password"
    with pytest.raises(CrmUnavailable):
        sign_in(LOGIN, USER, reply({"error": {"code": 1}}))


def test_common_words_are_not_put_under_a_sign_in() -> None:
    """They are the API's, and the sign-in may be at another place."""
    _, (call,) = sign_in(LOGIN, USER, reply({}, set_cookie="sid=1"), common={"headers": {"X-V": "1"}, "body": {"a": 1}})
    assert call.headers == ()
    assert "a" not in json.loads(call.body)


# --- webhooks ---------------------------------------------------------------------------------------------------------

NOW_S = 1_790_000_000
WEBHOOK = {
    "signature": {"header": "X-Sig", "encoding": "hex", "part": "v1", "signs": "{timestamp}.{body}"},
    "timestamp": {"header": "X-Sig", "part": "t", "max_age_s": 300},
    "id": "data.id",
    "event": "event",
    "meanings": {"lead.created": "created", "lead.deleted": "removed"},
    "dedupe": "id",
}
SECRET = Secrets(values={"webhook_secret": "whsec"})


def event(name: str = "lead.created", crm_id: object = "r1", **more: object) -> dict[str, object]:
    return {"id": "e1", "event": name, "data": {"id": crm_id}, **more}


def delivery(body: object, *, sent_s: int = NOW_S, secret: bytes = b"whsec") -> Hook:
    data = json.dumps(body).encode()
    digest = hmac.new(secret, f"{sent_s}.".encode() + data, hashlib.sha256).hexdigest()
    headers = {"x-sig": f"t={sent_s}, v1={digest}"}
    return Hook(method="POST", url="https://b.example/h", headers=headers, body=data, received_us=NOW_S * 1_000_000)


def notices(hook: Hook, **changes: Any) -> list[Notice]:
    return adapter({"webhook": {**WEBHOOK, **changes}}).notices(hook, SECRET)


def test_a_signed_delivery_is_a_hint_about_its_record() -> None:
    """The event's meaning, the record's id, and a name by which a repeat is known; unknown events mean nothing."""
    assert notices(delivery(event())) == [Notice(id="r1", what="created", dedupe="lead.created/e1/r1")]
    assert notices(delivery(event("ping"))) == []
    assert notices(delivery([event(crm_id=7), event("lead.deleted", "r2")])) == [
        Notice(id="7", what="created", dedupe="lead.created/e1/7"),
        Notice(id="r2", what="removed", dedupe="lead.deleted/e1/r2"),
    ]
    assert [one.id for one in notices(delivery(event(merged=["a", "b", "a"])), id=["data.id", "merged.*"])] == [
        "r1",
        "a",
        "b",
    ]


def test_deliveries_without_an_id_of_their_own_are_told_apart_by_what_they_say() -> None:
    """A repeat says the same, another change does not."""
    one, other = (notices(delivery(event(at=at)), dedupe=None)[0].dedupe for at in (1, 2))
    assert one != other
    assert one == notices(delivery(event(at=1)), dedupe=None)[0].dedupe


@pytest.mark.parametrize(
    ("hook", "code"),
    [
        (delivery(event(), secret=b"other"), "bad-signature"),
        (delivery(event(), sent_s=NOW_S - 301), "too-old"),
        (delivery(event(), sent_s=NOW_S + 301), "too-old"),
        (delivery(5), "bad-form"),
        (delivery([event(), 5]), "bad-form"),
    ],
)
def test_a_delivery_that_does_not_hold_is_refused(hook: Hook, code: str) -> None:
    """Another secret, another time, another form."""
    with pytest.raises(HookRefused) as refused:
        notices(hook)
    assert refused.value.code == code


@pytest.mark.parametrize("spoil", [{"x-sig": ""}, {"x-sig": "t=x,v1=00"}, {"x-sig": "v1=00"}, {"x-sig": "t=1"}, {}])
def test_half_a_signature_is_none(spoil: dict[str, str]) -> None:
    """A part that is missing, or is no time."""
    whole = delivery(event())
    hook = Hook(method="POST", url=whole.url, headers=spoil, body=whole.body, received_us=whole.received_us)
    with pytest.raises(HookRefused) as refused:
        notices(hook)
    assert refused.value.code == "unsigned"


@pytest.mark.parametrize("given", ["zz", "0", "ü"])
def test_a_signature_that_is_no_number_is_a_bad_one(given: str) -> None:
    """Never an exception of another kind."""
    whole = delivery(event())
    hook = Hook(
        method="POST",
        url=whole.url,
        headers={"x-sig": f"t={NOW_S},v1={given}"},
        body=whole.body,
        received_us=whole.received_us,
    )
    with pytest.raises(HookRefused) as refused:
        notices(hook)
    assert refused.value.code == "bad-signature"


@pytest.mark.parametrize(
    ("scheme", "digest"), [("hmac-sha1", "sha1"), ("hmac-sha256", "sha256"), ("hmac-sha512", "sha512")]
)
def test_schemes_and_encodings(scheme: str, digest: str) -> None:
    """base64 behind a prefix, over method, address and body, without a time."""
    data = json.dumps(event()).encode()
    own = base64.b64encode(hmac.digest(b"whsec", b"POST https://b.example/h|" + data, digest)).decode()
    signature = {
        "header": "X-S",
        "scheme": scheme,
        "encoding": "base64",
        "prefix": "v=",
        "signs": "{method} {url}|{body}",
    }
    hook = Hook(method="post", url="https://b.example/h", headers={"x-s": f"v={own}"}, body=data, received_us=0)
    assert len(notices(hook, signature=signature, timestamp=None)) == 1
    with pytest.raises(HookRefused):
        notices(
            Hook(method="PUT", url=hook.url, headers=hook.headers, body=data, received_us=0),
            signature=signature,
            timestamp=None,
        )


def test_a_secret_by_itself_can_be_the_signature() -> None:
    """Compared in constant time; without our own secret nothing is believed."""
    signature = {"header": "X-Token", "scheme": "token"}
    hook = Hook(method="POST", url="u", headers={"x-token": "whsec"}, body=json.dumps(event()).encode(), received_us=0)
    assert len(notices(hook, signature=signature, timestamp=None)) == 1
    with pytest.raises(HookRefused, match="no-secret"):
        adapter({"webhook": {**WEBHOOK, "signature": signature}}).notices(hook, Secrets(values={}))
    with pytest.raises(HookRefused, match="no-webhooks"):
        adapter().notices(hook, SECRET)
