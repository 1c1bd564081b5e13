"""What the bridge costs, beside a hand-written loop that does the bare work in the same run: ``python -m benchmarks``."""
