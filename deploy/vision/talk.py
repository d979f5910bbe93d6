"""One conversation with a vision-language model: ask, read the reply, once ask to mend it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ...reasoner.models.endpoint import Message, Picture, Reply, Sampling
from ...reasoner.models.openai import pieces
from ...reasoner.prompts import Mode
from ...twin.errors import ProtocolError
from .base import Log, VisionModel
from .replies import MAX_CHARS, Spoken, read_reply

__all__ = ["THINK", "converse"]

T = TypeVar("T")

THINK: dict[Mode, tuple[str, str]] = {
    "concise": (
        "the streamlined thinking process, at most 25 words, in <think> </think>",
        "<think>streamlined thinking process here</think>",
    ),
    "sentence": (
        "the streamlined thinking process, the shorter the better, in <think> </think>",
        "<think>streamlined thinking process here (one sentence)</think>",
    ),
    "detailed": (
        "the thinking process, step by step, in <think> </think>",
        "<think>thinking process here</think>",
    ),
    "description": (
        "a short thinking process in <think> </think>, a self-contained description of the "
        "object(s) in <description> </description>",
        "<think>thinking process here</think><description>description here</description>",
    ),
}
"""Per mode what is asked for and its example: WISE, WISE-S, Seg-Zero and DR2Seg."""

_REPAIR = (
    "Your answer could not be used: {problem}. Write the answer again, only <answer> </answer> "
    "with the JSON, as described."
)


def converse(
    model: VisionModel,
    parts: Sequence[str | Picture],
    sampling: Sampling,
    read: Callable[[Spoken], T],
    log: Log,
    deadline_s: float | None,
) -> T | None:
    """What ``read`` makes of the model's reply; None if it could not be used twice.

    ``read`` raises :class:`~edgetwin.twin.errors.ProtocolError` with a message for the model,
    which is then asked once more; ``log.trace["problem"]`` keeps what was wrong in the end.

    Raises:
        ModelError: if the model cannot be asked.
    """
    messages = [Message("user", tuple(parts))]
    log.trace["problem"] = ""
    for attempt in range(2):
        began = time.perf_counter()
        reply = model.chat(messages, sampling, deadline_s)
        log.ms["model"] += (time.perf_counter() - began) * 1e3
        text = reply.text[:MAX_CHARS]
        log.trace["replies"].append(text)
        try:
            spoken = read_reply(text)
            _count(log, reply, spoken)
            result = read(spoken)
        except ProtocolError as error:
            log.trace["problem"] = str(error)
            cut = "; the reply was cut at max_tokens" if reply.finish_reason == "length" else ""
            log.note(f"reply {attempt + 1}: {error}{cut}")
            repair = _REPAIR.format(problem=str(error)[:300])
            messages = [
                messages[0],
                Message("assistant", (text or "-",)),
                Message("user", (repair,)),
            ]
            continue
        if spoken.mended:
            log.note(f"reply {attempt + 1}: its JSON was mended")
        log.trace["problem"] = ""
        return result
    return None


def _count(log: Log, reply: Reply, spoken: Spoken) -> None:
    """Keep rationale and description; share the reply's tokens by our estimate of its parts."""
    log.rationale = spoken.rationale or log.rationale
    log.description = spoken.description or log.description
    usage, every = reply.usage, len(pieces(reply.text))
    said = usage.completion or every
    thought = round(said * len(pieces(spoken.rationale)) / max(every, 1))
    log.tokens["prompt"] += usage.prompt
    log.tokens["reused"] += usage.cached
    log.tokens["rationale"] += thought
    log.tokens["answer"] += said - thought
    log.tokens["total"] += usage.prompt + said
