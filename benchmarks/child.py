"""Runs one case in this process and prints what it cost, as JSON: ``python -m benchmarks.child CASE PLACE``."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

from benchmarks.cases import CASES
from benchmarks.place import Place

if __name__ == "__main__":
    logging.disable(logging.WARNING)
    case, place = CASES[sys.argv[1]], Place(**json.loads(sys.argv[2]))
    print(json.dumps(asyncio.run(case.run(place)).to_json()))  # noqa: T201 - told to who started it
