"""Processes: the CRM that is read, and each measurement in one of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def crm(leads: int, page: int, latency_s: float = 0.0, account: int = 4242) -> Iterator[str]:
    """The address of a CRM with so many leads, that takes so long for a write."""
    serving = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.server", str(leads), str(page), str(latency_s), str(account)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serving.stdin is not None
    assert serving.stdout is not None
    try:
        yield serving.stdout.readline().strip()
    finally:
        serving.stdin.close()
        serving.wait(30)
        serving.stdout.close()


def child(kind: str, name: str, place: Mapping[str, object], *more: object) -> Any:
    """What a case or a study costs, measured in a process of its own."""
    words = [kind, name, json.dumps(place), *(json.dumps(one) for one in more)]
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.child", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)
