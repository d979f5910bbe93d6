"""Fifty thousand tool calls of all kinds of values: a result or a ToolError, soon."""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter
from typing import Any

import pytest

from edgetwin.deploy.refine import Refiner
from edgetwin.twin.errors import ToolError
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.tools.base import Tool
from edgetwin.twin.tools.registry import DEFAULT_REGISTRY, StepResult
from edgetwin.twin.tools.render import render_results
from edgetwin.twin.window import TwinWindow

from ..reasoner.conftest import make_object

COUNT = 50_000
SECONDS = 60.0  # on a busy core; some five are needed
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 2**31, 2**63, -(2**63), 10**400, 0.0, -0.0, 0.5, 1e308, -1e308,
    math.nan, math.inf, -math.inf, "", " ", "mug", "$1", "$2", "$0", "$9", "$", "$$1", "$11", "１",
    "../../etc/passwd", "file:///etc/passwd", "http://localhost/", "__class__", "{}", "[1]", "null",
    "\x00", "\ud800", "\u202e\u200b", "a" * 5000, "all", [], [[]], [1], [1, 1], [0], [-1], [99],
    [1.0], [True], ["1"], ["$1"], [None], [math.nan], list(range(1, 9)), list(range(2000)),
    ["mug"], ["mug"] * 1025, ["a" * 5000], {}, {"tool": "find"}, {"$1": 1}, b"mug", (1, 2), {1},
)  # fmt: skip


@pytest.fixture(scope="module")
def window() -> TwinWindow:
    """Eight objects: still, moving, hidden for a while, gone, without depth, oddly named."""
    frames = []
    for k in range(8):
        t = k * 0.4
        objects = [
            make_object(1, "mug", "red", 40, 120, t=t),
            make_object(2, "mug", "blue", 60 + 10 * k, 120, 1.0 - 0.02 * k, t=t),
            make_object(3, "box", "green", 90, 140, t=t),
            make_object(4, "</plan>", "$1", 120, 60, t=t),
            make_object(5, "ball", "", 200, 200 - 8 * k, t=t),
        ]
        if k < 5:
            objects.append(make_object(6, "lamp", "white", 150, 150, t=t))
        hidden = {"state": "occluded", "mask": None} if 2 < k < 6 else {}
        objects.append(make_object(7, "cup", "red", 92, 142, 1.4, t=t).model_copy(update=hidden))
        flat = {"depth_stats": None, "mean_depth": None}
        objects.append(make_object(8, "plate", "red", 20, 20, t=t).model_copy(update=flat))
        frames.append(
            FrameTwin(
                index=k, timestamp_s=t, width=256, height=256, objects={o.id: o for o in objects}
            )
        )
    return TwinWindow(frames)


def right(rng: random.Random, schema: dict[str, Any]) -> Any:
    """A value that the schema admits."""
    if "anyOf" in schema:
        return rng.choice(
            ["$1", "$2", rng.sample(range(1, 9), rng.randint(0, 8)), [1], [6], [7, 8]]
        )
    if "enum" in schema:
        return rng.choice(schema["enum"])
    match schema["type"]:
        case "integer":
            return rng.choice([1, 2, 3, 8, 1000, 10**18])
        case "number":
            return rng.choice([0, 1, 0.5, -3.5, 1e17])
        case "boolean":
            return rng.random() < 0.5
        case "array":
            return [right(rng, schema["items"]) for _ in range(rng.randint(0, 3))]
        case _:
            return rng.choice(["mug", "red", "color", "object", "MUG ", "</plan>", "$1", ""])


def call(rng: random.Random, tool: Tool) -> Any:
    """One step: right, or with one or more things wrong with it."""
    wrong = rng.choice([0.0, 0.0, 0.15, 0.5])
    step: dict[Any, Any] = {"tool": tool.name}
    for param in tool.arguments:
        if param.required or rng.random() < 0.5:
            junk = rng.random() < wrong
            step[param.name] = rng.choice(JUNK) if junk else right(rng, param.schema)
    if rng.random() < wrong / 4:
        step[rng.choice(["path", "ids", "", "__init__", "tool", "of"])] = rng.choice(JUNK)
    if step and rng.random() < wrong / 4:
        del step[rng.choice(list(step))]
    return rng.choice(JUNK) if rng.random() < wrong / 20 else step


