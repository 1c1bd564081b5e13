"""Every error of the bridge, grouped by what to do about it.

.. code-block:: text

    BridgeError                 code, message, place, remedy
    ├── ConfigError             the set-up is wrong: mend the file, nothing was done          exit 2
    ├── EnvironmentFault        Kafka, the ledger or the machine is not as needed             exit 3
    ├── ContractError           one message breaks the contract: it becomes a dead letter
    ├── RuntimeFault            the work met an obstacle                                      exit 1
    │   ├── CrmUnavailable      no usable answer within the limits: later, by itself
    │   ├── QuotaExhausted      the CRM's (or our) budget is used up: at the reset, by itself
    │   ├── ConnectionStopped   rights, consent or account are wrong: a person must act
    │   ├── LeaseLost           another process owns this account now: drop the work, it is safe
    │   ├── PlaceMoved          intake was rewound meanwhile: drop the batch, it is read again
    │   ├── TenancyMoved        what is in force has changed meanwhile: judge again
    │   ├── LedgerBusy          the ledger could not take a step in time: later, by itself
    │   └── PublishFault        Kafka refused one fact for good: it becomes a dead letter
    └── Bug                     the bridge broke its own rule: report it

``ConfigError`` is no child of ``RuntimeFault``, so "leave this lead and go on" cannot swallow a broken set-up.
No message holds a person's data or a secret; a CRM's own words are trimmed and redacted before they get here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EXIT_OK, EXIT_RUNTIME, EXIT_CONFIG, EXIT_ENVIRONMENT = 0, 1, 2, 3


def one_exit_code(codes: Iterable[int]) -> int:
    """The exit code for all of ``codes``: what is to be mended in the set-up first, then around the program, then what may pass."""
    found = {*codes}
    return next((code for code in (EXIT_CONFIG, EXIT_ENVIRONMENT, EXIT_RUNTIME) if code in found), EXIT_OK)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """Where something is: a file with a 1-based line and column (0: the whole file), or a named thing such as ``topic sales…``."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if self.line <= 0:
            return self.file
        return f"{self.file}:{self.line}:{self.column}" if self.column > 0 else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem that a person can mend: a stable ``code`` (``area.word``), what is wrong, where, and what to do."""

    code: str
    message: str
    place: Place
    remedy: str

    def __str__(self) -> str:
        fix = f"\n  Fix: {self.remedy}" if self.remedy else ""
        return f"[{self.code}] {self.place}: {self.message}{fix}"


class BridgeError(Exception):
    """The root: a stable ``code``, a ``message``, a ``place`` (may be empty) and a ``remedy``."""

    exit_code = EXIT_RUNTIME

    def __init__(self, code: str, message: str, *, place: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.place = place
        self.remedy = remedy

    def finding(self, place: str = "") -> Finding:
        """The fault as a finding; ``place``: where it is, if it does not say."""
        return Finding(code=self.code, message=self.message, place=Place(file=self.place or place), remedy=self.remedy)

    def __str__(self) -> str:
        where = f" {self.place}:" if self.place else ""
        fix = f"\n  Fix: {self.remedy}" if self.remedy else ""
        return f"[{self.code}]{where} {self.message}{fix}"


class ConfigError(BridgeError):
    """The set-up is wrong. ``findings`` holds every problem found, in file order; there is at least one."""

    exit_code = EXIT_CONFIG

    def __init__(self, findings: Sequence[Finding]) -> None:
        first = findings[0]
        super().__init__(first.code, first.message, place=str(first.place), remedy=first.remedy)
        self.findings = tuple(findings)

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in self.findings)


class EnvironmentFault(BridgeError):
    """Kafka, the ledger or the machine is not there or not as needed."""

    exit_code = EXIT_ENVIRONMENT


class ContractError(BridgeError):
    """One message breaks the contract; whoever meets it keeps the message whole as a dead letter."""


class RuntimeFault(BridgeError):
    """The work met an obstacle that is nobody's mistake in the set-up."""


class CrmUnavailable(RuntimeFault):
    """No usable answer within the limits. ``retry_at_us`` is the earliest sensible next try (epoch microseconds)."""

    def __init__(self, code: str, message: str, *, retry_at_us: int, place: str = "", remedy: str = "") -> None:
        super().__init__(code, message, place=place, remedy=remedy)
        self.retry_at_us = retry_at_us


class QuotaExhausted(CrmUnavailable):
    """The day's budget at the CRM is used up; ``retry_at_us`` is when it is filled again."""


def retry_at_us(fault: RuntimeFault) -> int:
    """When the CRM asked to be tried again; 0: it did not say."""
    return fault.retry_at_us if isinstance(fault, CrmUnavailable) else 0


class ConnectionStopped(RuntimeFault):
    """Rights, consent or account are wrong: no retry helps until a person has acted."""


class LeaseLost(RuntimeFault):
    """The epoch of our lease is past: another process owns the account, and nothing of this step was written."""


class PlaceMoved(RuntimeFault):
    """Intake was rewound while a batch was under way: nothing of it was written, and it is read again from the new place."""


class TenancyMoved(RuntimeFault):
    """What is in force for the tenants has changed since intents were judged: nothing was written, and they are judged again."""


class LedgerBusy(RuntimeFault):
    """The ledger could not take a step in time; the step was not taken."""

    def __init__(self, code: str, message: str, *, place: str = "") -> None:
        super().__init__(
            code, message, place=place, remedy="it is tried again by itself; look at the database if it stays"
        )


class OutboxFull(RuntimeFault):
    """Too many facts of a connection wait for Kafka: its pulls and pushes pause until there is room."""


class PublishFault(RuntimeFault):
    """Kafka refused one fact for good (too large, say)."""


class Bug(BridgeError):
    """The bridge broke a rule of its own."""
