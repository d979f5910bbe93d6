"""What a tool is: a typed, documented function whose JSON schema comes from its signature.

A tool's first parameter is the :class:`TwinWindow`; the others are what a plan may set. Their
annotations are the schema: :data:`Ids` (a list of ids or ``"$k"``), ``int``, ``float``, ``str``,
``bool``, ``list[str]``, ``list[float]``, ``Literal[...]`` of strings, and ``Annotated`` of those
with :class:`AtLeast`, or of a list with :class:`Items`. ``Ids | None = None`` means "all objects
when omitted"; any other argument may be optional too. The return annotation is one of
:data:`Ids`, :data:`Number`, :data:`Numbers`, :data:`Points`, :data:`Intervals`; a tool that has
something to say besides returns it in a :class:`Told`.

A keyword of the type :data:`Deadline` is no argument of a plan: it is when the answer has to be
there, given by who runs the plan, for tools that may take long.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import ToolError
from ..window import TwinWindow

__all__ = [
    "MAX_STEPS",
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
    "Told",
    "Tool",
    "ToolValue",
    "make_tool",
    "parse_reference",
    "show",
]

Kind = Literal["ids", "number", "numbers", "points", "intervals"]
Category = Literal["semantic", "spatial", "temporal", "set", "perception"]

Ids = Annotated[list[int], "ids"]
Number = Annotated[float | None, "number"]
Numbers = Annotated[list[float], "numbers"]
Points = Annotated[list[tuple[float, float]], "points"]
Intervals = Annotated[list[tuple[float, float]], "intervals"]
Deadline = Annotated[float | None, "deadline"]
ToolValue = list[int] | list[float] | list[tuple[float, float]] | float | None

MAX_STEPS = 8  # the most steps of one plan
_MAX_ITEMS = 1024  # no twin holds more objects than this, no question more words
_KINDS: tuple[Kind, ...] = ("ids", "number", "numbers", "points", "intervals")
_IDS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": f"^\\$[1-{MAX_STEPS}]$"},
        {"type": "array", "items": {"type": "integer", "minimum": 1}},
    ]
}
_SCALARS: dict[type, str] = {int: "integer", float: "number", str: "string", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Lowest value that a numeric argument may have."""

    value: int


@dataclass(frozen=True, slots=True)
class Items:
    """How many items a list may have: from ``low`` to ``high``."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Told:
    """A tool's value with one line for who asked, such as a word that no detector knows."""

    value: ToolValue
    message: str


@dataclass(frozen=True, slots=True)
class Param:
    """One argument of a tool; ``schema`` is its JSON schema."""

    name: str
    is_ids: bool
    required: bool
    schema: dict[str, Any]

    def check(self, value: Any, where: str) -> Any:
        """The value if it fits the schema (a reference stays as it is).

        Raises:
            ToolError: with what was expected and what came.
        """
        if not _fits(value, self.schema):
            raise ToolError(
                f"{where}: expected {self.name} to be {_expected(self.schema)}, got {show(value)}"
            )
        return value


@dataclass(frozen=True, slots=True)
class Tool:
    """A registered tool: what the model reads of it and the function that computes it.

    ``deadline`` is the keyword that takes :data:`Deadline`, or empty.
    """

    name: str
    doc: str
    category: Category
    arguments: tuple[Param, ...]
    returns: Kind
    fn: Callable[..., ToolValue | Told]
    deadline: str = ""

    @property
    def params(self) -> dict[str, Any]:
        """JSON schema of the arguments (an object without the ``tool`` key)."""
        return {
            "type": "object",
            "properties": {param.name: param.schema for param in self.arguments},
            "required": [param.name for param in self.arguments if param.required],
            "additionalProperties": False,
        }

    @property
    def step_schema(self) -> dict[str, Any]:
        """JSON schema of a whole plan step of this tool."""
        params = self.params
        return {
            "type": "object",
            "properties": {"tool": {"const": self.name}, **params["properties"]},
            "required": ["tool", *params["required"]],
            "additionalProperties": False,
        }

    @property
    def signature(self) -> str:
        """One line for the prompt, such as ``nearest(ids=all,to,k=1)``."""
        parts = []
        for param in self.arguments:
            default = "all" if param.is_ids else json.dumps(param.schema.get("default")).strip('"')
            parts.append(param.name if param.required else f"{param.name}={default}")
        return f"{self.name}({','.join(parts)})"