def sound(result: StepResult, window: TwinWindow) -> bool:
    """Whether a result is of its kind and knows only the twin's ids."""
    value = result.value
    if result.kind == "number":
        return value is None or (isinstance(value, (int, float)) and math.isfinite(value))
    assert isinstance(value, list)
    if result.kind == "ids":
        return all(type(i) is int and i in window for i in value)
    if result.kind == "numbers":
        return all(isinstance(v, (int, float)) and math.isfinite(v) for v in value)
    return all(len(pair) == 2 and all(map(math.isfinite, pair)) for pair in value)  # type: ignore[arg-type]


def test_fuzzed_calls_give_a_result_or_a_tool_error(window: TwinWindow) -> None:
    rng = random.Random(5)
    tools = list(DEFAULT_REGISTRY.values())
    before = json.dumps([frame.model_dump(mode="json") for frame in window.frames])
    done: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    longest, slowest, began = 0, 0.0, time.monotonic()
    earlier = [StepResult("find", "ids", [1, 2]), StepResult("moved", "ids", [])]
    for number in range(COUNT):
        tool = tools[number % len(tools)]
        step = call(rng, tool)
        started = time.monotonic()
        try:
            results = DEFAULT_REGISTRY.run_plan([step], window, earlier)
        except ToolError as error:
            refused[tool.name] += 1
            longest = max(longest, len(str(error)))
        else:
            assert sound(results[0], window), (step, results)
            assert json.loads(render_results(results))
            done[tool.name] += 1
        slowest = max(slowest, time.monotonic() - started)
    assert time.monotonic() - began < SECONDS
    assert 0 < longest < 1500
    assert slowest < 2.0  # of one call, with the machine's own pauses
    # Every tool was reached and every tool refused something, or the values were not varied.
    assert min(done[tool.name] for tool in tools) > 100
    assert min(refused[tool.name] for tool in tools) > 100
    assert json.dumps([frame.model_dump(mode="json") for frame in window.frames]) == before


def test_fuzzed_plans_of_several_steps(window: TwinWindow) -> None:
    rng = random.Random(6)
    tools = list(DEFAULT_REGISTRY.values())
    ended: Counter[bool] = Counter()
    for _ in range(3000):
        plan: Any = [call(rng, rng.choice(tools)) for _ in range(rng.randint(0, 9))]
        plan = rng.choice(JUNK) if rng.random() < 0.02 else plan
        try:
            results = DEFAULT_REGISTRY.run_plan(plan, window)
        except ToolError:
            ended[False] += 1
        else:
            assert all(sound(result, window) for result in results)
            ended[True] += 1
    assert min(ended.values()) > 100


# -- tools read ids, never places ------------------------------------------------------------

FREE_TEXT = {"name", "value", "text", "query", "words"}  # compared with labels, never opened
FORBIDDEN = (
    "path",
    "file",
    "url",
    "uri",
    "host",
    "dir",
    "folder",
    "module",
    "code",
    "model",
    "command",
)


def kinds_in(schema: Any) -> set[str]:
    """Every ``type`` inside a JSON schema."""
    if isinstance(schema, list):
        return {kind for value in schema for kind in kinds_in(value)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["type"]} if isinstance(schema.get("type"), str) else set()
    return own | {kind for value in schema.values() for kind in kinds_in(value)}


def assert_harmless(tool: Tool) -> None:
    for param in tool.arguments:
        assert not any(part in FORBIDDEN for part in param.name.lower().split("_")), param.name
        kinds = kinds_in(param.schema)
        free = "string" in kinds and not param.is_ids and "enum" not in param.schema
        assert not free or param.name in FREE_TEXT, param.name
        assert kinds <= {"string", "integer", "number", "boolean", "array"}
    assert tool.step_schema["additionalProperties"] is False
    assert tool.returns in ("ids", "number", "numbers", "points", "intervals")


@pytest.mark.parametrize("tool", DEFAULT_REGISTRY.values(), ids=lambda tool: tool.name)
def test_no_argument_takes_a_path_a_url_or_code(tool: Tool) -> None:
    assert_harmless(tool)


def test_tools_that_look_at_pixels_take_no_places_either() -> None:
    networks: Any = object()  # opened at the first call only; only signatures are read here
    frames: Any = None
    tools = Refiner(networks, frames, propose=lambda query, frame: []).registry()
    looking = [tool for tool in tools.values() if tool.category == "perception"]
    assert {tool.name for tool in looking} >= {"detect", "segment", "zoom", "redepth", "propose"}
    for tool in looking:
        assert_harmless(tool)


def test_the_tools_own_code_opens_nothing() -> None:
    """No tool's module names what reads files, sockets or other programs."""
    for tool in DEFAULT_REGISTRY.values():
        names = set(tool.fn.__code__.co_names)
        assert not names & {"open", "exec", "eval", "compile", "__import__", "system", "Path"}
