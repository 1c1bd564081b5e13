"""Signing in: one exchange at a time, ahead of expiry, with what must survive a restart in the ledger before it is used."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.errors import BridgeError, ConnectionStopped, CrmUnavailable, EnvironmentFault, LedgerBusy
from sales_crm_bridge.model import Credentials, SignInRefused
from sales_crm_bridge.rim.remedies import remedy_of
from sales_crm_bridge.rim.seal import SealBroken
from sales_crm_bridge.rim.terms import retry_at_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sales_crm_bridge.ports import Clock, Talk
    from sales_crm_bridge.rim.redact import Redactor
    from sales_crm_bridge.rim.seal import Seal
    from sales_crm_bridge.rim.terms import Terms

log = logging.getLogger(__name__)

LAST_MOMENT_S = 5.0
"""A token that is valid for less than this is not used any more."""

RENEW_PAUSE_US = 5_000_000
"""The least pause between two tries to renew a token that still holds."""

_PASSING = (CrmUnavailable, LedgerBusy, EnvironmentFault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Credentials in use; ``number`` counts sign-ins, ``renew_us`` is when to sign in again (0: never by itself)."""

    headers: tuple[tuple[str, str], ...] = field(repr=False)
    number: int
    expires_us: int
    renew_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """Where kept secrets survive a restart: ``load`` gives what ``save`` was last given (b"" nothing); ``seal`` None: no key."""

    load: Callable[[], Awaitable[bytes]]
    save: Callable[[bytes], Awaitable[None]]
    seal: Seal | None


class SignIn:
    """Keeps one account signed in.

    However many calls find the token stale, one exchange is made and all wait for it; it runs to its end even when every call
    that waits is cancelled, since a rotated refresh token would be lost with it. The ledger keeps the newest and the previous
    secrets, so a crash between the CRM's answer and our saving it leaves the previous ones to try, then the configured ones.
    """

    def __init__(
        self,
        exchange: Callable[[dict[str, str]], Talk[Credentials | SignInRefused]],
        speak: Callable[[Talk[Credentials | SignInRefused]], Awaitable[Credentials | SignInRefused]],
        *,
        vault: Vault,
        clock: Clock,
        terms: Terms,
        redactor: Redactor,
        name: str,
    ) -> None:
        self._exchange = exchange
        self._speak = speak
        self._vault = vault
        self._clock = clock
        self._terms = terms
        self._redactor = redactor
        self._name = name
        self._held: Held | None = None
        self._number = 0
        self._keeps: list[dict[str, str]] | None = None
        self._unsaved: tuple[Credentials, dict[str, str]] | None = None
        self._task: asyncio.Task[BridgeError | None] | None = None
        self._not_before_us = 0

    @property
    def held(self) -> Held | None:
        """What we are signed in with (None: we are not)."""
        held = self._held
        return held if held is None or not held.expires_us or held.expires_us > self._clock.now_us() else None

    async def credentials(self) -> Held | BridgeError:
        """Credentials that will last for a call, or why there are none."""
        while True:
            now_us = self._clock.now_us()
            held = self.held
            if held is not None and (not held.renew_us or now_us < max(held.renew_us, self._not_before_us)):
                return held
            fault = await self._once()
            if fault is None:
                if self._held is not None:
                    return self._held
                continue  # it was found stale while we waited
            if held is None or held is not self._held or not isinstance(fault, _PASSING):
                return fault
            now_us = self._clock.now_us()
            if held.expires_us - now_us < LAST_MOMENT_S * 1e6:
                return fault
            # Renewing ahead of time failed, but the old token still holds: go on with it, and try again soon.
            self._not_before_us = retry_at_us(fault, now_us + RENEW_PAUSE_US)
            return held

    def renew(self, stale: int) -> None:
        """The CRM did not accept the credentials of sign-in ``stale``: they are not used again."""
        if self._held is not None and self._held.number == stale:
            self._held = None

    async def close(self) -> None:
        """Wait for an exchange under way: what it brings must be saved."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _once(self) -> BridgeError | None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._sign_in(), name=f"sign in {self._name}")
        return await asyncio.shield(self._task)

    async def _sign_in(self) -> BridgeError | None:
        """Exchange, save, and only then hold; says what went wrong."""
        try:
            if self._unsaved is None:
                self._unsaved = await self._exchanged()
            credentials, used = self._unsaved
            await self._keep(credentials, used)
        except BridgeError as fault:
            return fault
        self._unsaved = None
        now_us = self._clock.now_us()
        ahead_us = min(round(self._terms.sign_in_ahead_s * 1e6), max(0, credentials.expires_us - now_us) // 2)
        self._number += 1
        self._held = Held(
            headers=credentials.headers,
            number=self._number,
            expires_us=credentials.expires_us,
            renew_us=credentials.expires_us and credentials.expires_us - ahead_us,
        )
        self._not_before_us = 0
        if credentials.expires_us or credentials.keep:  # a token that is only handed on signs nobody in
            log.info("signed in", extra={"event": "sign-in.done", "account": self._name, "times": self._number})
        return None

    async def _exchanged(self) -> tuple[Credentials, dict[str, str]]:
        """Try the newest kept secrets, then the previous ones, then those of the configuration."""
        if self._keeps is None:
            self._keeps = await self._load()
        refused: SignInRefused | None = None
        for keep in (*self._keeps, {}):
            answer = await self._speak(self._exchange(dict(keep)))
            if isinstance(answer, Credentials):
                self._redactor.learn(value for _, value in answer.headers)
                self._redactor.learn(answer.keep.values())
                return answer, keep
            refused = answer
            log.warning(
                "sign-in refused",
                extra={"event": "sign-in.refused", "account": self._name, "code": self._redactor(answer.code)},
            )
        assert refused is not None
        raise ConnectionStopped(
            "sign-in.refused",
            f"the CRM refuses to sign us in: {self._redactor(refused.code)}",
            place=self._name,
            remedy=self._redactor(refused.remedy or remedy_of("sign-in.refused")),
        )

    async def _load(self) -> list[dict[str, str]]:
        sealed = await self._vault.load()
        if not sealed:
            return []
        if self._vault.seal is None:
            raise self._no_key("the ledger holds what the last sign-in had to keep, and there is no key to open it")
        try:
            found = msgspec.json.decode(self._vault.seal.open(sealed), type=list[dict[str, str]])
        except (SealBroken, msgspec.DecodeError):
            log.warning(
                "what the last sign-in kept does not open; signing in with the configuration",
                extra={"event": "sign-in.unsealed", "account": self._name},
            )
            return []
        for keep in found:
            self._redactor.learn(keep.values())
        return found

    async def _keep(self, credentials: Credentials, used: Mapping[str, str]) -> None:
        """Save what must survive, with what it replaces beside it."""
        fresh = dict(credentials.keep)
        if not fresh or (self._keeps and fresh == self._keeps[0]):
            return
        if self._vault.seal is None:
            raise self._no_key("the CRM gave us a secret that must survive a restart, and there is no key to seal it")
        keeps = [fresh, *([dict(used)] if used and used != fresh else [])]
        await self._vault.save(self._vault.seal.close(msgspec.json.encode(keeps)))
        self._keeps = keeps

    def _no_key(self, message: str) -> ConnectionStopped:
        return ConnectionStopped(
            "sign-in.no-seal-key", message, place=self._name, remedy="set `seal_key` in the deployment's settings"
        )
