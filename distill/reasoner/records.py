"""Training examples on disk: one twin with its questions per line of JSON.

``{"seed": 7, "twin": "1 red mug x40…", "items": [{"question", "reason", "plan", "results",
"answer", "level", "mode", "describe", "turns", "explain"}, …]}``: everything is text as the protocol
writes it (``plan`` empty when the answer needs none; the last four may be missing), so that the
tokenizer can change without new data. A producer process writes
chunks ahead; a reader follows them in order and goes round when there are no more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...reasoner import prompts
from ...reasoner.prompts import Mode
from ...reasoner.protocol import EOS, tagged
from ...twin.errors import InputError

__all__ = [
    "Cursor",
    "Example",
    "Question",
    "chunk_path",
    "chunks",
    "follow",
    "pieces",
    "prompt",
    "read",
    "write",
]


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its reference chain, as text; ``turns`` are earlier (question, ids);
    ``explain`` follows the answer (WISE's order: concise, answer, detailed)."""

    question: str
    reason: str
    plan: str
    results: str
    answer: str
    level: int = 1
    mode: Mode = "concise"
    describe: str = ""
    turns: tuple[tuple[str, tuple[int, ...]], ...] = ()
    explain: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A twin's text with its questions."""

    seed: int
    twin: str
    items: tuple[Question, ...]


@dataclass(slots=True)
class Cursor:
    """Where a reader stands: chunk, line within it, and how often it began anew."""

    chunk: int = 0
    line: int = 0
    rounds: int = 0


def prompt(item: Question) -> list[str]:
    """What follows the twin up to where the model begins; each text is encoded for itself."""
    turns = [prompts.turn(asked, ids) for asked, ids in item.turns]
    return [*turns, prompts.question(item.question, item.mode)]


def pieces(item: Question) -> list[tuple[str, bool]]:
    """(text, whether the model writes it) of what follows the prompt; results are given."""
    reason = tagged("reason", item.reason)
    if item.describe:
        reason += tagged("describe", item.describe)
    explain = tagged("explain", item.explain) if item.explain else ""
    answer = tagged("answer", item.answer) + explain + EOS
    if not item.plan:
        return [(reason + answer, True)]
    return [
        (reason + tagged("plan", item.plan), True),
        (tagged("results", item.results), False),
        (answer, True),
    ]


def write(path: Path, examples: Sequence[Example]) -> None:
    """Write one chunk; it appears under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")  # two producers must not meet
    with partial.open("w", encoding="utf-8") as file:
        for example in examples:
            file.write(json.dumps(asdict(example), separators=(",", ":")) + "\n")
    partial.replace(path)


def read(path: Path) -> list[Example]:
    """The examples of one chunk.

    Raises:
        InputError: if a line is not an example.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            items = tuple(_question(item) for item in record["items"])
            found.append(Example(record["seed"], record["twin"], items))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}, line {number}: expected an example, got {line[:60]!r}; "
                "delete the file and produce it again"
            ) from error
    return found


def _question(record: dict[str, Any]) -> Question:
    turns = tuple((asked, tuple(ids)) for asked, ids in record.pop("turns", ()))
    return Question(**record, turns=turns)


def chunk_path(folder: Path, number: int) -> Path:
    """Where a chunk lies. (What lies in ``chunk_*.jsonl`` is of an older form of the prompt.)"""
    return folder / f"asked_{number:05d}.jsonl"


def chunks(folder: Path) -> list[Path]:
    """Complete chunks in order."""
    return sorted(folder.glob("asked_*.jsonl"))


def follow(folder: Path, cursor: Cursor) -> Iterator[Example]:
    """Examples from the cursor on, for ever; the cursor always names the next one.

    Raises:
        InputError: if the folder holds no chunk.
    """
    while True:
        paths = chunks(folder)
        if not paths:
            raise InputError(f"expected asked_*.jsonl in {folder}, got none; produce them first")
        if cursor.chunk >= len(paths):
            cursor.chunk, cursor.rounds = 0, cursor.rounds + 1
        examples = read(paths[cursor.chunk])
        while cursor.line < len(examples):
            cursor.line += 1
            yield examples[cursor.line - 1]
        cursor.chunk, cursor.line = cursor.chunk + 1, 0
