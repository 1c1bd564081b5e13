"""Who calls, and for which tenants: by the name in a client's certificate, or by a signed bearer token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import jwt

from sales_crm_bridge.rpc.credentials import KeySet
from sales_crm_bridge.rpc.statuses import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sales_crm_bridge.ports import Clock
    from sales_crm_bridge.settings.calls import Rpc, Tokens

EVERY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A caller whose identity is proven. ``name``: of its token or certificate; ``tenants``: whom it may call for (``*``: all)."""

    name: str
    tenants: frozenset[str]

    def may(self, tenant: str) -> bool:
        """Whether it may call for ``tenant``."""
        return tenant in self.tenants or EVERY in self.tenants


class Doorkeeper:
    """Lets callers in. A token that is there must be good, and then it alone says who calls: the certificate is its carrier's."""

    def __init__(self, settings: Rpc, clock: Clock) -> None:
        self._tokens = TokenCheck(settings.tokens, clock) if settings.tokens is not None else None
        self._certified = settings.transport == "tls" and bool(settings.client_ca_file)
        self._by_certificate: dict[str, tuple[str, ...]] = {}
        self._by_token: dict[str, tuple[str, ...]] = {}
        for one in settings.callers:
            table = self._by_certificate if one.certificate else self._by_token
            name = one.certificate or one.token
            table[name] = (*table.get(name, ()), *one.tenants)

    def load(self) -> None:
        """Read the key set. Raises ``EnvironmentFault``."""
        if self._tokens is not None:
            self._tokens.keys.load()

    def admit(self, metadata: Sequence[tuple[str, str | bytes]], connection: Mapping[str, Iterable[bytes]]) -> Caller:
        """The caller, by the call's metadata and what TLS knows of the connection. Raises ``Refused`` (UNAUTHENTICATED)."""
        names = _names(connection) if self._certified else ()
        sent = [value for key, value in metadata if key == "authorization"]
        if sent:
            if self._tokens is None or len(sent) > 1 or not isinstance(sent[0], str):
                raise _unknown("rpc.bad-token", "bearer tokens are not taken here, or there is more than one")
            name, claimed = self._tokens.check(sent[0])
            return Caller(name=name, tenants=frozenset((*claimed, *self._by_token.get(name, ()))))
        if not names:
            raise _unknown("rpc.no-caller", "the call carries neither a bearer token nor a client's certificate")
        tenants = frozenset(tenant for name in names for tenant in self._by_certificate.get(name, ()))
        return Caller(name=next((name for name in names if name in self._by_certificate), names[0]), tenants=tenants)


def _names(connection: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """The names in a verified client certificate: the common name counts only where there is no other (RFC 6125)."""
    found = connection.get("x509_subject_alternative_name") or connection.get("x509_common_name") or ()
    return tuple(name.decode("utf-8", "replace") for name in found)


class TokenCheck:
    """Checks bearer tokens: signature by an allowed algorithm and a known key, issuer, audience, times by the clock handed in."""

    def __init__(self, settings: Tokens, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.keys = KeySet(settings.keys_file)

    def check(self, header: str) -> tuple[str, tuple[str, ...]]:
        """Subject and the tenants that the token itself names, from the header ``authorization``. Raises ``Refused``."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise _unknown("rpc.bad-token", "authorization is not a bearer token")
        settings = self._settings
        try:
            about = jwt.get_unverified_header(token)
            algorithm = str(about.get("alg", ""))
            if algorithm not in settings.algorithms:
                raise _unknown("rpc.bad-token", "the token's algorithm is not allowed")
            key = self.keys.key(str(about.get("kid", "")), algorithm)
            if key is None:
                raise _unknown("rpc.bad-token", "the token was signed with a key that is not in the key set")
            claims = jwt.decode(
                token,
                key,
                algorithms=list(settings.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                # The times are checked below, since this library would read the machine's clock.
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "enforce_minimum_key_length": True,
                },
            )
        except jwt.PyJWTError as error:
            # The library's own words can repeat what the token says.
            raise _unknown("rpc.bad-token", f"the token is not good: {type(error).__name__}") from None
        self._check_times(claims)
        return str(claims["sub"]), self._tenants(claims)

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now_s, leeway_s = self._clock.now_us() / 1e6, self._settings.leeway_s
        try:
            until_s, from_s = float(claims["exp"]), float(claims.get("nbf", 0))
        except (TypeError, ValueError, OverflowError):
            raise _unknown("rpc.bad-token", "the token's times are no numbers") from None
        if not (math.isfinite(until_s) and math.isfinite(from_s)):
            raise _unknown("rpc.bad-token", "the token's times are no numbers")
        if not now_s < until_s + leeway_s:
            raise _unknown("rpc.token-expired", "the token is past its time")
        if not from_s - leeway_s <= now_s:
            raise _unknown("rpc.bad-token", "the token is not good yet")

    def _tenants(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        found = claims.get(self._settings.tenants_claim) if self._settings.tenants_claim else None
        named = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        # A star in a token is a tenant's name like any other: only the settings open every tenant.
        return tuple(name for name in named if isinstance(name, str) and name != EVERY)


def _unknown(reason: str, message: str) -> Refused:
    return Refused(grpc.StatusCode.UNAUTHENTICATED, reason, message)
