"""Charts of the studies: one small picture for each figure, over the size, as SVG that a page on the repository shows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.growth import Point

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 200, 90, 30, 40, 40
UNITS = {
    "lead_us": "a lead, µs of CPU",
    "poll_ms": "a poll, ms of CPU",
    "command_us": "a command, µs of CPU",
    "memory_mb": "memory, MB",
    "rate": "leads a second",
    "idle_cpu": "at rest, share of a core",
    "tenant_kb": "memory of a tenant, kB",
    "start_ms": "start of a tenant, ms of CPU",
    "alone_p99": "a command alone, p99, ms",
    "queue_p99": "beside a long queue, p99, ms",
    "import_p99": "beside a first import, p99, ms",
    "outbox_p99": "beside 200,000 facts that wait, p99, ms",
    "dead_p99": "beside a CRM that never answers, p99, ms",
    "breaker_p99": "beside an open breaker, p99, ms",
    "fairness": "least over most of any tenant",
}


def chart(points: Sequence[Point], names: Sequence[str], of: str) -> str:
    """One picture a name, below each other; ``of``: what the size counts. Sizes are drawn logarithmically, values from zero."""
    pictures = [_picture(points, name, of, number * HEIGHT) for number, name in enumerate(names)]
    size = f'width="{WIDTH}" height="{HEIGHT * len(names)}" viewBox="0 0 {WIDTH} {HEIGHT * len(names)}"'
    style = 'font-family="sans-serif" font-size="12" fill="#222"'
    ground = f'<rect width="{WIDTH}" height="{HEIGHT * len(names)}" fill="#fff"/>'
    return "\n".join((f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', ground, *pictures, "</svg>", ""))


def _picture(points: Sequence[Point], name: str, of: str, top: float) -> str:
    sizes = [math.log10(point["size"]) for point in points]
    most = max(point[name] for point in points) * 1.15 or 1.0
    span = max(sizes) - min(sizes) or 1.0
    floor, roof = top + HEIGHT - BOTTOM, top + TOP

    def at(size: float, value: float) -> tuple[float, float]:
        x = LEFT + (size - min(sizes)) / span * (WIDTH - LEFT - RIGHT)
        return x, floor - value / most * (floor - roof)

    places = [at(size, point[name]) for size, point in zip(sizes, points, strict=True)]
    parts = [
        f'<text x="{LEFT}" y="{top + 22:.0f}" font-weight="bold">{escape(UNITS[name])}</text>',
        f'<path d="M{LEFT},{roof:.1f} V{floor:.1f} H{WIDTH - RIGHT}" fill="none" stroke="#888"/>',
        f'<text x="{LEFT - 8}" y="{floor:.1f}" text-anchor="end">0</text>',
        f'<text x="{WIDTH - RIGHT}" y="{floor + 32:.0f}" text-anchor="end" fill="#666">{escape(of)}</text>',
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" fill="none" stroke="#1f6feb" stroke-width="2"/>',
    ]
    for (x, y), point in zip(places, points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1f6feb"/>')
        parts.append(f'<text x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{point[name]:,.3g}</text>')
        parts.append(f'<text x="{x:.1f}" y="{floor + 16:.0f}" text-anchor="middle">{point["size"]:,.0f}</text>')
    return "\n".join(parts)
