"""What models that decode without the grammar get wrong, mended where the meaning is plain.

Repairs, each named in a list: a ``<think>`` block skipped, a code fence or prose around a plan,
Hermes' ``<tool_call>`` blocks, a plan or an answer without its tags, JSON with single or
typographic quotes, trailing commas, Python's constants, unquoted words and missing brackets; calls
that name their tool ``name`` or ``function`` and wrap what it is given in ``arguments``; a single
word or id where a list is expected.

Not covered: guessing a tool from a name that it does not have, and numbers in words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..twin.errors import ProtocolError
from ..twin.tools.base import Param, Tool, parse_reference, show

__all__ = [
    "MAX_BODY_CHARS",
    "bare_turn",
    "fitted",
    "lenient_json",
    "plain_calls",
    "strict_json",
    "thinking",
    "without_thinking",
]

MAX_BODY_CHARS = 16_384  # of a plan; eight steps of the longest kind have some 2,000
_MAX_DEPTH = 16  # of brackets in a plan; a right one has four
_THINK, _THOUGHT = "<think>", "</think>"
_FENCED = re.compile(r"```\w*\s*(.*?)(?:```|$)", re.DOTALL)
_HERMES = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
_ANSWERED = re.compile(
    r"(?:(?:final\s+)?answer\s*[:=]\s*)?(\$\d{1,2}|\[[\s\d,$\"']*\]|none)\.?\s*", re.IGNORECASE
)
_CALL = re.compile(r"(?:\[\s*)?\{\s*[\"'\u201c]?\w+[\"'\u201d]?\s*:")
_SCALAR = re.compile(r"[^\s,:\[\]{}\"'\u2018-\u201d]+")
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u201d": "\u201d"}
_CONSTANTS: dict[str, Any] = {
    "true": True, "True": True, "false": False, "False": False,
    "null": None, "None": None,
}  # fmt: skip
_NAME_KEYS = ("tool", "name", "function", "tool_name", "action")
_ARGUMENT_KEYS = ("arguments", "args", "parameters", "params", "input")


def thinking(text: str) -> bool:
    """Whether the text ends inside a ``<think>`` block."""
    return text.rfind(_THINK) > text.rfind(_THOUGHT)


def without_thinking(text: str, repairs: list[str]) -> str:
    """The text without its ``<think>`` blocks, an unopened one (of the template) included.

    Raises:
        ProtocolError: if the text ends inside such a block.
    """
    if _THINK not in text and _THOUGHT not in text:
        return text
    if thinking(text):
        raise ProtocolError(
            "expected a plan or an answer after <think>, got thinking without an end; "
            "allow more tokens or ask for no thinking"
        )
    repairs.append("skipped what the model thought")
    first, mark, rest = text.partition(_THOUGHT)
    text = rest if mark and _THINK not in first else text
    return re.sub(f"{_THINK}.*?{_THOUGHT}", "", text, flags=re.DOTALL).strip()


def bare_turn(text: str, repairs: list[str]) -> str | None:
    """A turn without our tags as one with them, if it holds plain calls or a plain answer."""
    calls = [call.strip() for call in _HERMES.findall(text)]
    if calls:
        repairs.append("took tool_call blocks as the plan")
        return f"<plan>[{','.join(calls)}]</plan>"
    if answered := _ANSWERED.fullmatch(text.strip().strip("`'\"*")):
        repairs.append("took untagged text as the answer")
        return f"<answer>{answered[1]}</answer>"
    inner = fence[1] if (fence := _FENCED.search(text)) else text
    if begins := _CALL.search(inner):
        repairs.append("took untagged calls as the plan")
        return f"<plan>{inner[begins.start() :]}</plan>"
    return None


def strict_json(body: str) -> Any:
    """JSON without constants that it lacks, duplicated keys or depth without end.

    Raises:
        ValueError: with a short reason.
    """
    if len(body) > MAX_BODY_CHARS:
        raise ValueError(f"longer than {MAX_BODY_CHARS} characters")
    try:
        return json.loads(body, parse_constant=_no_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(error.msg) from error


def lenient_json(body: str, repairs: list[str]) -> Any:
    """JSON as models write it; what was mended is added to ``repairs``.

    Raises:
        ProtocolError: if nothing like a list of calls can be read.
    """
    text = body.strip()
    if len(text) > MAX_BODY_CHARS:
        raise ProtocolError(f"expected a plan of at most {MAX_BODY_CHARS} characters, got more")
    if "```" in text or text[:1] not in ("[", "{"):
        fence = _FENCED.search(text)
        inner = fence[1].strip() if fence else text
        starts = [place for place in (inner.find("["), inner.find("{")) if place >= 0]
        if not starts:
            raise ProtocolError(f"expected a plan as a JSON list of tool calls, got {show(body)}")
        text = inner[min(starts) :]
        repairs.append("removed a code fence or text around the list")
    reader = _Reader(text)
    value = reader.value(0)
    tail = text[reader.at :].strip()
    if isinstance(value, dict) and tail[:1] in (",", "{"):
        value = [value, *reader.calls_to_the_end()]
        reader.notes["put calls without brackets into a list"] = None
    elif tail:
        reader.notes["dropped text after the list"] = None
    repairs.extend(reader.notes)
    return value


class _Reader:
    """A recursive reader of almost-JSON; ``notes`` says what was not JSON."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.notes: dict[str, None] = {}

    def value(self, depth: int) -> Any:
        self._skip()
        if depth > _MAX_DEPTH or self.at >= len(self.text):
            raise self._error("another value")
        head = self.text[self.at]
        if head == "[":
            return self._list(depth)
        if head == "{":
            return self._object(depth)
        return self._string() if head in _QUOTES else self._scalar()

    def calls_to_the_end(self) -> list[Any]:
        """Objects after a first one, with or without commas between them."""
        found: list[Any] = []
        while True:
            self._skip(",")
            if self.text[self.at : self.at + 1] != "{":
                return found
            found.append(self.value(0))

    def _list(self, depth: int) -> list[Any]:
        self.at += 1
        items: list[Any] = []
        while self._more("]", "closed the list", bool(items)):
            items.append(self.value(depth + 1))
        return items

    def _object(self, depth: int) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        while self._more("}", "closed the call", bool(found)):
            quoted = self.text[self.at] in _QUOTES
            key = self._string() if quoted else str(self._scalar())
            self._skip()
            if self.text[self.at : self.at + 1] not in (":", "="):
                raise self._error(f"a colon after {show(key)}")
            if key in found:
                raise self._error(f"each key once, not {show(key)} twice")
            self.at += 1
            found[key] = self.value(depth + 1)
        return found

    def _more(self, end: str, closing: str, any_yet: bool) -> bool:
        """Whether another item follows; the end's bracket is consumed, a missing one noted."""
        self._skip()
        comma = any_yet and self.text[self.at : self.at + 1] == ","
        if comma:
            self.at += 1
            self._skip()
        if self.at >= len(self.text) or self.text[self.at] in "]}":
            if comma:
                self.notes["removed a trailing comma"] = None
            if self.text[self.at : self.at + 1] == end:
                self.at += 1
            else:
                self.notes[closing] = None
            return False
        if any_yet and not comma:
            raise self._error("a comma")
        return True

    def _string(self) -> str:
        opening = self.text[self.at]
        closing = _QUOTES[opening]
        if opening != '"':
            self.notes["replaced single quotes"] = None
        end = self.at + 1
        while end < len(self.text) and (self.text[end] != closing or self._inside(end, closing)):
            end += 2 if self.text[end] == "\\" else 1
        if end >= len(self.text):
            raise self._error("the end of a text")
        raw, self.at = self.text[self.at + 1 : end], end + 1
        if opening != '"':
            raw = raw.replace("\\'", "'").replace('"', '\\"')
        try:
            return str(json.loads(f'"{raw}"', strict=False))
        except ValueError:
            raise self._error("a text in quotes") from None

    def _inside(self, place: int, closing: str) -> bool:
        """Whether a single quote is an apostrophe: letters on both sides."""
        around = self.text[place - 1 : place] + self.text[place + 1 : place + 2]
        return closing == "'" and len(around) == 2 and around.isalpha()

    def _scalar(self) -> Any:
        found = _SCALAR.match(self.text, self.at)
        if found is None:
            raise self._error("a value")
        self.at, word = found.end(), found[0]
        try:
            return strict_json(word)
        except ValueError:
            self.notes["read unquoted words"] = None
            return _CONSTANTS.get(word, word)

    def _skip(self, more: str = "") -> None:
        while self.at < len(self.text) and (
            self.text[self.at].isspace() or self.text[self.at] in more
        ):
            self.at += 1

    def _error(self, wanted: str) -> ProtocolError:
        came = show(self.text[self.at : self.at + 40]) if self.at < len(self.text) else "its end"
        return ProtocolError(
            f"expected a plan as a JSON list of tool calls, and in it {wanted}, got {came}"
        )


