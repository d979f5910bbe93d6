"""Rollouts of the embedded policy: the pause for tools, what is the model's own, seeds, endings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from edgetwin.distill.reasoner.produce import plain_validation
from edgetwin.distill.reasoner.score import decode
from edgetwin.distill.rollouts.engine import Engine, seed_of
from edgetwin.distill.rollouts.record import Rollout
from edgetwin.distill.rollouts.sampling import Prompt, sample
from edgetwin.distill.stages.policy import Policy, load_policy, prompt_ids
from edgetwin.distill.stages.recipe import ModelChoice, Sampling, WorldsChoice
from edgetwin.distill.tasks.task import Task, iou_of
from edgetwin.distill.tasks.worlds import Worlds, validation_tasks


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.set_num_threads(1)
    return load_policy(ModelChoice(source="embedded"), Path("."), trained=False)


@pytest.fixture(scope="module")
def asked() -> Sequence[Task]:
    return Worlds(WorldsChoice(first=40, count=3, per_world=4))[:12]


@pytest.fixture(scope="module")
def rolled(policy: Policy, asked: Sequence[Task]) -> list[Rollout]:
    return Engine(policy, Sampling(temperature=1.3)).roll(asked, 4, seed=3)


def test_results_are_inserted_and_nothing_else_is(policy: Policy, rolled: list[Rollout]) -> None:
    paused = 0
    for one in rolled:
        inserted = [i for i, own in zip(one.completion_ids, one.env_mask, strict=True) if not own]
        text = policy.decode(inserted)
        assert text == "" or (text.startswith("<results>") and text.endswith("</results>"))
        assert text in one.text
        assert one.tokens["own"] == sum(one.env_mask)
        assert one.tokens["results"] == len(inserted) - inserted.count(policy.eos)
        paused += bool(text)
    assert paused > len(rolled) / 2


def test_what_was_said_is_judged_by_masks(rolled: list[Rollout]) -> None:
    answered = [one for one in rolled if one.ending == "answered"]
    assert len(answered) > len(rolled) / 2
    for one in answered:
        assert one.ids is not None
        assert one.iou == iou_of(one.task, one.ids)
        assert one.transcript is not None
        assert one.rationale in one.text
    for one in rolled:
        if one.ending != "answered":
            assert one.ids is None
            assert one.iou == 0
            assert one.message


def test_a_completion_does_not_depend_on_its_batch(
    policy: Policy, asked: Sequence[Task], rolled: list[Rollout]
) -> None:
    small = Engine(policy, Sampling(temperature=1.3), rows=4)
    assert [r.completion_ids for r in small.roll(asked, 4, seed=3)] == [
        r.completion_ids for r in rolled
    ]
    assert seed_of(3, "a", 0) != seed_of(3, "a", 1) != seed_of(4, "a", 1)


def test_log_probabilities_are_those_of_the_model(policy: Policy, rolled: list[Rollout]) -> None:
    one = next(r for r in rolled if r.ending == "answered")
    ids = torch.tensor([one.prompt_ids + one.completion_ids])
    with torch.no_grad():
        logits = policy.model(input_ids=ids).logits[0] / 1.3
    logps = logits.log_softmax(-1)[len(one.prompt_ids) - 1 : -1]
    assert one.logprobs is not None
    for place, (token, own) in enumerate(zip(one.completion_ids, one.env_mask, strict=True)):
        wanted = float(logps[place, token]) if own else 0.0
        assert one.logprobs[place] == pytest.approx(wanted, abs=1e-4)


def test_greedy_answers_are_those_of_the_training_score(policy: Policy) -> None:
    held_out = plain_validation(3, 4)
    said = decode(policy.model, policy.tokenizer.backend_tokenizer, held_out, layout="compact")
    greedy = Engine(policy, Sampling()).roll(validation_tasks(3, 4), greedy=True)
    assert [set(r.ids or ()) for r in greedy] == [set(s.ids or []) for s in said]
    assert all(r.ids is not None for r in greedy)


def test_a_budget_of_tokens_cuts(policy: Policy, asked: Sequence[Task]) -> None:
    found = Engine(policy, Sampling(max_tokens=8)).roll(asked[:2], 2)
    assert {one.ending for one in found} == {"cut"}
    assert {one.tokens["own"] for one in found} == {8}


def test_random_weights_end_in_an_error_that_says_what(asked: Sequence[Task]) -> None:
    widths = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    scratch = load_policy(ModelChoice(source="scratch", widths=widths), Path("."), seed=1)
    found = Engine(scratch, Sampling(max_tokens=24)).roll(asked[:4], 2)
    assert all(one.ids is None and one.message and one.iou == 0 for one in found)


def test_descriptions_are_asked_again(policy: Policy) -> None:
    asked = Worlds(WorldsChoice(first=40, count=1, per_world=4, modes=["description"]))[:4]
    found = Engine(policy, Sampling(second=True)).roll(asked, greedy=True)
    seconds = [one.second for one in found if one.second is not None]
    assert len(seconds) == sum(bool(one.description) for one in found) > 0
    assert all(s.task.ids in [t.ids for t in asked] and not s.second for s in seconds)
    assert all(one.description in (one.second.task.question if one.second else "") for one in found)


def test_prompts_are_those_of_inference(policy: Policy, asked: Sequence[Task]) -> None:
    from edgetwin.reasoner.models.transformers import TransformersModel
    from edgetwin.reasoner.prompts import prefix, question
    from edgetwin.reasoner.rollout import Reasoner

    model = TransformersModel("embedded", device="cpu")
    one = asked[0]
    texts = [
        prefix(one.window, Reasoner(model).registry, model.style, layout=model.layout),
        question(one.question, one.mode),
    ]
    assert prompt_ids(policy, one) == [t for text in texts for t in model.encode(text)]


def test_top_p_leaves_out_the_unlikely(policy: Policy) -> None:
    ids = policy.encode("twin\nquestion: ")
    prompt = Prompt(tuple(ids[:1]), tuple(ids[1:]))
    end = policy.eos
    options = {"on_token": lambda row, ids: [], "eos": end, "pad": end, "max_tokens": 1}
    narrow = sample(
        policy.model, [prompt], 24, seeds=range(24), top_p=1e-6, temperature=5, **options
    )
    wide = sample(policy.model, [prompt], 24, seeds=range(24), temperature=5, **options)
    best = sample(policy.model, [prompt], 1, seeds=[0], temperature=0, **options)[0].ids
    assert {tuple(c.ids) for c in narrow} == {tuple(best)}
    assert len({tuple(c.ids) for c in wide}) > 5
    with pytest.raises(ValueError, match="expected 2 seeds"):
        sample(policy.model, [prompt], 2, seeds=[0], **options)
    assert sample(policy.model, [], 2, seeds=[], **options) == []


def test_references_are_rollouts_that_are_right(policy: Policy, asked: Sequence[Task]) -> None:
    from dataclasses import replace

    from edgetwin.distill.rollouts.reference import Reference
    from edgetwin.twin.errors import InputError

    found = Reference(policy).roll(asked, 2)
    assert [one.task.key for one in found[::2]] == [task.key for task in asked]
    assert all(one.iou == 1 and one.ids == one.task.ids for one in found)
    for one in found:
        assert one.task.reference is not None
        assert one.rationale == one.task.reference.reason
        assert one.tokens["own"] > one.tokens["rationale"] > 0
    with pytest.raises(InputError, match="expected a task with a reference chain"):
        Reference(policy).roll([replace(asked[0], reference=None)])
