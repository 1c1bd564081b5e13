"""A verb run in the tests' own process leaves the log as it was."""

import logging
from collections.abc import Iterator

import pytest

from sales_crm_bridge.observe import JsonLines, TextLines

LOGGERS = ("", "httpx", "httpcore", "uvicorn", "asyncio")
"""Those that a verb sets up; "" is the root."""


@pytest.fixture(autouse=True)
def log_of_a_verb_ends_with_its_test() -> Iterator[None]:
    """Take away the handler that a verb has made: it writes to this test's standard error, which the next ones have not."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    yield
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one.formatter, JsonLines | TextLines)]:
        root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