def plain_calls(plan: Any, repairs: list[str]) -> Any:
    """A plan whose steps are ``{"tool":…, argument:…}``, from the other ways to write a call."""
    if isinstance(plan, dict):
        inner = next((plan[k] for k in ("plan", "steps", "tool_calls", "calls") if k in plan), None)
        if len(plan) == 1 and isinstance(inner, list):
            plan = inner
            repairs.append("took the list out of its object")
        else:
            plan = [plan]
            repairs.append("put a single call into a list")
    if not isinstance(plan, list):
        return plan
    calls = [_plain_call(step) for step in plan]
    if calls != plan:
        repairs.append("rewrote calls of another form")
    return calls


def _plain_call(step: Any) -> Any:
    if not isinstance(step, dict):
        return step
    step = dict(step)
    if step.get("type") == "function":
        del step["type"]
    if isinstance(step.get("function"), dict):
        step = {
            **{k: v for k, v in step.items() if k not in ("function", "id")},
            **step["function"],
        }
    if len(step) == 1 and isinstance(inner := next(iter(step.values())), dict):
        return {"tool": next(iter(step)), **inner}  # {"find": {"words": [...]}}
    name = next((k for k in _NAME_KEYS if isinstance(step.get(k), str)), None)
    if name is None or (name == "name" and "tool" in step):
        return step
    call = {"tool": step.pop(name)}
    for key in _ARGUMENT_KEYS:
        given = step.get(key)
        if isinstance(given, str) and given.lstrip().startswith("{"):
            try:
                given = strict_json(given)
            except ValueError:
                continue
        if isinstance(given, dict):
            del step[key]
            call |= {k: v for k, v in given.items() if k != "tool"}
    return call | step


