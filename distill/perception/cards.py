"""Cards: one short page beside each network's weights that says where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["curve_table", "write_card"]


def curve_table(rows: Sequence[Mapping[str, float]], keys: Sequence[str], limit: int = 24) -> str:
    """Return a Markdown table of at most ``limit`` rows of a curve, the last one included."""
    if len(rows) > limit:
        picks = sorted({round(i * (len(rows) - 1) / (limit - 1)) for i in range(limit)})
        rows = [rows[i] for i in picks]

    def cell(value: float | None) -> str:
        if value is None:
            return ""
        return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) > 1 else f"{value:.3f}"

    head = "| " + " | ".join(keys) + " |\n|" + "---:|" * len(keys)
    lines = ("| " + " | ".join(cell(row.get(k)) for k in keys) + " |" for row in rows)
    return "\n".join([head, *lines])


def write_card(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    scores: Mapping[str, float],
    curve: str,
    note: str,
) -> None:
    """Write a card: facts, final scores, the curve, and what the figures mean."""
    parts = [f"# {title} (embedded set)", ""]
    parts += [f"- **{name}**: {value}" for name, value in facts.items()]
    parts += ["", "## Scores", "", *(f"- {k}: {v:.4f}" for k, v in scores.items()), "", note]
    parts += ["", "## Curve", "", curve, ""]
    path.write_text("\n".join(parts), encoding="utf-8")
