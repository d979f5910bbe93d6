"""Rolls out a policy on tasks: plan, pause, tools, results, answer (FastReasonSeg, section 3).

Completions are free (no grammar): training must see what the policy itself gets wrong. Tools are
the real ones. A plan that cannot be computed ends its row.

Not covered: several rounds of plans in one answer; pictures.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...reasoner import protocol
from ...reasoner.protocol import Transcript, tagged
from ...reasoner.resolving import resolve
from ...twin.errors import EdgeTwinError
from ...twin.tools.registry import StepResult
from ...twin.tools.render import render_results
from ..stages.policy import Policy, prompt_texts
from ..stages.recipe import Sampling
from ..tasks.task import Task, iou_of
from ..tasks.worlds import tools_of
from .record import Ending, Rollout
from .sampling import Completion, Prompt, sample

__all__ = ["Engine", "seed_of"]

_TAIL = 16  # last tokens in which the end of a block is looked for


def seed_of(seed: int, key: str, number: int) -> int:
    """The seed of one completion: the same wherever and with whatever else it is drawn."""
    return zlib.crc32(f"{seed}/{key}/{number}".encode())


@dataclass(slots=True)
class _Row:
    """What a completion has come to."""

    task: Task
    results: list[StepResult] | None = None
    plan: list[dict[str, Any]] = field(default_factory=list)
    inserted: int = 0
    error: str = ""


class Engine:
    """A policy with the way its completions are drawn.

    Args:
        policy: what writes.
        sampling: temperature, budget of tokens, and what follows an answer.
        rows: completions in one batch, if not ``sampling.rows``.
    """

    def __init__(self, policy: Policy, sampling: Sampling, *, rows: int | None = None) -> None:
        self.policy, self.sampling = policy, sampling
        self._rows = rows or sampling.rows
        vocabulary = policy.tokenizer.get_vocab()
        self._known = {end: vocabulary.get(end) for end in ("</plan>", "</answer>")}

    def roll(
        self, tasks: Sequence[Task], n: int = 1, seed: int = 0, *, greedy: bool = False
    ) -> list[Rollout]:
        """``n`` rollouts of every task, task by task; ``greedy`` takes the likeliest tokens."""
        found: list[Rollout] = []
        at_once = max(1, self._rows // n)
        for first in range(0, len(tasks), at_once):
            found += self._roll(tasks[first : first + at_once], n, seed, greedy)
        if self.sampling.second:
            found = self._asked_again(found, seed, greedy)
        return found

    def _roll(self, tasks: Sequence[Task], n: int, seed: int, greedy: bool) -> list[Rollout]:
        prompts = [self._prompt(task) for task in tasks]
        rows = [_Row(task) for task in tasks for _ in range(n)]
        seeds = [seed_of(seed, task.key, number) for task in tasks for number in range(n)]
        with self.policy.computing():
            done = sample(
                self.policy.model,
                prompts,
                n,
                seeds=seeds,
                on_token=lambda row, ids: self._after(rows[row], ids),
                eos=self.policy.eos,
                pad=int(self.policy.tokenizer.pad_token_id),
                max_tokens=self.sampling.max_tokens,
                temperature=0.0 if greedy else self.sampling.temperature,
                top_p=self.sampling.top_p,
            )
        return [
            self._rollout(row, one, prompts[number // n].shared + prompts[number // n].own)
            for number, (row, one) in enumerate(zip(rows, done, strict=True))
        ]

    def _prompt(self, task: Task) -> Prompt:
        """The tokens of a task's prompt, those of its twin apart."""
        twin, *rest = prompt_texts(self.policy, task)
        own = (token for text in rest for token in self.policy.encode(text))
        return Prompt(tuple(self.policy.encode(twin)), tuple(own))

    def _after(self, row: _Row, ids: list[int]) -> list[int] | None:
        """What follows a token: results after a plan, the end after an answer."""
        if self._ends(ids, "</plan>"):
            return self._computed(row, ids)
        if not self.sampling.explain and self._ends(ids, "</answer>"):
            return [self.policy.eos]
        return []

    def _ends(self, ids: list[int], end: str) -> bool:
        token = self._known[end]
        if token is not None:
            return bool(ids[-1] == token)
        now, before = self.policy.decode(ids[-_TAIL:]), self.policy.decode(ids[-_TAIL:-1])
        return end in now and end not in before

    def _computed(self, row: _Row, ids: list[int]) -> list[int] | None:
        """Tokens of the results of the plan that was just written; None ends the row."""
        if row.results is not None:
            row.error = "expected one plan, got another after the results"
            return None
        text = self.policy.decode(ids)
        try:
            plan = protocol.parse(text, complete=False).rounds[-1].plan
            row.results = list(tools_of(row.task).run_plan(plan, row.task.scene))
            row.plan = plan
        except (EdgeTwinError, IndexError) as error:
            row.error = str(error) or "expected a plan, got none"
            return None
        inserted = self.policy.encode(tagged("results", render_results(row.results)))
        row.inserted = len(inserted)
        return inserted

    def _rollout(self, row: _Row, done: Completion, prompt: tuple[int, ...]) -> Rollout:
        """What came of a completion."""
        text = self.policy.decode(done.ids)
        ending, message = _ending(row, done)
        transcript: Transcript | None = None
        ids: tuple[int, ...] | None = None
        if ending == "answered":
            try:
                transcript = protocol.parse(text)
                assert transcript.answer is not None
                tools = tools_of(row.task)
                found = resolve(
                    transcript.answer, row.plan, row.results or [], tools, row.task.scene
                )
                if found.kind != "number":
                    ids = tuple(sorted(found.ids))
            except (EdgeTwinError, AssertionError) as error:
                ending, message = "malformed", str(error)
        return Rollout(
            row.task,
            text,
            ending,
            ids=ids,
            iou=0.0 if ids is None else iou_of(row.task, ids),
            transcript=transcript,
            tokens=self._counts(text, transcript, done, row),
            prompt_ids=prompt,
            completion_ids=tuple(done.ids),
            env_mask=tuple(done.own),
            logprobs=tuple(done.logprobs),
            message=message,
        )

    def _counts(
        self, text: str, transcript: Transcript | None, done: Completion, row: _Row
    ) -> dict[str, int]:
        counts = {"own": sum(done.own), "results": row.inserted}
        if transcript is not None:
            counts["rationale"] = len(self.policy.encode(transcript.rationale))
            counts["description"] = len(self.policy.encode(transcript.description))
            said = text.partition("<explain>")[2].partition("</explain>")[0]
            counts["explain"] = len(self.policy.encode(said))
        return counts

    def _asked_again(self, rollouts: list[Rollout], seed: int, greedy: bool) -> list[Rollout]:
        """Ask every description alone, with the same twin (DR2Seg, section 3.2)."""
        again: list[Task] = []
        places: list[int] = []
        for number, one in enumerate(rollouts):
            if one.description:
                key = f"{one.task.key}#{number}"
                again.append(
                    replace(one.task, key=key, question=one.description[:400], mode="concise")
                )
                places.append(number)
        once = Engine(
            self.policy, self.sampling.model_copy(update={"second": False}), rows=self._rows
        )
        for number, second in zip(places, once.roll(again, 1, seed, greedy=greedy), strict=True):
            rollouts[number] = replace(rollouts[number], second=second)
        return rollouts


def _ending(row: _Row, done: Completion) -> tuple[Ending, str]:
    if row.error:
        return ("tool_error" if row.results is None else "malformed"), row.error
    if done.ended is None:
        return "cut", "expected an answer within the budget of tokens"
    return "answered", ""
