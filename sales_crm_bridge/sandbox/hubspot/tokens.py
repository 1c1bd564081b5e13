"""Who may call: static tokens of private apps, OAuth grants, scopes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from sales_crm_bridge.sandbox.hubspot.refusals import Refusal, detail
from sales_crm_bridge.sandbox.hubspot.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sales_crm_bridge.sandbox.hubspot.settings import Account, Vices
    from sales_crm_bridge.sandbox.wire import Request

ACCESS_TOKEN_S = 1800
"""How long an access token lives (OAuth guide)."""

ALL_SCOPES = (
    "oauth",
    *(f"crm.objects.{kind}.{right}" for kind in ("contacts", "leads", "companies") for right in ("read", "write")),
    *(f"crm.schemas.{kind}.{right}" for kind in ("contacts", "companies") for right in ("read", "write")),
    "crm.objects.owners.read",
)

SCOPES_PAGE = "https://developers.hubspot.com/scopes"


@dataclass(slots=True)
class Grant:
    """What a token stands for. ``ends_ms`` None: a static token, which lives until it is revoked."""

    token: str
    scopes: frozenset[str]
    app_id: int
    ends_ms: int | None = None
    refresh: str = ""

    @property
    def is_private_app(self) -> bool:
        """Whether the token is static: such apps share the day's calls and see them in headers."""
        return self.ends_ms is None


@dataclass(slots=True)
class OAuthApp:
    """An OAuth client and the refresh tokens that are good for it."""

    client_id: str
    client_secret: str
    app_id: int
    scopes: frozenset[str]
    refresh_tokens: list[str] = field(default_factory=list)


