"""Reading a vision-language model's reply: tags and JSON, tolerantly, bounded, never run.

``<think>…</think>`` (or ``<reason>``) is the rationale, ``<description>`` (or ``<describe>``) DR2Seg's description,
the JSON is looked for in ``<answer>`` and, without one, in the rest. Fences, prose around the
JSON, single quotes and trailing commas are mended; NaN and infinities are not numbers.

Not covered: JSON with comments, numbers in words.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from ...twin.errors import ProtocolError

__all__ = ["Spoken", "numbers", "read_reply", "whole_numbers"]

MAX_CHARS = 20_000  # of a reply; a rationale has hundreds
_MAX_STARTS = 64  # places where JSON may begin that are tried
_FENCE = re.compile(r"```[a-zA-Z]*")
_COMMA = re.compile(r",\s*([}\]])")


@dataclass(frozen=True, slots=True)
class Spoken:
    """A reply taken apart; ``value`` is its JSON, ``mended`` whether that was not plain."""

    rationale: str
    description: str
    value: Any
    mended: bool


def read_reply(text: str) -> Spoken:
    """Take a reply apart.

    Raises:
        ProtocolError: if there is no JSON list or object in it; the message is for the model.
    """
    text = text[:MAX_CHARS]
    rationale = _block(text, "think") or _block(text, "reason")
    description = _block(text, "description") or _block(text, "describe")
    where = _block(text, "answer")
    if not where:
        for tag in ("think", "reason", "description", "describe"):
            where = where or text
            where = re.sub(rf"<{tag}>.*?</{tag}>", " ", where, flags=re.DOTALL)
    value, mended = _find(where.strip())
    return Spoken(_line(rationale), _line(description), value, mended)


def numbers(value: Any, count: int) -> list[float] | None:
    """Exactly ``count`` finite numbers, or None."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in value):
        return None
    try:
        found = [float(v) for v in value]
    except OverflowError:
        return None
    return found if all(math.isfinite(v) and abs(v) < 1e9 for v in found) else None


def whole_numbers(value: Any, most: int = 64) -> list[int] | None:
    """A list of whole numbers (as numbers or digits), or None; one number is a list of one."""
    given = value if isinstance(value, list) else [value]
    found = []
    for item in given[:most]:
        if isinstance(item, str) and item.strip().isascii() and item.strip().isdigit():
            item = int(item.strip()[:6])
        if isinstance(item, float) and item.is_integer() and abs(item) < 1e6:
            item = int(item)
        if isinstance(item, bool) or not isinstance(item, int):
            return None
        found.append(item)
    return found


def _block(text: str, tag: str) -> str:
    """What stands in the last block of that name, also when it is not closed."""
    _, opened, rest = text.rpartition(f"<{tag}>")
    return rest.partition(f"</{tag}>")[0].strip() if opened else ""


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _find(text: str) -> tuple[Any, bool]:
    try:
        value = json.loads(text, parse_constant=_refuse)
        if isinstance(value, (list, dict)):
            return value, False
    except (ValueError, RecursionError):
        pass
    plain = _COMMA.sub(r"\1", _FENCE.sub(" ", text))
    plain = plain if '"' in plain else plain.replace("'", '"')
    decoder = json.JSONDecoder(parse_constant=_refuse)
    best: tuple[int, Any] | None = None
    reached, problem = -1, ""
    starts = [place for place, char in enumerate(plain) if char in "[{"]
    for place in starts[:_MAX_STARTS]:
        if place < reached:  # inside what was read already
            continue
        try:
            value, end = decoder.raw_decode(plain, place)
        except (ValueError, RecursionError) as error:
            problem = problem or str(error)
            continue
        reached = end
        whole = isinstance(value, dict) or any(isinstance(item, dict) for item in value)
        if problem and not whole:  # a piece of what broke, not an answer
            continue
        if best is None or end - place > best[0]:
            best = (end - place, value)
    if best is None:
        raise ProtocolError(
            f"expected JSON in <answer>, got {f'JSON that breaks: {problem}' if problem else 'none'}"
        )
    return best[1], True


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")
