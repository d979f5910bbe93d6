"""Guards against ways to be rewarded without reasoning: a penalty, and a gate for the rest.

| guard | it fires when |
|---|---|
| everything | the answer has at least 90 % of the twin's objects (three or more), two more than are true |
| empty | the rationale has fewer words than its plan has steps, or none of its words is about the question or the plan |
| question | the rationale, explanation or description is the question again, or most of it |
| results | what is written after results repeats them, or most of a text is numbers |
| twin | a text repeats lines of the twin (two or more coordinates) |
| repeats | a third of its word triples came before, a sentence comes three times, or half is one word |
| ids | the description names objects by their ids, so that anyone who reads it is right |

A concise rationale may honestly be one word ("Red." for one step); so "empty" is measured
against the plan, not by a fixed length. This is what keeps rewards of brevity (DR2Seg, L1, WISE)
from shortening rationales to nothing: below one word a step, nothing else is paid out.

Of 360 rollouts of the embedded student at temperature 1 (90 questions on training worlds, all four
modes), no guard but "everything" fired, and that one, at 80 %, in 4 honest mistakes such as four
of five objects "behind the lamp"; hence 90 %. Of 639 reference chains (40 training worlds) none sets
a guard of the text off.

In a rollout where a guard fires, ``guards`` is −1, and :mod:`.choose` pays out nothing positive
beside it; other rollouts have 0. A rollout that does not parse has 0: ``format`` is for that.

Not covered: results that the policy writes itself (the protocol refuses them), rationales that
are fluent and wrong (``judged`` is for those), a plan that is right by luck.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

from ...twin.errors import InputError
from ..rollouts.record import Rollout
from .base import Reward, answered, bodies, number, some_of

__all__ = ["GUARDS", "flags_of", "guards"]

_WORDS = re.compile(r"[^\W\d_]+")
_NUMBERS = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\d)")
_WHOLE = re.compile(r"(?<![\w.])\d+(?!\w|\.\d)")
_COORDINATES = re.compile(r"\b[xyzwhr]\d{1,4}\b")
_SENTENCES = re.compile(r"[.;!?\n]+")
_LEAST_SHARE = 0.9
_TRIPLES, _REPEATED, _SENTENCE_TIMES = 4, 1 / 3, 3
_COPIED = 0.5  # share of a text's runs of four words that stand in the question
_NUMBERS_LEAST = 4
_RESULTS_CHARS = 5  # "[[6]]": shorter results are in many honest texts
# What a rationale may be about besides the words of its question and its plan.
_ABOUT = frozenset(
    ["all", "closest", "everything", "except", "farthest", "first", "fourth", "last", "nearest", "none", "object", "second", "third"]
)  # fmt: skip


def flags_of(rollout: Rollout, *, share: float = _LEAST_SHARE, truth: bool = True) -> list[str]:
    """Guards that fire for a rollout, in the order of :data:`GUARDS`; none without an answer.

    Args:
        rollout: what was said.
        share: of the twin's objects that an answer of "everything" has at least.
        truth: whether "everything" knows the truth. Without it, every answer of all objects
            counts.
    """
    if not answered(rollout):
        return []
    found = ["everything"] if _is_everything(rollout, share, truth) else []
    return found + [name for name, check in _CHECKS.items() if check(rollout)]


def guards(
    *, without: Sequence[str] = (), share: float = _LEAST_SHARE, truth: bool = True
) -> Reward:
    """−1 where a guard fires, else 0.

    Args:
        without: guards that are not used.
        share: as in :func:`flags_of`.
        truth: as in :func:`flags_of`; False for rewards that know no truth (RISE).

    Raises:
        InputError: for an unknown guard, a share outside (0, 1] or a truth that is no bool.
    """
    left_out = some_of("guards", "without", without, GUARDS)
    if not isinstance(truth, bool):
        raise InputError(f"reward guards: expected truth as true or false, got {truth!r}")
    least = number("guards", "share", share, 0.01, 1)

    def reward(rollouts: Sequence[Rollout]) -> list[float | None]:
        fired = [{*flags_of(r, share=least, truth=truth)} - left_out for r in rollouts]
        return [-1.0 if flags else 0.0 for flags in fired]

    return reward


def _is_everything(rollout: Rollout, share: float, truth: bool) -> bool:
    count, given = len(rollout.task.scene.ids()), len(set(rollout.ids or ()))
    if given < max(3, math.ceil(share * count - 1e-9)):
        return False
    return given > len(rollout.task.ids) + 1 if truth else given == count


def _is_empty(rollout: Rollout) -> bool:
    said = _words(" ".join(bodies(rollout, "reason")))
    if len(said) < max(1, _steps(rollout)):
        return True
    about = {*_ABOUT, *map(_stem, _words(rollout.task.question)), *map(_stem, _plan_words(rollout))}
    return not {_stem(word) for word in said} & about


def _is_question(rollout: Rollout) -> bool:
    asked = _words(rollout.task.question)
    return any(_copies(_words(text), asked) for text in _texts(rollout))


def _is_results(rollout: Rollout) -> bool:
    results = [re.sub(r"\s", "", body) for body in bodies(rollout, "results")]
    for text in _texts(rollout):
        plain = re.sub(r"\s", "", text)
        if any(len(body) >= _RESULTS_CHARS and body in plain for body in results):
            return True
        numbers = len(_NUMBERS.findall(text))
        if numbers >= _NUMBERS_LEAST and numbers > len(_words(text)):
            return True
    return False


def _is_twin(rollout: Rollout) -> bool:
    return any(len(_COORDINATES.findall(text)) >= 2 for text in _texts(rollout))


def _is_repeating(rollout: Rollout) -> bool:
    return any(_repeats(text) for text in _texts(rollout))


def _names_ids(rollout: Rollout) -> bool:
    asked = {*_WHOLE.findall(rollout.task.question)}
    ids = {str(i) for i in rollout.task.scene.ids()} - asked
    return bool(ids & {*_WHOLE.findall(" ".join(bodies(rollout, "describe")))})


_CHECKS: dict[str, Callable[[Rollout], bool]] = {
    "empty": _is_empty,
    "question": _is_question,
    "results": _is_results,
    "twin": _is_twin,
    "repeats": _is_repeating,
    "ids": _names_ids,
}
GUARDS: tuple[str, ...] = ("everything", *_CHECKS)


def _texts(rollout: Rollout) -> list[str]:
    """What is there for a reader: rationales together, explanation, description."""
    parts = (" ".join(bodies(rollout, tag)) for tag in ("reason", "explain", "describe"))
    return [text for text in parts if text]


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORDS.findall(text)]


def _stem(word: str) -> str:
    if word.endswith("es") and len(word) > 4:
        return word[:-2]
    return word[:-1] if word.endswith("s") and len(word) > 3 else word


def _steps(rollout: Rollout) -> int:
    return sum(len(one.plan) for one in rollout.transcript.rounds) if rollout.transcript else 0


def _plan_words(rollout: Rollout) -> list[str]:
    rounds = rollout.transcript.rounds if rollout.transcript else ()
    return _words(json.dumps([one.plan for one in rounds]).replace("_", " "))


def _copies(said: list[str], asked: list[str]) -> bool:
    """Whether a text is the question, or most of its runs of four words stand in it."""
    if len(said) >= 3 and said == asked:
        return True
    runs, known = _runs(said, 4), {*_runs(asked, 4)}
    return len(runs) > 0 and sum(run in known for run in runs) > _COPIED * len(runs)


def _repeats(text: str) -> bool:
    words = _words(text)
    runs = _runs(words, 3)
    if len(runs) >= _TRIPLES and len(runs) - len({*runs}) > _REPEATED * len(runs):
        return True
    if len(words) >= 2 * _TRIPLES and Counter(words).most_common(1)[0][1] > len(words) / 2:
        return True
    sentences = Counter(" ".join(_words(part)) for part in _SENTENCES.split(text))
    return any(n >= _SENTENCE_TIMES for sentence, n in sentences.items() if sentence)


def _runs(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[k : k + n]) for k in range(len(words) - n + 1)]
