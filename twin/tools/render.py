"""Results as the model reads them: compact JSON, whole pixels, bounded length."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from .registry import StepResult

__all__ = ["MAX_RESULT_ITEMS", "render_results"]

MAX_RESULT_ITEMS = 24  # items shown per step; a truncated list ends with "+n"
_LIMIT = 999_999


def _number(value: float, digits: int) -> int | float:
    if isinstance(value, float) and math.isnan(value):
        return 0
    value = min(max(value, -_LIMIT), _LIMIT)
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded


def _rendered(result: StepResult, max_items: int) -> Any:
    value = result.value
    if not isinstance(value, list):
        return None if value is None else _number(value, 2)
    items: list[Any] = []
    for item in value[:max_items]:
        if isinstance(item, tuple):
            digits = 1 if result.kind == "intervals" else 0
            items.append([_number(part, digits) for part in item])
        else:
            items.append(_number(item, 2))
    if len(value) > max_items:
        items.append(f"+{len(value) - max_items}")
    return items


def render_results(results: Iterable[StepResult], max_items: int = MAX_RESULT_ITEMS) -> str:
    """A JSON list with one element per step, without spaces.

    Ids are ``[1,4]``, numbers have at most two decimals, points are whole pixels ``[[12,40]]``,
    intervals are seconds with one decimal ``[[0.5,1.2]]``, a number that cannot be computed is
    ``null``. A list of more than ``max_items`` ends with ``"+n"``, n items being left out.
    """
    rendered = [_rendered(result, max_items) for result in results]
    return json.dumps(rendered, separators=(",", ":"))
