"""Plans: what is refused and how, what is computed, how it is shown to the model."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetwin.twin.errors import ModelError, ToolError
from edgetwin.twin.tools import (
    DEFAULT_REGISTRY,
    TOOLS,
    AtLeast,
    Ids,
    Number,
    StepResult,
    ToolRegistry,
    make_tool,
    render_results,
    run_plan,
    validate_plan,
)
from edgetwin.twin.window import TwinWindow

from .build import obj, still_window, video

WINDOW = video(
    {
        1: [(10 + 3 * i, 20, 1.0) for i in range(12)],
        2: [(50, 60, 0.5)] * 8 + [obj(2, state="occluded")] * 4,
        4: [None] * 5 + [(90, 90)] * 7,
    },
    {1: "mug", 2: "ball", 4: "box"},
)
NAMES = """find attribute left_of right_of above below in_front_of behind nearest farthest extreme
inside on distance size appeared disappeared moved still speed fastest path before after during
occluded_by first last visible_when when and or not count sort nth"""


def test_the_tools_are_the_contracts() -> None:
    assert list(TOOLS) == NAMES.split()
    signatures = {tool.signature: tool.returns for tool in TOOLS.values()}
    assert signatures["find(words)"] == "ids"
    assert signatures["nearest(ids=all,to,k=1)"] == "ids"
    assert signatures["distance(a,b,space=pixel)"] == "number"
    assert signatures["moved(ids=all,direction=any)"] == "ids"
    assert signatures["before(ids=all,of,event)"] == "ids"
    assert signatures["sort(ids=all,by,descending=false)"] == "ids"
    assert signatures["visible_when(ids)"] == "intervals"
    assert signatures["path(ids)"] == "points"
    assert signatures["speed(ids)"] == "numbers"
    assert all(0 < len(tool.doc) <= 110 and tool.doc.endswith(".") for tool in TOOLS.values())


def test_schemas_come_from_the_signatures() -> None:
    ids = {
        "anyOf": [
            {"type": "string", "pattern": r"^\$[1-8]$"},
            {"type": "array", "items": {"type": "integer", "minimum": 1}},
        ]
    }
    assert TOOLS["nearest"].params == {
        "type": "object",
        "properties": {"ids": ids, "to": ids, "k": {"type": "integer", "minimum": 1, "default": 1}},
        "required": ["to"],
        "additionalProperties": False,
    }
    schemas = DEFAULT_REGISTRY.json_schemas()
    assert [s["properties"]["tool"]["const"] for s in schemas] == list(TOOLS)
    for schema in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_plan_composes_steps() -> None:
    plan = [
        {"tool": "find", "words": ["mug", "box"]},
        {"tool": "moved", "ids": "$1"},
        {"tool": "nearest", "ids": [2, 4], "to": "$2"},
        {"tool": "count", "ids": "$3"},
    ]
    results = run_plan(plan, WINDOW)
    assert [(r.tool, r.kind, r.value) for r in results] == [
        ("find", "ids", [1, 4]),
        ("moved", "ids", [1]),
        ("nearest", "ids", [2]),  # 46.5 px against 81.7 px
        ("count", "number", 1),
    ]
    assert render_results(results) == "[[1,4],[1],[2],1]"


def test_order_survives_only_from_sort() -> None:
    plan = [
        {"tool": "sort", "by": "left", "descending": True},
        {"tool": "nth", "ids": "$1", "k": 1},
        {"tool": "still", "ids": "$1"},
        {"tool": "size", "ids": "$1"},
    ]
    assert [r.value for r in run_plan(plan, WINDOW)] == [[4, 2, 1], [4], [2, 4], [400, 400, 400]]


FIND = {"tool": "find", "words": ["mug"]}


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("find", r"expected a plan of 1 to 8 steps, got 'find'"),
        ({"tool": "find"}, r"1 to 8 steps, got an object with 1 keys"),
        ([], r"1 to 8 steps, got 0 steps"),
        ([FIND] * 9, r"1 to 8 steps, got 9 steps"),
        ([["find"]], r"step 1: expected an object .*, got \['find'\]"),
        ([{"words": ["mug"]}], r"step 1: expected a tool of find, attribute, .*, got no tool"),
        ([FIND, {"tool": "grab"}], r"step 2: expected a tool of .*, got 'grab'"),
        ([{"tool": ["find"]}], r"got \['find'\]"),
        ([{"tool": "find"}], r"step 1 \(find\): expected the argument words, got none"),
        ([FIND | {"path": "/etc"}], r"expected only the arguments words, got 'path'"),
        ([{"tool": "find", "words": "mug"}], r"words to be a list of words, got 'mug'"),
        ([{"tool": "find", "words": [3]}], r"list of words, got \[3\]"),
        ([{"tool": "find", "words": None}], r"got null"),
        ([{"tool": "find", "words": ["x"] * 1025}], r"got \['x', 'x', 'x', 'x', …\]"),
        (
            [{"tool": "count", "ids": 3}],
            r'a list of ids .* or an earlier step such as "\$1", got 3',
        ),
        ([{"tool": "count", "ids": [True]}], r"got \[true\]"),
        ([{"tool": "count", "ids": [1.0]}], r"got \[1\.0\]"),
        ([{"tool": "count", "ids": [0]}], r"got \[0\]"),
        ([{"tool": "count", "ids": None}], r"got null"),
        ([{"tool": "count", "ids": [3]}], r"expected ids of the twin \[1, 2, 4\], got 3"),
        ([{"tool": "count", "ids": "$1"}], r"a reference to an earlier step, got \$1"),
        ([FIND, {"tool": "count", "ids": "$3"}], r"an earlier step, got \$3"),
        ([FIND, {"tool": "count", "ids": "$0"}], r"got '\$0'"),
        ([FIND, {"tool": "count", "ids": "$9"}], r"got '\$9'"),
        ([FIND, {"tool": "count", "ids": "$01"}], r"got '\$01'"),
        ([FIND, {"tool": "count", "ids": ["$1"]}], r"got \['\$1'\]"),
        (
            [{"tool": "count", "ids": [1]}, {"tool": "size", "ids": "$1"}],
            r"step 2 \(size\), ids: expected a step that gives ids, got \$1, which gives number",
        ),
        ([{"tool": "nearest", "to": [1], "k": 0}], r"k to be a whole number of at least 1, got 0"),
        ([{"tool": "nearest", "to": [1], "k": True}], r"got true"),
        ([{"tool": "nearest", "to": [1], "k": "2"}], r"got '2'"),
        ([{"tool": "moved", "direction": "north"}], r"one of any\|left\|.*, got 'north'"),
        ([{"tool": "sort", "by": "left", "descending": 1}], r"true or false, got 1"),
        ([{"tool": "attribute", "name": 1, "value": ""}], r"name to be text, got 1"),
    ],
)
def test_what_is_refused(plan: Any, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        run_plan(plan, WINDOW)


def test_validation_without_a_window_leaves_ids_open() -> None:
    plan = [{"tool": "count", "ids": [77]}]
    validate_plan(plan)
    with pytest.raises(ToolError, match="got 77"):
        validate_plan(plan, WINDOW)


def test_nothing_is_computed_of_a_plan_that_is_refused() -> None:
    calls = []

    def note(window: TwinWindow, ids: Ids) -> Ids:
        """Notes that it was called."""
        calls.append(ids)
        return ids

    registry = DEFAULT_REGISTRY.with_tool(note)
    with pytest.raises(ToolError, match="step 2"):
        registry.run_plan([{"tool": "note", "ids": [1]}, {"tool": "grab"}], WINDOW)
    assert calls == []


# -- registering --------------------------------------------------------------------------


def test_deploy_adds_a_tool() -> None:
    def detect(
        window: TwinWindow, words: list[str], box: list[float], k: Annotated[int, AtLeast(2)] = 2
    ) -> Ids:
        """Looks for words in a box (pixels)."""
        if not words:
            raise ModelError("expected words")
        return window.ids()[:k]

    registry = DEFAULT_REGISTRY.with_tool(detect)
    assert "detect" not in DEFAULT_REGISTRY
    assert registry["detect"].category == "perception"
    assert registry["detect"].signature == "detect(words,box,k=2)"
    assert registry.hash() != DEFAULT_REGISTRY.hash()
    plan = [{"tool": "detect", "words": ["cup"], "box": [0, 1.5]}, {"tool": "count", "ids": "$1"}]
    assert [r.value for r in registry.run_plan(plan, WINDOW)] == [[1, 2], 2]
    for wrong in ([math.nan], [math.inf], [10**400], [True], ["1"], 3):
        with pytest.raises(ToolError, match="box to be a list of numbers"):
            registry.run_plan([{"tool": "detect", "words": [], "box": wrong}], WINDOW)
    with pytest.raises(ToolError, match=r"step 1 \(detect\) failed: expected words"):
        registry.run_plan([{"tool": "detect", "words": [], "box": []}], WINDOW)
    with pytest.raises(ToolError, match="detect twice"):
        registry.with_tool(detect)


def test_the_hash_is_of_the_definitions() -> None:
    assert DEFAULT_REGISTRY.hash() == ToolRegistry(TOOLS.values()).hash()
    assert len(DEFAULT_REGISTRY.hash()) == 64
    some = list(TOOLS.values())
    assert ToolRegistry(some[:-1]).hash() != DEFAULT_REGISTRY.hash()
    assert ToolRegistry(some[::-1]).hash() != DEFAULT_REGISTRY.hash()


def test_functions_that_cannot_be_tools() -> None:
    def undocumented(window: TwinWindow) -> Ids:
        return []

    def no_window(ids: Ids) -> Ids:
        """Lacks the window."""
        return ids

    def a_dict(window: TwinWindow, options: dict[str, int]) -> Ids:
        """Takes what a plan cannot say."""
        return []

    def no_kind(window: TwinWindow) -> str:
        """Returns what a plan cannot use."""
        return ""

    for function, message in (
        (undocumented, "docstring of one line"),
        (no_window, "first parameter to be a TwinWindow"),
        (a_dict, "a type a plan can express for options"),
        (no_kind, "one of the return types"),
    ):
        with pytest.raises(ToolError, match=message):
            make_tool(function, "set")  # type: ignore[arg-type]

    def number(window: TwinWindow) -> Number:
        """Gives a number."""
        return 1

    assert make_tool(number, "set", name="one").name == "one"


# -- rendering ----------------------------------------------------------------------------


def test_results_are_compact() -> None:
    results = [
        StepResult("find", "ids", [1, 4]),
        StepResult("count", "number", 12),
        StepResult("distance", "number", 0.4567),
        StepResult("distance", "number", 2.0),
        StepResult("distance", "number", None),
        StepResult("size", "numbers", [340, 12]),
        StepResult("path", "points", [(12.4, 40.0), (13.6, -2.0)]),
        StepResult("visible_when", "intervals", [(0.5, 1.24), (2.0, 3.96)]),
        StepResult("find", "ids", []),
    ]
    assert render_results(results) == (
        "[[1,4],12,0.46,2,null,[340,12],[[12,40],[14,-2]],[[0.5,1.2],[2,4]],[]]"
    )
    assert render_results([]) == "[]"


def test_results_are_bounded() -> None:
    many = StepResult("find", "ids", list(range(1, 101)))
    assert render_results([many], max_items=3) == '[[1,2,3,"+97"]]'
    assert len(json.loads(render_results([many]))[0]) == 25
    wild = [StepResult("size", "numbers", [math.inf, -math.inf, math.nan, 10**400, 1e300])]
    assert render_results(wild) == "[[999999,-999999,0,999999,999999]]"


# -- any JSON at all ----------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["$1", "$2", "$8", "mug", "moved", "object", "left", 1, 2, 4, 10**400]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["ids", "of", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ARGUMENTS = sorted({param.name for tool in TOOLS.values() for param in tool.arguments})
STEPS = st.one_of(
    JSON,
    st.dictionaries(st.sampled_from(ARGUMENTS), JSON, max_size=4).flatmap(
        lambda step: st.sampled_from(list(TOOLS)).map(lambda name: {"tool": name, **step})
    ),
)


@st.composite
def good_step(draw: st.DrawFn, earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """A step that fits its schema, referring to earlier steps that give ids."""
    tool = draw(st.sampled_from(list(TOOLS.values())))
    references = [f"${k}" for k, s in enumerate(earlier, 1) if TOOLS[s["tool"]].returns == "ids"]
    ids = st.lists(st.sampled_from([1, 2, 4]), max_size=4)
    step: dict[str, Any] = {"tool": tool.name}
    for param in tool.arguments:
        if not param.required and draw(st.booleans()):
            continue
        if param.is_ids:
            step[param.name] = draw(st.sampled_from(references) | ids if references else ids)
        elif "enum" in param.schema:
            step[param.name] = draw(st.sampled_from(param.schema["enum"]))
        else:
            values: dict[str, st.SearchStrategy[Any]] = {
                "integer": st.integers(1) | st.just(1),
                "boolean": st.booleans(),
                "string": st.sampled_from(["color", "red", ""]) | st.text(),
                "array": st.lists(st.sampled_from(["mug", "object", "ball"]) | st.text()),
            }
            step[param.name] = draw(values[param.schema["type"]])
    return step


@st.composite
def good_plans(draw: st.DrawFn) -> list[dict[str, Any]]:
    plan: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 8))):
        plan.append(draw(good_step(plan)))
    return plan


@given(st.one_of(JSON, st.lists(STEPS, max_size=9)))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_computes_or_is_a_tool_error(plan: Any) -> None:
    try:
        rendered = render_results(run_plan(plan, WINDOW))
    except ToolError as error:
        message = str(error)
    else:
        message = ""
        assert len(json.loads(rendered)) == len(plan)
    assert len(message) < 600
    assert "\n" not in message


@given(good_plans())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_plan_that_fits_the_schemas_computes(plan: list[dict[str, Any]]) -> None:
    schemas = {s["properties"]["tool"]["const"]: s for s in DEFAULT_REGISTRY.json_schemas()}
    for step in plan:
        jsonschema.Draft202012Validator(schemas[step["tool"]]).validate(step)
    for window in (WINDOW, still_window(obj(1), obj(2), obj(4))):
        results = run_plan(plan, window)
        assert results == run_plan(plan, window)
        assert len(render_results(results)) < 8 * 24 * 20
        for result in results:
            if result.kind == "ids":
                assert set(result.value) <= {1, 2, 4}  # type: ignore[arg-type]
                if result.tool not in ("sort", "nth"):
                    assert result.value == sorted(result.value)  # type: ignore[arg-type]
