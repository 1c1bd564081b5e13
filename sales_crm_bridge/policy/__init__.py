"""Decisions: pure functions of values and ``now``. What changed, what comes next, what becomes of a command."""