class Tokens:
    """All credentials of the account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._grants: dict[str, Grant] = {}
        self._apps: dict[str, OAuthApp] = {}
        self._issued = 0
        self.static(account.token)

    def static(self, token: str, scopes: Iterable[str] = ALL_SCOPES, app_id: int | None = None) -> str:
        """Make the token of a private app."""
        self._grants[token] = Grant(token, frozenset(scopes), app_id or self._account.app_id)
        return token

    def oauth_app(
        self,
        client_id: str,
        client_secret: str,
        refresh_token: str,
        scopes: Iterable[str] = ALL_SCOPES,
        app_id: int = 99,
    ) -> OAuthApp:
        """Install an OAuth app: it holds ``refresh_token`` from here on."""
        app = OAuthApp(client_id, client_secret, app_id, frozenset(scopes), [refresh_token])
        self._apps[client_id] = app
        return app

    def revoke(self, token: str) -> None:
        """End an access token or a refresh token."""
        self._grants.pop(token, None)
        for app in self._apps.values():
            if token in app.refresh_tokens:
                app.refresh_tokens.remove(token)

    def expire_all(self) -> None:
        """End every OAuth access token now, whatever lifetime it was promised."""
        for grant in self._grants.values():
            if grant.ends_ms is not None:
                grant.ends_ms = 0

    def grant_of(self, request: Request, now_ms: int) -> Grant:
        """Find who calls; raises ``Refusal`` (401)."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        grant = self._grants.get(token.strip()) if scheme.lower() == "bearer" else None
        if grant is None:
            raise Refusal(
                401,
                "INVALID_AUTHENTICATION",
                "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more details at "
                "https://developers.hubspot.com/docs/methods/auth/oauth-overview",
                bare=True,
            )
        if grant.ends_ms is not None and now_ms >= grant.ends_ms:
            ago_s = (now_ms - grant.ends_ms) // 1000
            raise Refusal(
                401,
                "EXPIRED_AUTHENTICATION",
                f"The OAuth token used to make this call expired {ago_s} second(s) ago.",
                context={"expire time": [iso(grant.ends_ms)]},
                bare=True,
            )
        return grant

    def exchange(self, request: Request, now_ms: int, vices: Vices) -> dict[str, Any]:
        """Answer the token endpoint; raises ``Refusal``."""
        if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
            raise Refusal(415, None, "HTTP 415 Unsupported Media Type", bare=True)
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        app = self._apps.get(form.get("client_id", ""))
        if form.get("grant_type") != "refresh_token":
            raise _oauth_refusal("BAD_GRANT_TYPE", "unknown or missing grant type", "unsupported_grant_type")
        if app is None:
            raise _oauth_refusal("BAD_CLIENT_ID", "missing or unknown client id", "invalid_client")
        if form.get("client_secret") != app.client_secret:
            raise _oauth_refusal("BAD_CLIENT_SECRET", "missing or invalid client secret", "invalid_client")
        held = form.get("refresh_token", "")
        if held not in app.refresh_tokens:
            raise _oauth_refusal(
                "BAD_REFRESH_TOKEN",
                "missing or invalid refresh token",
                "invalid_grant",
                "refresh token is invalid, expired or revoked",
            )
        self._issued += 1
        refresh = held
        if vices.rotate_refresh_tokens:
            app.refresh_tokens.remove(held)
            refresh = f"{held.partition('~')[0]}~{self._issued}"
            app.refresh_tokens.append(refresh)
        token = f"CAT-sandbox-{app.app_id}-{self._issued}"
        self._grants[token] = Grant(token, app.scopes, app.app_id, now_ms + ACCESS_TOKEN_S * 1000, refresh)
        return {
            "token_type": "bearer",
            "access_token": token,
            "refresh_token": refresh,
            "expires_in": ACCESS_TOKEN_S,
            "hub_id": self._account.portal_id,
            "scopes": sorted(app.scopes),
        }

    def about_access(self, token: str, now_ms: int) -> dict[str, Any]:
        """What the token information endpoint knows of an access token; raises ``Refusal``."""
        grant = self._grants.get(token)
        if grant is None or grant.ends_ms is None or grant.ends_ms <= now_ms:
            raise Refusal(404, None, "access token does not exist", bare=True)
        return {
            "token": token,
            "user": "admin@sales.example",
            "hub_domain": "sales.example",
            "scopes": sorted(grant.scopes),
            "hub_id": self._account.portal_id,
            "app_id": grant.app_id,
            "expires_in": (grant.ends_ms - now_ms) // 1000,
            "user_id": 1077,
            "token_type": "access",
        }

    def about_refresh(self, token: str) -> dict[str, Any]:
        """What it knows of a refresh token; raises ``Refusal``."""
        app = next((each for each in self._apps.values() if token in each.refresh_tokens), None)
        if app is None:
            raise Refusal(404, None, "refresh token does not exist", bare=True)
        return {
            "token": token,
            "user": "admin@sales.example",
            "hub_domain": "sales.example",
            "scopes": sorted(app.scopes),
            "hub_id": self._account.portal_id,
            "client_id": app.client_id,
            "user_id": 1077,
            "token_type": "refresh",
        }


def need(grant: Grant, *scopes: str) -> None:
    """Refuse a caller who has none of these scopes; raises ``Refusal`` (403)."""
    if not grant.scopes.intersection(scopes):
        raise Refusal(
            403,
            "MISSING_SCOPES",
            "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: "
            f"{SCOPES_PAGE}.",
            errors=[
                {
                    **detail("One or more of the following scopes are required."),
                    "context": {"requiredGranularScopes": list(scopes)},
                },
            ],
            extra={"links": {"scopes": SCOPES_PAGE}},
            bare=True,
        )


def _oauth_refusal(status: str, message: str, error: str, description: str | None = None) -> Refusal:
    return OAuthRefusal(status, message, error, description or message)


class OAuthRefusal(Refusal):
    """A refusal in the token endpoint's own words."""

    def __init__(self, status: str, message: str, error: str, description: str) -> None:
        super().__init__(400, None, message, bare=True)
        self._told = {"status": status, "message": message, "error": error, "error_description": description}

    def body(self, correlation: str) -> bytes:
        """Word it for the wire."""
        return msgspec.json.encode({**self._told, "correlationId": correlation})
