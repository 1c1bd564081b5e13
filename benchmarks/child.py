"""Runs one case or study in this process and prints what it cost, as JSON.

``python -m benchmarks.child case NAME PLACE``, ``python -m benchmarks.child study NAME PLACE SIZES``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys

from benchmarks.cases import CASES
from benchmarks.place import Place
from benchmarks.studies import STUDIES
from sales_crm_bridge import collector


def main(kind: str, name: str, place: Place, sizes: str = "[]") -> object:
    """What it cost, as JSON has it. The collector is set for floors too: they are to be no slower than they could be."""
    collector.settle()
    if kind == "study":
        return asyncio.run(STUDIES[name].run(place, json.loads(sizes)))
    return asyncio.run(CASES[name].run(place)).to_json()


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    kind, name, place, *rest = sys.argv[1:]
    print(json.dumps(main(kind, name, Place(**json.loads(place)), *rest)))  # noqa: T201 - told to who started it
