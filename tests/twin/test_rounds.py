"""Plans over several rounds, plans that run out of time, and tools that change the twin."""

from __future__ import annotations

import time
from typing import Annotated, Any

import pytest

from edgetwin.twin.errors import StepError, ToolError
from edgetwin.twin.tools import (
    DEFAULT_REGISTRY,
    Deadline,
    Ids,
    Items,
    Number,
    Told,
    ToolRegistry,
    make_tool,
)
from edgetwin.twin.window import TwinWindow

from .build import obj, still_window


def box_of(
    window: TwinWindow,
    box: Annotated[list[float], Items(4, 4)] | None = None,
    words: Annotated[list[str], Items(1, 3)] | None = None,
    *,
    by: Deadline = None,
) -> Ids:
    """Adds a lamp to the newest frame, once."""
    if by is not None and by < time.monotonic() + 1:
        raise ToolError("expected a second at least, got less")
    last = window.last
    assert last is not None
    if window.latest(window.ids()[-1]).origin is None:
        window.amend({last.index: [obj(max(window.ids()) + 1, "lamp", origin="box_of()")]})
    return [window.ids()[-1]]


def breaks(window: TwinWindow, ids: Ids) -> Number:
    """Fails as an engine does."""
    raise RuntimeError("Got invalid dimensions\nfor input")


def tells(window: TwinWindow, ids: Ids) -> Annotated[list[int] | Told, "ids"]:
    """Says something besides."""
    return Told(ids, "nobody knows a quokka")


REGISTRY = DEFAULT_REGISTRY.with_tool(box_of).with_tool(breaks)


def world() -> TwinWindow:
    return still_window(obj(1, "mug", x=20), obj(2, "ball", x=60), obj(4, "box", x=200))


def test_steps_are_counted_on_through_rounds() -> None:
    window = world()
    first = REGISTRY.run_plan([{"tool": "find", "words": ["mug", "ball"]}], window)
    second = REGISTRY.run_plan(
        [{"tool": "right_of", "of": [1]}, {"tool": "and", "a": "$1", "b": "$2"}], window, first
    )
    assert [r.value for r in second] == [[2, 4], [2]]
    with pytest.raises(ToolError, match=r"step 3 \(and\), b: expected a reference to an earlier"):
        REGISTRY.run_plan(
            [{"tool": "find", "words": ["x"]}, {"tool": "and", "a": "$1", "b": "$3"}], window, first
        )
    counted = REGISTRY.run_plan([{"tool": "count", "ids": "$1"}], window, first)
    with pytest.raises(ToolError, match=r"expected a step that gives ids, got \$2"):
        REGISTRY.validate_plan([{"tool": "still", "ids": "$2"}], window, [*first, *counted])
    seven = first * 7
    assert REGISTRY.run_plan([{"tool": "count", "ids": "$7"}], window, seven)[0].value == 2
    with pytest.raises(ToolError, match="1 to 1 steps after 7 earlier ones, got 2 steps"):
        REGISTRY.validate_plan([{"tool": "find", "words": []}] * 2, None, seven)
    with pytest.raises(ToolError, match="1 to 0 steps after 8 earlier ones"):
        REGISTRY.validate_plan([{"tool": "find", "words": []}], None, first * 8)


def test_what_was_computed_before_a_failure_is_kept() -> None:
    plan: list[dict[str, Any]] = [
        {"tool": "find", "words": ["mug"]},
        {"tool": "breaks", "ids": "$1"},
        {"tool": "count", "ids": "$1"},
    ]
    with pytest.raises(StepError, match=r"step 2 \(breaks\) failed: RuntimeError: 'Got inv") as one:
        REGISTRY.run_plan(plan, world())
    assert [r.value for r in one.value.results] == [[1]]
    assert "\n" not in str(one.value)
    strict = DEFAULT_REGISTRY.with_tool(breaks, "set")
    with pytest.raises(RuntimeError):  # a fault of our own is not to be hidden
        strict.run_plan(plan, world())


