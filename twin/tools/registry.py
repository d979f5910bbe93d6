"""The registry of tools, and plans: lists of steps that are checked and then computed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..errors import EdgeTwinError, StepError, ToolError
from ..window import TwinWindow
from . import semantic, sets, spatial, temporal
from .base import (
    MAX_STEPS,
    Category,
    Kind,
    Told,
    Tool,
    ToolValue,
    make_tool,
    parse_reference,
    show,
)

__all__ = [
    "DEFAULT_REGISTRY",
    "TOOLS",
    "StepResult",
    "ToolRegistry",
    "run_plan",
    "validate_plan",
]


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step computed; ``value`` is a list of ids when ``kind`` is ``"ids"``.

    ``value`` is None when a number has nothing to be computed from. ``message`` is what the tool
    says besides, for people: the model does not read it.
    """

    tool: str
    kind: Kind
    value: ToolValue
    message: str = ""


class ToolRegistry(Mapping[str, Tool]):
    """An immutable, ordered table of tools by name."""

    __slots__ = ("_tools",)

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self._tools:
                raise ToolError(f"expected tools with different names, got {tool.name} twice")
            self._tools[tool.name] = tool

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def with_tool(
        self,
        fn: Callable[..., ToolValue | Told],
        category: Category = "perception",
        name: str | None = None,
    ) -> ToolRegistry:
        """A new registry that also holds ``fn``; this one stays as it is.

        Raises:
            ToolError: if the name is taken or the signature cannot be a tool's.
        """
        return ToolRegistry([*self._tools.values(), make_tool(fn, category, name)])

    def json_schemas(self) -> list[dict[str, Any]]:
        """JSON schema of a plan step for every tool, in the registry's order."""
        return [tool.step_schema for tool in self._tools.values()]

    def hash(self) -> str:
        """SHA-256 (hex) of every tool's name, docstring, schema and kind of result."""
        definitions = [[t.name, t.doc, t.params, t.returns] for t in self._tools.values()]
        text = json.dumps(definitions, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def replacing(
        self, fn: Callable[..., ToolValue | Told], category: Category, name: str
    ) -> ToolRegistry:
        """A new registry in which ``fn`` stands for the tool of that name, in its place.

        Raises:
            ToolError: if there is no such tool, or the signature cannot be a tool's.
        """
        if name not in self._tools:
            raise ToolError(f"expected a tool of {', '.join(self._tools)}, got {show(name)}")
        new = make_tool(fn, category, name)
        return ToolRegistry(new if tool.name == name else tool for tool in self._tools.values())

    def validate_plan(
        self, plan: Any, window: TwinWindow | None = None, earlier: Sequence[StepResult] = ()
    ) -> None:
        """Check a whole plan without computing it; with a window its plain ids too.

        ``earlier`` are results of earlier rounds, whose steps are counted on: a plan after two
        of them begins with step 3, and ``$1`` and ``$2`` name theirs.

        Raises:
            ToolError: for the first thing that is wrong, with what was expected and what came.
        """
        most = MAX_STEPS - len(earlier)
        if not isinstance(plan, list) or not 1 <= len(plan) <= most:
            came = f"{len(plan)} steps" if isinstance(plan, list) else show(plan)
            after = f" after {len(earlier)} earlier ones" if earlier else ""
            raise ToolError(f"expected a plan of 1 to {max(most, 0)} steps{after}, got {came}")
        kinds: list[Kind] = [result.kind for result in earlier]
        for number, step in enumerate(plan, 1 + len(earlier)):
            tool = self._tool_of(step, f"step {number}")
            for name, value in _checked_arguments(tool, step, number).items():
                if _takes_ids(tool, name):
                    _check_reference(value, kinds, f"step {number} ({tool.name}), {name}")
                    if window is not None:
                        _check_known(value, window, f"step {number} ({tool.name}), {name}")
            kinds.append(tool.returns)

    def run_plan(
        self,
        plan: Any,
        window: TwinWindow,
        earlier: Sequence[StepResult] = (),
        deadline_s: float | None = None,
    ) -> list[StepResult]:
        """Check the plan, then compute its steps in order; returns the results of this plan only.

        ``earlier`` as in :meth:`validate_plan`; ``deadline_s`` is a time of the clock
        :func:`time.monotonic` after which no step begins. Perception tools may add objects to
        the window; ids never leave it, so results computed before stay true. Those that take no
        ids (they look for something) are called ahead of all steps, and again in their place: so
        an earlier step over all objects knows what a later one brings in. They should keep what
        they found.

        Raises:
            ToolError: as :meth:`validate_plan` does.
            StepError: because a tool could not compute or time was over; it holds the results
                of the steps before.
        """
        self.validate_plan(plan, window, earlier)
        numbered = list(enumerate(plan, 1 + len(earlier)))
        places = [place for place, (_, step) in enumerate(numbered) if self._looks(step)]
        if places != list(range(len(places))):  # nothing is ahead of leading ones anyway
            for place in places:
                with suppress(StepError):  # it is raised in its place
                    self._compute(*numbered[place], window, list(earlier), deadline_s)
        results = list(earlier)
        for number, step in numbered:
            try:
                results.append(self._compute(number, step, window, results, deadline_s))
            except StepError as error:
                error.results = tuple(results[len(earlier) :])
                raise
        return results[len(earlier) :]

    def _looks(self, step: dict[str, Any]) -> bool:
        """Whether a step may bring in objects, whatever was computed before it."""
        tool = self._tools[step["tool"]]
        return tool.category == "perception" and not any(p.is_ids for p in tool.arguments)

    def _compute(
        self,
        number: int,
        step: dict[str, Any],
        window: TwinWindow,
        results: list[StepResult],
        deadline_s: float | None,
    ) -> StepResult:
        tool = self._tools[step["tool"]]
        where = f"step {number} ({tool.name})"
        if deadline_s is not None and time.monotonic() >= deadline_s:
            raise StepError(f"{where}: expected time for it, got none left; allow more")
        arguments = {
            name: _resolve(value, results) if _takes_ids(tool, name) else value
            for name, value in step.items()
            if name != "tool"
        }
        if tool.deadline:
            arguments[tool.deadline] = deadline_s
        try:
            return _result(tool, tool.fn(window, **arguments))
        except ToolError as error:
            raise StepError(str(error)) from error
        except EdgeTwinError as error:
            raise StepError(f"{where} failed: {error}") from error
        except Exception as error:  # engines and OpenCV raise what they like
            if tool.category != "perception":
                raise
            kind = type(error).__name__
            raise StepError(f"{where} failed: {kind}: {show(str(error))}") from error

    def _tool_of(self, step: Any, where: str) -> Tool:
        if not isinstance(step, dict):
            raise ToolError(f'{where}: expected an object such as {{"tool":…}}, got {show(step)}')
        name = step.get("tool")
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            raise ToolError(
                f"{where}: expected a tool of {', '.join(self._tools)}, "
                f"got {show(name) if 'tool' in step else 'no tool'}"
            )
        return tool


def _result(tool: Tool, given: ToolValue | Told) -> StepResult:
    if isinstance(given, Told):
        return StepResult(tool.name, tool.returns, given.value, given.message)
    return StepResult(tool.name, tool.returns, given)


def _takes_ids(tool: Tool, name: str) -> bool:
    """Whether the tool's argument of that name takes ids."""
    return any(param.name == name and param.is_ids for param in tool.arguments)


def _checked_arguments(tool: Tool, step: dict[str, Any], number: int) -> dict[str, Any]:
    where = f"step {number} ({tool.name})"
    given = {name: value for name, value in step.items() if name != "tool"}
    params = {param.name: param for param in tool.arguments}
    unknown = [name for name in given if name not in params]
    if unknown:
        raise ToolError(
            f"{where}: expected only the arguments {', '.join(params) or 'none'}, "
            f"got {show(unknown[0])}"
        )
    missing = [name for name, param in params.items() if param.required and name not in given]
    if missing:
        raise ToolError(f"{where}: expected the argument {missing[0]}, got none")
    return {name: params[name].check(value, where) for name, value in given.items()}


def _check_reference(value: Any, kinds: list[Kind], where: str) -> None:
    reference = parse_reference(value)
    if reference is None:
        return
    if reference > len(kinds):
        raise ToolError(f"{where}: expected a reference to an earlier step, got {value}")
    if kinds[reference - 1] != "ids":
        raise ToolError(
            f"{where}: expected a step that gives ids, got {value}, which gives "
            f"{kinds[reference - 1]}"
        )


def _check_known(value: Any, window: TwinWindow, where: str) -> None:
    if parse_reference(value) is not None:
        return
    unknown = [i for i in value if i not in window]
    if unknown:
        raise ToolError(
            f"{where}: expected ids of the twin {show(window.ids())}, got {show(unknown[0])}"
        )


def _resolve(value: Any, results: list[StepResult]) -> list[int]:
    """The ids that an argument stands for, each once, in the order given."""
    reference = parse_reference(value)
    ids: Any = value if reference is None else results[reference - 1].value
    return list(dict.fromkeys(ids))


def _default_tools() -> list[Tool]:
    rooms: list[tuple[Category, list[Callable[..., ToolValue]]]] = [
        ("semantic", [semantic.find, semantic.attribute]),
        (
            "spatial",
            [
                spatial.left_of,
                spatial.right_of,
                spatial.above,
                spatial.below,
                spatial.in_front_of,
                spatial.behind,
                spatial.nearest,
                spatial.farthest,
                spatial.extreme,
                spatial.inside,
                spatial.on,
                spatial.distance,
                spatial.size,
            ],
        ),
        (
            "temporal",
            [
                temporal.appeared,
                temporal.disappeared,
                temporal.moved,
                temporal.still,
                temporal.speed,
                temporal.fastest,
                temporal.path,
                temporal.before,
                temporal.after,
                temporal.during,
                temporal.occluded_by,
                temporal.first,
                temporal.last,
                temporal.visible_when,
                temporal.when,
            ],
        ),
        ("set", [sets.and_, sets.or_, sets.not_, sets.count, sets.sort, sets.nth]),
    ]
    return [make_tool(fn, category) for category, functions in rooms for fn in functions]


DEFAULT_REGISTRY = ToolRegistry(_default_tools())
TOOLS: Mapping[str, Tool] = DEFAULT_REGISTRY


def validate_plan(
    plan: Any, window: TwinWindow | None = None, earlier: Sequence[StepResult] = ()
) -> None:
    """Check a plan against the default tools; see :meth:`ToolRegistry.validate_plan`."""
    DEFAULT_REGISTRY.validate_plan(plan, window, earlier)


def run_plan(
    plan: Any,
    window: TwinWindow,
    earlier: Sequence[StepResult] = (),
    deadline_s: float | None = None,
) -> list[StepResult]:
    """Compute a plan with the default tools; see :meth:`ToolRegistry.run_plan`."""
    return DEFAULT_REGISTRY.run_plan(plan, window, earlier, deadline_s)
