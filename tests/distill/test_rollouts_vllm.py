"""Rollouts through vLLM, against a stand-in with its names that records what it is asked.

vLLM itself needs a GPU and was never run here: these tests hold what this side does with it.
"""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgetwin.distill.rollouts.engine import Engine, seed_of  # noqa: E402
from edgetwin.distill.rollouts.sampling import Prompt, sample  # noqa: E402
from edgetwin.distill.rollouts.vllm import VllmEngine  # noqa: E402
from edgetwin.distill.stages.policy import Policy, load_policy, prompt_ids  # noqa: E402
from edgetwin.distill.stages.recipe import ModelChoice, Sampling, WorldsChoice  # noqa: E402
from edgetwin.distill.tasks.worlds import Worlds  # noqa: E402
from edgetwin.twin.errors import InputError, MissingExtraError  # noqa: E402

torch.set_num_threads(1)
TASKS = Worlds(WorldsChoice(first=40, count=2, per_world=3))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    choice = ModelChoice(source="embedded")
    return load_policy(choice, tmp_path_factory.mktemp("work"), "cpu", trained=False)


class StandIn:
    """vLLM's two names: greedy decoding of the real network up to a stop text."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.opened, self.asked = policy, dict[str, Any](), list[Any]()

    def LLM(self, **options: Any) -> StandIn:
        self.opened = options
        return self

    def SamplingParams(self, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(**options)

    def generate(self, prompts: Any, rules: Any, use_tqdm: bool) -> list[Any]:
        assert use_tqdm is False
        self.asked.append((prompts, rules))
        return [self._one(p["prompt_token_ids"], r) for p, r in zip(prompts, rules, strict=True)]

    def _one(self, ids: list[int], rule: Any) -> Any:
        def stop(_: int, tokens: list[int]) -> list[int] | None:
            text = self.policy.decode(tokens[-16:])
            return None if any(text.endswith(end) for end in rule.stop) else []

        (done,) = sample(
            self.policy.model, [Prompt(tuple(ids[:1]), tuple(ids[1:]))], 1, seeds=[rule.seed], on_token=stop, eos=self.policy.eos,
            pad=0, max_tokens=rule.max_tokens, temperature=rule.temperature,
        )  # fmt: skip
        pairs = zip(done.ids, done.logprobs, strict=True)
        at = [{token: SimpleNamespace(logprob=logprob)} for token, logprob in pairs]
        reason = "length" if done.ended is None else "stop"
        return SimpleNamespace(
            outputs=[SimpleNamespace(token_ids=done.ids, logprobs=at, finish_reason=reason)]
        )


def test_it_says_what_the_other_engine_says(policy: Policy) -> None:
    stand_in = StandIn(policy)
    sampling = Sampling(group=2, max_tokens=96)
    found = VllmEngine(policy, sampling, library=stand_in).roll(TASKS, 2, 5, greedy=True)
    wanted = Engine(policy, sampling).roll(TASKS, 2, 5, greedy=True)
    assert len(found) == 2 * len(TASKS) == 12
    for one, other in zip(found, wanted, strict=True):
        assert (one.task.key, one.text, one.ending) == (other.task.key, other.text, other.ending)
        assert (one.ids, one.iou, one.tokens) == (other.ids, other.iou, other.tokens)
        assert (one.completion_ids, one.env_mask) == (other.completion_ids, other.env_mask)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert any(0 in one.env_mask for one in found), "no plan was computed"


def test_what_vllm_is_asked(policy: Policy) -> None:
    stand_in = StandIn(policy)
    sampling = Sampling(group=2, temperature=0.7, top_p=0.9, max_tokens=40)
    VllmEngine(policy, sampling, library=stand_in).roll(TASKS[:1], 2, 3)
    assert stand_in.opened["model"] == policy.source
    assert stand_in.opened["trust_remote_code"] is False
    assert stand_in.opened["revision"] is None
    (prompts, rules), *later = stand_in.asked
    assert [p["prompt_token_ids"] for p in prompts] == [prompt_ids(policy, TASKS[0])] * 2
    assert [r.seed for r in rules] == [seed_of(3, TASKS[0].key, number) for number in (0, 1)]
    assert {(r.temperature, r.top_p, r.max_tokens) for r in rules} == {(0.7, 0.9, 40)}
    assert rules[0].stop == ["</plan>", "</answer>"]
    assert rules[0].include_stop_str_in_output
    for _, rest in later:
        assert all(r.max_tokens < 40 for r in rest)


def test_a_pinned_checkpoint_is_opened_at_its_commit(policy: Policy) -> None:
    stand_in = StandIn(policy)
    pinned = Policy(
        policy.model, policy.tokenizer, policy.style, policy.layout, "owner/name@0123abcd"
    )
    VllmEngine(pinned, Sampling(), library=stand_in)
    opened = stand_in.opened
    assert (opened["model"], opened["revision"]) == ("owner/name", "0123abcd")
    assert opened["tokenizer_revision"] == "0123abcd"


def test_what_it_cannot_do_is_said(policy: Policy) -> None:
    stand_in = StandIn(policy)
    with pytest.raises(InputError, match="use the engine transformers"):
        VllmEngine(policy, Sampling(second=True), library=stand_in)
    scratch = Policy(policy.model, policy.tokenizer, policy.style, policy.layout, "scratch")
    with pytest.raises(InputError, match="random weights"):
        VllmEngine(scratch, Sampling(), library=stand_in)
    if find_spec("vllm") is None:
        with pytest.raises(MissingExtraError, match=r"edgetwin\[vllm\]"):
            VllmEngine(policy, Sampling())