def test_no_step_begins_when_time_is_over_and_slow_tools_know_the_time() -> None:
    window = world()
    plan = [{"tool": "find", "words": ["mug"]}, {"tool": "box_of"}]
    with pytest.raises(StepError, match=r"step 1 \(find\): expected time for it") as none:
        REGISTRY.run_plan(plan, window, (), time.monotonic())
    assert none.value.results == ()
    with pytest.raises(StepError, match="a second at least") as late:
        REGISTRY.run_plan(plan, window, (), time.monotonic() + 0.5)
    assert [r.value for r in late.value.results] == [[1]]
    assert REGISTRY.run_plan(plan, window, (), time.monotonic() + 60)[1].value == [5]


def test_a_tool_may_add_objects_that_later_steps_see() -> None:
    window = world()
    plan = [
        {"tool": "find", "words": ["object"]},
        {"tool": "box_of", "box": [0, 0, 1.5, 2]},
        {"tool": "find", "words": ["lamp"]},
        {"tool": "nearest", "ids": "$1", "to": "$2"},
    ]
    assert [r.value for r in REGISTRY.run_plan(plan, window)] == [[1, 2, 4, 5], [5], [5], [2]]
    assert window.latest(5).origin == "box_of()"


def test_what_looks_is_called_ahead_so_that_earlier_steps_see_it() -> None:
    """The lamp that step 3 brings in is what step 1 is about: the rightmost of all."""
    calls: list[str] = []

    def seek(window: TwinWindow, words: list[str]) -> Ids:
        """Brings in a lamp, once."""
        calls.append(words[0])
        last = window.last
        assert last is not None
        window.amend({last.index: [obj(9, words[0], x=250)]})
        return [9]

    registry = DEFAULT_REGISTRY.with_tool(seek, "perception")
    plan = [
        {"tool": "extreme", "by": "rightmost"},
        {"tool": "find", "words": ["ball"]},
        {"tool": "seek", "words": ["lamp"]},
    ]
    assert [r.value for r in registry.run_plan(plan, world())] == [[9], [2], [9]]
    assert calls == ["lamp", "lamp"]
    calls.clear()
    assert registry.run_plan(plan[2:] + plan[:1], world())[1].value == [9]
    assert calls == ["lamp"]  # nothing stands before it: once is enough
    late = DEFAULT_REGISTRY.with_tool(_late, "perception")
    plan = [{"tool": "find", "words": ["ball"]}, {"tool": "_late"}]
    with pytest.raises(StepError, match=r"step 2 \(_late\) failed: RuntimeError") as error:
        late.run_plan(plan, world())
    assert [r.value for r in error.value.results] == [[2]]


def _late(window: TwinWindow) -> Ids:
    """Always fails."""
    raise RuntimeError("no")


def test_lists_have_bounds() -> None:
    tool = REGISTRY["box_of"]
    assert tool.signature == "box_of(box=null,words=null)"
    assert tool.deadline == "by"
    assert tool.params["properties"]["box"] == {
        "type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4,
    }  # fmt: skip
    for wrong in ([], [1, 2, 3], [1, 2, 3, 4, 5]):
        with pytest.raises(ToolError, match="box to be a list of 4 numbers, got"):
            REGISTRY.validate_plan([{"tool": "box_of", "box": wrong}])
    with pytest.raises(ToolError, match="words to be a list of 1 to 3 words"):
        REGISTRY.validate_plan([{"tool": "box_of", "words": []}])
    with pytest.raises(ToolError, match="expected only the arguments box, words, got 'by'"):
        REGISTRY.validate_plan([{"tool": "box_of", "by": 1.0}])


def test_a_message_goes_beside_the_value() -> None:
    told = ToolRegistry([make_tool(tells, "perception")])
    (result,) = told.run_plan([{"tool": "tells", "ids": [2]}], world())
    assert (result.value, result.message) == ([2], "nobody knows a quokka")


def test_a_tool_is_replaced_in_its_place() -> None:
    def find(window: TwinWindow, words: list[str]) -> Ids:
        """Finds nothing."""
        return []

    other = DEFAULT_REGISTRY.replacing(find, "semantic", "find")
    assert list(other) == list(DEFAULT_REGISTRY)
    assert other.run_plan([{"tool": "find", "words": ["mug"]}], world())[0].value == []
    with pytest.raises(ToolError, match="expected a tool of find"):
        DEFAULT_REGISTRY.replacing(find, "semantic", "grab")
