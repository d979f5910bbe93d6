"""Typed, documented tools that compute over a snapshot of the twin.

They read a :class:`~..window.TwinWindow` and ids, never paths, URLs or code, and for any JSON
input they either compute or raise :class:`~..errors.ToolError`.
"""

from __future__ import annotations

from .base import (
    MAX_STEPS,
    AtLeast,
    Category,
    Deadline,
    Ids,
    Intervals,
    Items,
    Kind,
    Number,
    Numbers,
    Param,
    Points,
    Told,
    Tool,
    ToolValue,
    make_tool,
    parse_reference,
)
from .registry import (
    DEFAULT_REGISTRY,
    TOOLS,
    StepResult,
    ToolRegistry,
    run_plan,
    validate_plan,
)
from .render import MAX_RESULT_ITEMS, render_results

__all__ = [
    "DEFAULT_REGISTRY",
    "MAX_RESULT_ITEMS",
    "MAX_STEPS",
    "TOOLS",
    "AtLeast",
    "Category",
    "Deadline",
    "Ids",
    "Intervals",
    "Items",
    "Kind",
    "Number",
    "Numbers",
    "Param",
    "Points",
    "StepResult",
    "Told",
    "Tool",
    "ToolRegistry",
    "ToolValue",
    "make_tool",
    "parse_reference",
    "render_results",
    "run_plan",
    "validate_plan",
]
