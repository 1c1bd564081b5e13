"""Who watches the work: counts and times of what happens, told at few places. Nothing here decides anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from sales_crm_bridge.gate import Reason
    from sales_crm_bridge.model import Category
    from sales_crm_bridge.policy.sight import Book

IntentResult = Literal["taken", "repeated", "unreadable", "passed_over"]
Outcome = Literal["done", "refused", "parked", "retried", "settling"]
Step = Literal["intake", "push", "pull", "notices", "relay"]


class AccountObserver(Protocol):
    """Hears what happens on one CRM account."""

    def ended(self, outcome: Outcome, category: Category | None) -> None:
        """A try of a command came to ``outcome``; ``category`` says why it was refused or parked."""
        ...

    def saw(self, feed: str, book: Book, unchanged: int) -> None:
        """What came of a page of ``feed`` is in the ledger; ``unchanged`` records besides those of the book were as before."""
        ...

    def unsettled(self, feed: str) -> None:
        """A sweep over ``feed`` was ended though no two of its passes agreed: it may lack records until the next one."""
        ...

    def took(self, step: Step, seconds: float) -> None:
        """A step has ended, well or not."""
        ...


class Observer(Protocol):
    """Hears what happens, to count and time it. Never raises, never waits, and is told nothing of a person."""

    def account(self, tenant: str, connection: str) -> AccountObserver:
        """The observer of one account; for the same account it goes on counting where it was."""
        ...

    def intents(self, result: IntentResult, number: int, reason: Reason | None = None) -> None:
        """So many intents were read or brought by calls, with what was decided; ``reason``: the gate's, for those passed over."""
        ...

    def facts(self, published: int, refused: int) -> None:
        """So many facts have left the outbox: acknowledged by Kafka, or refused for good."""
        ...

    def called(self, method: str, status: str) -> None:
        """A call of ``method`` of the command service ended with gRPC's ``status``, by name."""
        ...

    def took(self, step: Step, seconds: float) -> None:
        """A step has ended."""
        ...


class Nobody:
    """Watches nothing: for whoever asks no metrics of the work."""

    def account(self, _tenant: str, _connection: str) -> Nobody:
        """Nobody either."""
        return self

    def ended(self, outcome: Outcome, category: Category | None) -> None:
        """Not heard."""

    def saw(self, feed: str, book: Book, unchanged: int) -> None:
        """Not heard."""

    def unsettled(self, feed: str) -> None:
        """Not heard."""

    def intents(self, result: IntentResult, number: int, reason: Reason | None = None) -> None:
        """Not heard."""

    def facts(self, published: int, refused: int) -> None:
        """Not heard."""

    def called(self, method: str, status: str) -> None:
        """Not heard."""

    def took(self, step: Step, seconds: float) -> None:
        """Not heard."""


NOBODY = Nobody()
"""The observer of those who have none."""
