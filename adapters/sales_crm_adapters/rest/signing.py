"""Signing in, in each of the ways that a declaration can name."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sales_crm_adapters.rest.answers import UNREADABLE, parsed
from sales_crm_adapters.rest.notions import Aside, Common
from sales_crm_adapters.rest.paths import MISSING, one, path_of
from sales_crm_adapters.rest.templates import Calls, Template, plain
from sales_crm_bridge.model import Credentials, Effect, HttpCall, HttpReply, Secrets, SignInRefused
from sales_crm_bridge.ports import Talk, ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sales_crm_adapters.rest.about_us import Grant, Login
    from sales_crm_adapters.rest.answers import Answers
    from sales_crm_adapters.rest.notions import Steps
    from sales_crm_adapters.rest.options import Options

SECOND_US = 1_000_000
REMEDY = "give good credentials for this account, and compare `sign_in` with the CRM's documentation"


class SignIns:
    """The sign-in of one declaration."""

    def __init__(self, options: Options, answers: Answers) -> None:
        self._part = options.sign_in
        self._answers = answers
        login = options.sign_in.login
        self._login = Calls(login, Common(), Effect.SIGN_IN) if login is not None else None

    def authenticate(self, secrets: Secrets, keep: Mapping[str, str]) -> Talk[Credentials | SignInRefused]:
        """See ``ports.CrmAdapter.authenticate``."""
        part = self._part
        try:
            given = {f"secret.{name}": value for name, value in secrets.values.items()}
            if part.token is not None:
                return _credentials(part.token.header, part.token.value, given)
            if part.basic is not None:
                pair = f"{secrets['username']}:{secrets.values.get('password', '')}"
                return Credentials(headers=(("authorization", f"Basic {_base64(pair)}"),))
            if part.login is not None:
                return (yield from self._log_in(part.login, given))
            if part.refresh_token is not None:
                return (yield from self._refresh(part.refresh_token, secrets, keep))
            assert part.client_credentials is not None
            form = {"grant_type": "client_credentials"}
            return (yield from self._grant(part.client_credentials, form, secrets))
        except KeyError as missing:
            return SignInRefused(code="secret-missing", remedy=f"give the secret {missing} under `credentials`")

    def _refresh(self, grant: Grant, secrets: Secrets, keep: Mapping[str, str]) -> Talk[Credentials | SignInRefused]:
        """Exchange the refresh token; a kept one counts only while the configured one is the one that it came from."""
        configured = secrets["refresh_token"]
        origin = hashlib.sha256(configured.encode()).hexdigest()[:16]
        current = keep.get("refresh_token", configured) if keep.get("origin") == origin else configured
        form = {"grant_type": "refresh_token", "refresh_token": current}
        return (yield from self._grant(grant, form, secrets, rotates=(configured, current, origin)))

    def _grant(
        self, grant: Grant, form: dict[str, str], secrets: Secrets, rotates: tuple[str, str, str] | None = None
    ) -> Talk[Credentials | SignInRefused]:
        """Ask a token endpoint (RFC 6749, section 5); some tell an error with status 200."""
        form |= {"scope": grant.scope} if grant.scope else {}
        form |= grant.more
        headers: tuple[tuple[str, str], ...] = ()
        if grant.client == "basic":
            pair = f"{secrets['client_id']}:{secrets['client_secret']}"
            headers = (("authorization", f"Basic {_base64(pair)}"),)
        else:
            form |= {"client_id": secrets["client_id"], "client_secret": secrets["client_secret"]}
        reply = yield from ask(
            HttpCall(
                method="POST",
                path=grant.path,
                effect=Effect.SIGN_IN,
                headers=headers,
                body=urlencode(form).encode(),
                content_type="application/x-www-form-urlencoded",
            )
        )
        body = parsed(reply.body)
        refused = self._refused(reply, body)
        if refused is not None:
            return refused
        token = one(body, path_of(grant.token))
        if not isinstance(token, str) or not token:
            told = one(body, ("error",))
            if isinstance(told, str):
                return SignInRefused(code=self._answers.word(told) or "refused", remedy=REMEDY)
            raise self._answers.unavailable(reply)
        keep: dict[str, str] = {}
        if rotates is not None:
            configured, current, origin = rotates
            new = one(body, path_of(grant.refresh_token))
            rotated = new if isinstance(new, str) and new else current
            keep = {"refresh_token": rotated, "origin": origin} if rotated != configured else {}
        expires_us = self._expires_us(reply, body, grant.expires_in, 0)
        return _credentials(grant.header, grant.value, {"token": token}, expires_us, keep)

    def _log_in(self, login: Login, given: Mapping[str, Any]) -> Talk[Credentials | SignInRefused]:
        assert self._login is not None
        reply = yield from ask(self._login.call(given))
        body = parsed(reply.body)
        refused = self._refused(reply, body)
        if refused is not None:
            return refused
        token = self._token(login.token, reply, body)
        if not token:
            raise self._answers.unavailable(reply)
        return _credentials(
            login.header,
            login.value,
            {**given, "token": token},
            self._expires_us(reply, body, login.expires_in, login.lasts_s),
        )

    def _refused(self, reply: HttpReply, body: Any) -> SignInRefused | None:
        """A refusal: the client's error, or a good status over what a rule calls a failure; None: it is a good answer.

        Raises ``CrmUnavailable`` for what is neither.
        """
        meaning = self._answers.meaning(reply)
        if meaning.means == "ok" and 200 <= reply.status < 300:  # noqa: PLR2004
            return None
        if meaning.means not in ("ok", "unknown") or 400 <= reply.status < 500:  # noqa: PLR2004
            told = one(body, ("error",)) if body is not UNREADABLE else ""
            return SignInRefused(code=self._answers.word(told) or meaning.code, remedy=REMEDY)
        raise self._answers.unavailable(reply)

    def _token(self, place: Steps | Aside, reply: HttpReply, body: Any) -> str:
        if isinstance(place, Aside):
            if place.header:
                return reply.headers.get(place.header.lower(), "")
            return cookie(reply.headers.get("set-cookie", ""), place.cookie or "")
        found = one(body, path_of(place))
        return plain(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""

    def _expires_us(self, reply: HttpReply, body: Any, place: Steps | None, lasts_s: int) -> int:
        told = one(body, path_of(place)) if place is not None else MISSING
        if isinstance(told, str) and told.isascii() and told.isdecimal() and len(told) < 10:  # noqa: PLR2004
            told = int(told)
        if isinstance(told, int | float) and not isinstance(told, bool) and 0 < told < 10**9:
            lasts_s = int(told)
        return reply.asked_us + lasts_s * SECOND_US if lasts_s else 0


def _credentials(
    header: str, value: str, given: Mapping[str, Any], expires_us: int = 0, keep: Mapping[str, str] | None = None
) -> Credentials | SignInRefused:
    text = Template(value).text(given)
    if not isinstance(text, str) or not text.isprintable():
        return SignInRefused(code="secret-missing", remedy="give the secrets that `sign_in` names, without line ends")
    return Credentials(headers=((header.lower(), text),), expires_us=expires_us, keep=keep or {})


def cookie(header: str, name: str) -> str:
    """A cookie's value in ``Set-Cookie`` headers that were joined by commas, "" if it is not there."""
    for part in header.replace(",", ";").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
