"""An answer's record as lines for people: the answer in one or two, and its trace.

Not covered: colour and tables (:mod:`~edgetwin.deploy.screen`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .twin_show import span

__all__ = ["answer_lines", "answer_text", "seen_text", "trace_lines"]

_MAX_SPANS = 4
_MAX_RESULT_CHARS = 160
_TOKENS = ("rationale", "description", "plan", "results", "answer", "explain")


def answer_text(record: Mapping[str, Any]) -> str:
    """Return what was answered, such as ``#3 red mug, #7 book``, without how it went."""
    if record["status"] == "error":
        return f"error: {record.get('message') or 'no answer'}"
    parts = []
    if record.get("value") is not None:
        parts.append(f"{record['value']:g}")
    names = [
        " ".join(f"#{o['id']} {o['attributes'].get('color', '')} {o['label']}".split())
        for o in record["objects"]
    ]
    if names:
        parts.append(", ".join(names))
    if not parts and not record.get("intervals"):
        return "no answer" if record["status"] == "partial" else "nothing that was seen fits"
    if record.get("intervals"):
        parts.append(_spans(record["intervals"]))
    return "  ".join(parts)


def answer_lines(record: Mapping[str, Any]) -> list[str]:
    """Return the answer in one line, and what is to be said about it in a second."""
    notes = [record["status"], f"{record.get('ms', {}).get('total', 0):.0f} ms"]
    if record.get("ended_by"):
        notes.append(f"ended by {record['ended_by']}")
    if not record["seen"]["complete"]:
        notes.append(f"seen {seen_text(record['seen'])}")
    lines = [f"{answer_text(record)}  ({', '.join(notes)})"]
    more = [record.get("description", "")]
    if record["status"] != "error":
        more.append(record.get("message", ""))
    second = "; ".join(text for text in more if text)
    return [*lines, *([second] if second else [])]


def seen_text(seen: Mapping[str, Any]) -> str:
    """Return how much of a stream was seen, ``120 frames, 4.0 s``."""
    return f"{seen['frames']} frames, {seen['seconds']:.1f} s"


def trace_lines(record: Mapping[str, Any]) -> list[str]:
    """Return the rationale, every step with its result, tokens, milliseconds and the cache."""
    lines = [f"reason  {record['rationale']}"] if record.get("rationale") else []
    results: Sequence[Any] = record.get("results", ())
    for place, step in enumerate(record.get("plan", ())):
        result = _result(results[place]) if place < len(results) else "not computed"
        lines.append(f"  ${place + 1}  {_call(step)} -> {result}")
    tokens = record.get("tokens", {})
    if tokens.get("total"):
        made = sum(tokens.get(name, 0) for name in _TOKENS if name != "results")
        lines.append(
            f"tokens  prompt {tokens.get('prompt', 0)}, reused {tokens.get('reused', 0)}, "
            f"forced {tokens.get('forced', 0)}, generated {made}: "
            + ", ".join(f"{name} {tokens[name]}" for name in _TOKENS if tokens.get(name))
        )
    if record.get("ms"):
        lines.append("ms      " + ", ".join(f"{k} {v:.1f}" for k, v in record["ms"].items()))
    cache = record.get("cache", {})
    if cache.get("prompt"):
        lines.append(
            f"cache   {cache['hit_rate']:.0%} of {cache['prompt']} prompt tokens of this session"
        )
    refined = record.get("refine") or {}
    if refined.get("calls"):
        calls = ", ".join(f"{name} {count}" for name, count in refined["calls"].items())
        lines.append(
            f"looks   {calls}: {refined['frames']} frames, {refined['added']} objects added, "
            f"{refined['changed']} changed, {refined['ms']:.0f} ms in this session"
        )
    rounds, repairs = record.get("rounds", 0), record.get("repairs", 0)
    if rounds > 1 or repairs:
        lines.append(f"rounds  {rounds}, repairs {repairs}")
    return lines


def _spans(intervals: Sequence[Sequence[float]]) -> str:
    shown = [span(start, end) for start, end in intervals[:_MAX_SPANS]]
    rest = len(intervals) - len(shown)
    return f"{', '.join(shown)} s" + (f" and {rest} more times" if rest else "")


def _call(step: Mapping[str, Any]) -> str:
    """A step of a plan as a call, ``nearest(ids=$1, to=$2)``."""
    arguments = [f"{key}={_value(v)}" for key, v in step.items() if key != "tool"]
    return f"{step.get('tool', '?')}({', '.join(arguments)})"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _result(value: Any) -> str:
    if isinstance(value, list) and all(type(v) is int for v in value):
        return " ".join(f"#{v}" for v in value) or "none"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_RESULT_CHARS else text[:_MAX_RESULT_CHARS] + "…"
