"""Draws docs/assets/loss.csv as SVG, in colours for light and dark pages: what pgml.logs had of a run of `make demo`.

The data came from
    SELECT (logs->>'step')::int AS step, (logs->>'epoch')::real AS epoch, logs->>'loss' AS loss,
           logs->>'eval_loss' AS eval_loss, logs->>'eval_f1' AS eval_f1
    FROM pgml.logs WHERE logs ? 'loss' OR logs ? 'eval_loss' ORDER BY id
"""

from __future__ import annotations

import csv
from pathlib import Path

ASSETS = Path(__file__).parents[2] / "docs" / "assets"
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 320, 50, 20, 150, 50
TOP_VALUE = 1.5
SERIES = {
    "loss": ("#5c6bc0", "loss"),
    "eval_loss": ("#ef6c00", "loss, held out"),
    "eval_f1": ("#00897b", "F1, held out"),
}
STYLE = "text{font:13px system-ui,sans-serif;fill:#7d828c}path{fill:none;stroke-width:2.5;stroke-linejoin:round}"


def drawing() -> str:
    """The SVG."""
    rows = list(csv.DictReader((ASSETS / "loss.csv").read_text().splitlines()))
    last = max(int(row["step"]) for row in rows)
    parts = [_grid(last)]
    at = {name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in SERIES}
    for name, points in at.items():
        parts.append(_curve(name, [(_x(step, last), _y(value)) for step, value in points]))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
        f"<style>{STYLE}</style>\n{''.join(parts)}</svg>\n"
    )


def _x(step: float, last: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * step / last, 1)


def _y(value: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / TOP_VALUE), 1)


def _grid(last: int) -> str:
    lines = []
    for value in (0, 0.5, 1, 1.5):
        y = _y(value)
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#7d828c" stroke-opacity=".35"/>'
            f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{value:g}</text>\n'
        )
    lines += [
        f'<text x="{_x(step, last)}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{step}</text>\n'
        for step in range(0, last + 1, 20)
    ]
    middle = _x(last / 2, last)
    return "".join(lines) + f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">step</text>\n'


def _curve(name: str, points: list[tuple[float, float]]) -> str:
    colour, label = SERIES[name]
    path = "M" + "L".join(f"{x} {y}" for x, y in points)
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in points if name != "loss")
    x, y = points[-1]
    text = f'<text x="{x + 10}" y="{y + 4}" style="fill:{colour}">{label}</text>'
    return f'<path d="{path}" stroke="{colour}"/>{dots}{text}\n'
