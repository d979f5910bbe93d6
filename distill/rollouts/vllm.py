"""Rollouts through vLLM, for models whose batches it serves faster than transformers does.

:class:`VllmEngine` is asked as :class:`.engine.Engine` is. vLLM generates up to ``</plan>`` or
``</answer>``; the tools run here; a second call goes on from the prompt with its results (prefix
caching keeps what was read). Seeds are those of the other engine, but vLLM's random numbers and
kernels are its own: texts agree only greedily, and there up to ties.

vLLM needs a GPU and is not part of any extra that this project's tests install: this file is tested
against a stand-in that has vLLM's names and records what it is asked, nothing more.

Not covered: weights that change during a training (GRPO rolls out with transformers), several
GPUs, the second rollout on a description.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ...twin.errors import InputError, MissingExtraError
from ..stages.policy import Policy, prompt_ids
from ..stages.recipe import Sampling
from ..tasks.task import Task
from .engine import Engine, _Row, seed_of
from .record import Rollout
from .sampling import Completion

__all__ = ["VllmEngine"]

_ROWS = 4096  # completions handed over at once
_SHARE = 0.6  # of the GPU's memory: the policy's own network lies there too


class VllmEngine(Engine):
    """A policy's weights in vLLM; its own network in torch is not used.

    Args:
        policy: its ``source`` is the folder or ``owner/name@commit`` that vLLM opens.
        sampling: as for the other engine.
        rows: completions in one batch; vLLM schedules them itself.
        library: the package; None imports it.

    Raises:
        MissingExtraError: without vLLM.
        InputError: if the policy has no weights on disk, or descriptions are to be asked again.
    """

    def __init__(
        self, policy: Policy, sampling: Sampling, *, rows: int = _ROWS, library: Any = None
    ) -> None:
        if library is None:
            try:
                library = importlib.import_module("vllm")
            except ImportError as error:
                raise MissingExtraError("vllm", "vllm") from error
        if sampling.second:
            raise InputError(
                "expected sampling.second: false with vLLM, got true; use the engine transformers"
            )
        if policy.source in ("", "scratch"):
            raise InputError(
                "expected a model saved on disk for vLLM, got random weights; save it first"
            )
        super().__init__(policy, sampling, rows=rows)
        name, _, commit = policy.source.partition("@")
        self._library = library
        self._model = library.LLM(
            model=name,
            revision=commit or None,
            tokenizer_revision=commit or None,
            enable_prefix_caching=True,
            gpu_memory_utilization=_SHARE,
            trust_remote_code=False,
        )

    def _roll(self, tasks: Sequence[Task], n: int, seed: int, greedy: bool) -> list[Rollout]:
        prompts = [prompt_ids(self.policy, task) for task in tasks]
        rows = [_Row(task) for task in tasks for _ in range(n)]
        seeds = [seed_of(seed, task.key, number) for task in tasks for number in range(n)]
        done = [Completion() for _ in rows]
        running = list(range(len(rows)))
        while running:
            outputs = self._model.generate(
                [{"prompt_token_ids": [*prompts[r // n], *done[r].ids]} for r in running],
                [self._parameters(done[r], seeds[r], greedy) for r in running],
                use_tqdm=False,
            )
            pairs = zip(running, outputs, strict=True)
            running = [r for r, out in pairs if self._goes_on(rows[r], done[r], out.outputs[0])]
        return [
            self._rollout(row, one, tuple(prompts[number // n]))
            for number, (row, one) in enumerate(zip(rows, done, strict=True))
        ]

    def _parameters(self, done: Completion, seed: int, greedy: bool) -> Any:
        """How one row goes on: with the tokens that it has left and a seed for this stretch."""
        return self._library.SamplingParams(
            temperature=0.0 if greedy else self.sampling.temperature,
            top_p=self.sampling.top_p,
            max_tokens=self.sampling.max_tokens - sum(done.own),
            seed=seed + len(done.ids),
            stop=["</plan>"] if self.sampling.explain else ["</plan>", "</answer>"],
            include_stop_str_in_output=True,
            skip_special_tokens=False,
            logprobs=0,
        )

    def _goes_on(self, row: _Row, done: Completion, out: Any) -> bool:
        """Take what was generated and insert what follows it; False if the row is over."""
        ids = list(out.token_ids)
        done.ids += ids
        done.own += [1] * len(ids)
        done.logprobs += [float(at[i].logprob) for i, at in zip(ids, out.logprobs, strict=True)]
        if ids and ids[-1] == self.policy.eos:
            done.ended = "eos"
        elif out.finish_reason != "length":
            inserted = self._after(row, done.ids)
            if inserted is None:
                done.ended = "stopped"
            else:
                done.ids += inserted
                done.own += [0] * len(inserted)
                done.logprobs += [0.0] * len(inserted)
                done.ended = "eos" if inserted == [self.policy.eos] else None
        return done.ended is None and len(ids) > 0 and sum(done.own) < self.sampling.max_tokens