def fitted(
    plan: Iterable[Any], tools: Mapping[str, Tool], repairs: list[str]
) -> list[dict[str, Any]]:
    """The plan with single values put into lists, and numbers out of quotes, where a tool says so."""
    done: list[dict[str, Any]] = []
    for step in plan:
        name = step.get("tool")
        tool = tools.get(name) if isinstance(name, str) else None
        params = {param.name: param for param in tool.arguments} if tool is not None else {}
        call = {k: _fitted_value(v, params[k]) if k in params else v for k, v in step.items()}
        omitted = [k for k, v in call.items() if v is None and k in params]
        for key in omitted:
            if not params[key].required:
                del call[key]
        done.append(call)
    if done != list(plan):
        repairs.append("fitted arguments to their tools")
    return done


def _fitted_value(value: Any, param: Param) -> Any:
    if isinstance(value, str) and param.schema.get("type") in ("integer", "number"):
        return _number(value)
    if param.is_ids:
        return _fitted_ids(value)
    if param.schema.get("type") == "array" and isinstance(value, (str, int, float)):
        return [value]
    return value


def _fitted_ids(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, list):
        if len(value) == 1 and parse_reference(value[0]) is not None:
            return value[0]
        return [_number(v) for v in value]
    if isinstance(value, str) and re.fullmatch(r"\d{1,6}", value, re.ASCII):
        return [int(value)]
    return None if value == "all" else value


def _number(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"\d{1,6}", value.strip(), re.ASCII):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return int(value)
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found
