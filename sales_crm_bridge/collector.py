"""Python's cyclic garbage collector, set for what the bridge does all day.

A page or a batch makes thousands of values that live until its transaction is over and hang on no cycle. By default the collector
looks through the young ones after every 700 and finds nothing; that is a sixth of the cost of taking intents in.
"""

from __future__ import annotations

import gc

YOUNG = 50_000
"""So many more values than have gone make a look at the young ones: some 10 MB of them at most are cycles that wait for it."""


def settle() -> None:
    """Look seldom, and never again at what is there now: modules, descriptors, schemas. Again: the same."""
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
