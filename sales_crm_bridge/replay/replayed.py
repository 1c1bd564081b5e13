"""A bundle, played, as a test sees it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sales_crm_bridge.errors import RuntimeFault
from sales_crm_bridge.replay import bundle as bundles
from sales_crm_bridge.replay import trial
from sales_crm_bridge.replay.aside import loop_aside
from sales_crm_bridge.replay.comparing import compare
from sales_crm_bridge.replay.player import play
from sales_crm_bridge.replay.recorder import facts_of
from sales_crm_bridge.replay.told import Facts

if TYPE_CHECKING:
    from pathlib import Path

    from sales_crm_bridge.replay.bundle import Bundle, Exchange


@dataclass(frozen=True, slots=True)
class Replayed:
    """A bundle and the ``facts`` that come of it, in the order in which they were published."""

    bundle: Bundle
    facts: Facts

    @property
    def exchanges(self) -> list[Exchange]:
        """The requests of the run with their answers."""
        return list(self.bundle.exchanges)


def replayed(folder: Path, tenant: Path | None = None) -> Replayed:
    """Play the bundle in ``folder``, under another ``tenant`` file if one is named; also where an event loop runs.

    Raises ``ConfigError`` for a bundle or a file that cannot be used, and ``RuntimeFault`` when the bridge that is installed tells
    other facts than were recorded (``replay.differs``) or makes a request that was not (``replay.unmatched``).
    """
    manifest = folder / bundles.MANIFEST
    stamp = manifest.stat().st_mtime_ns if manifest.is_file() else 0
    return _replayed(folder, tenant, stamp)


@lru_cache(maxsize=8)
def _replayed(folder: Path, tenant: Path | None, _stamp: int) -> Replayed:
    bundle = bundles.read(folder)
    text = trial.text_of(bundle, tenant) if tenant is not None else None
    with loop_aside():
        told = play(bundle, tenant=text).facts
    if tenant is None:
        found = compare(bundle.facts, facts_of(told))
        if not found.same:
            remedy = "look at `sales-crm-bridge replay` of the bundle; record it anew if the difference is meant"
            raise RuntimeFault("replay.differs", found.first(), place=str(folder), remedy=remedy)
    return Replayed(bundle, Facts.of_values(told))