def make_tool(
    fn: Callable[..., ToolValue | Told], category: Category, name: str | None = None
) -> Tool:
    """Derive a tool from a typed, documented function (a trailing ``_`` leaves its name).

    Raises:
        ToolError: if the signature holds something that a plan cannot express.
    """
    tool_name = name or fn.__name__.rstrip("_")
    doc = inspect.getdoc(fn)
    if not doc or "\n" in doc:
        raise ToolError(f"tool {tool_name}: expected a docstring of one line, got {show(doc)}")
    hints = get_type_hints(fn, include_extras=True)
    parameters = list(inspect.signature(fn).parameters.values())
    if not parameters or hints.get(parameters[0].name) is not TwinWindow:
        raise ToolError(f"tool {tool_name}: expected its first parameter to be a TwinWindow")
    timed = [p.name for p in parameters[1:] if hints.get(p.name) == Deadline]
    arguments = tuple(
        _param(tool_name, parameter, hints.get(parameter.name))
        for parameter in parameters[1:]
        if parameter.name not in timed
    )
    returns = _kind(tool_name, hints.get("return"))
    return Tool(tool_name, doc, category, arguments, returns, fn, "".join(timed[:1]))


def parse_reference(value: Any) -> int | None:
    """The k of a ``"$k"`` reference (1 to 8), or None if the value is not one."""
    if isinstance(value, str) and len(value) == 2 and value[0] == "$" and value[1] in "12345678":
        return int(value[1])
    return None


def show(value: Any) -> str:
    """A short, single-line rendering of any JSON value for an error message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else "a number of over 19 digits"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        text = ascii(value[:40])
        return text if len(value) <= 40 else f"{text[:-1]}…'"
    if isinstance(value, (list, tuple)):
        inner = [show(v) if isinstance(v, (int, float, str)) else "…" for v in value[:4]]
        return f"[{', '.join(inner)}{', …' if len(value) > 4 else ''}]"
    if isinstance(value, dict):
        return f"an object with {len(value)} keys"
    return f"a {type(value).__name__}"


def _param(tool: str, parameter: inspect.Parameter, hint: Any) -> Param:
    required = parameter.default is inspect.Parameter.empty
    options = [arg for arg in get_args(hint) if arg is not NoneType]
    if get_origin(hint) in (Union, UnionType) and len(options) == 1:
        hint = options[0]
    if hint == Ids:
        return Param(parameter.name, True, required, _IDS_SCHEMA)
    schema = _schema(hint)
    if schema is None:
        raise ToolError(f"tool {tool}: expected a type a plan can express for {parameter.name}")
    if not required and parameter.default is not None:
        schema = {**schema, "default": parameter.default}
    return Param(parameter.name, False, required, schema)


def _schema(hint: Any) -> dict[str, Any] | None:
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal and all(isinstance(arg, str) for arg in args):
        return {"type": "string", "enum": list(args)}
    if origin is list and args[0] in _SCALARS:
        return {"type": "array", "items": {"type": _SCALARS[args[0]]}}
    if origin is Annotated:
        schema = _schema(args[0])
        return None if schema is None else _bounded(schema, args[1:])
    return None


def _bounded(schema: dict[str, Any], extras: Sequence[Any]) -> dict[str, Any]:
    for extra in extras:
        if isinstance(extra, AtLeast):
            schema = {**schema, "minimum": extra.value}
        elif isinstance(extra, Items) and schema["type"] == "array":
            schema = {**schema, "minItems": extra.low, "maxItems": extra.high}
    return schema


def _kind(tool: str, hint: Any) -> Kind:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    for kind in _KINDS:
        if kind in marks:
            return kind
    raise ToolError(f"tool {tool}: expected one of the return types {', '.join(_KINDS)}")


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    if "anyOf" in schema:
        return parse_reference(value) is not None or _fits(value, schema["anyOf"][1])
    match schema["type"]:
        case "integer":
            right = isinstance(value, int) and not isinstance(value, bool)
        case "number":
            right = isinstance(value, (int, float)) and not isinstance(value, bool)
            right = right and abs(value) <= 1e18 and math.isfinite(value)
        case "boolean":
            right = isinstance(value, bool)
        case "array":
            return (
                isinstance(value, list)
                and schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", _MAX_ITEMS)
                and all(_fits(item, schema["items"]) for item in value)
            )
        case _:
            right = isinstance(value, str)
    return (
        right
        and ("enum" not in schema or value in schema["enum"])
        and ("minimum" not in schema or value >= schema["minimum"])
    )


def _expected(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return 'a list of ids such as [1,2] or an earlier step such as "$1"'
    if "enum" in schema:
        return "one of " + "|".join(schema["enum"])
    names = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    if schema["type"] == "array":
        items = {"integer": "whole numbers", "number": "numbers", "string": "words"}
        return f"a list of {_many(schema)}{items.get(schema['items']['type'], 'values')}"
    bound = f" of at least {schema['minimum']}" if "minimum" in schema else ""
    return names.get(schema["type"], "text") + bound


def _many(schema: dict[str, Any]) -> str:
    if "maxItems" not in schema:
        return ""
    low, high = schema["minItems"], schema["maxItems"]
    return f"{low} " if low == high else f"{low} to {high} "
