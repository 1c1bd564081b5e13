"""Other tools on the same CRM: each a program in ``peers/``, run by the Python of an environment of their own."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from typing import TYPE_CHECKING

from benchmarks.measuring import Measured
from benchmarks.place import SCRATCH
from benchmarks.running import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from benchmarks.place import Place

TOOLS = {
    "dlt": ("dlt", "dlt_files.py"),
    "singer": ("singer-sdk", "singer_tap.py"),
    "airbyte": ("airbyte-cdk", "airbyte_source.py"),
}
"""By the last word of their cases: the package, and the program that uses it as its documentation says."""
OURS = ("pull.hubspot.sqlite", "pull.rest.sqlite")
"""What of the bridge is measured in the same rounds: everything that it keeps, kept."""
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
LOCK = ROOT / "requirements" / "peers.lock"
MISSING = "there is no .venv-peers; `make bench-peers` builds it from requirements/peers.lock and runs this"


def versions() -> dict[str, str]:
    """The version of each tool's package that the lock names."""
    pins = dict(re.findall(r"^(\S+)==(\S+)", LOCK.read_text(), re.MULTILINE))
    return {package: pins[package] for package, _ in TOOLS.values()}


def versions_told() -> str:
    """The same, for a table's title."""
    return "".join(f" · {package} {version}" for package, version in versions().items())


def runs(tool: str) -> Callable[[Place], Coroutine[object, object, Measured]]:
    """The run of one tool: it reads every lead into files of its own and says what that alone cost, without its imports."""
    program = ROOT / "benchmarks" / "peers" / TOOLS[tool][1]

    async def run(place: Place) -> Measured:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as folder:
            words = ["-I", str(program), place.crm, str(place.page), str(place.count), folder]  # -I: nothing of ours
            running = await asyncio.create_subprocess_exec(
                place.peers, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            told, wrong = await running.communicate()
        if running.returncode:
            message = f"{program.name}: exit {running.returncode}\n{wrong.decode()[-2000:]}"
            raise RuntimeError(message)
        return Measured(**json.loads(told))

    return run
