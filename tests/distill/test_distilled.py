"""Teacher, SFT and student on the same frozen questions: both ways of asking, means and spreads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from edgetwin.distill.evaluate.distilled import (
    Asked,
    candidates,
    distilled_tables,
    evaluate_distilled,
    figures_of,
    measure_bundle,
    measure_checkpoint,
    questions_of,
)
from edgetwin.distill.evaluate.reasoner import Judged
from edgetwin.distill.twinbench import load
from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.twin.errors import InputError


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    return questions_of("val", "cell", 2, render=False)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_questions_are_the_frozen_ones(asked: list[Asked]) -> None:
    items = load("val", "cell")[:16]
    assert [one.task.key for one in asked] == [item.id for item in items]
    assert all(set(a.task.ids) == set(i.question.ids) for a, i in zip(asked, items, strict=True))
    assert asked[0].task.window is asked[1].task.window
    with pytest.raises(InputError, match="at least one world"):
        questions_of("val", "cell", 0, render=False)


def test_checkpoint_and_bundle_of_the_same_weights_say_the_same(asked: list[Asked]) -> None:
    asked = asked[:8]
    free, device = measure_checkpoint(EMBEDDED, asked), measure_bundle(EMBEDDED, asked)
    for group in ("level 1", "unseen wordings", "all"):
        one, other = free["groups"][group], device["groups"][group]
        assert one["count"] == other["count"]
        assert one["exact"] == other["exact"]
        assert one["rationale_tokens"] == pytest.approx(other["rationale_tokens"])
        assert one["generated_tokens"] == pytest.approx(other["generated_tokens"], abs=1.0)
    assert free["groups"]["all"]["exact"] > 0.7
    assert free["groups"]["all"]["iou"] == pytest.approx(device["groups"]["all"]["iou"])
    assert free["broken"] == device["broken"] == 0


def test_figures_count_what_gave_no_answer(asked: list[Asked]) -> None:
    def said(one: Asked, ids: list[int], status: str) -> Judged:
        tokens = {"rationale": 4, "plan": 6, "answer": 0}
        answer = {"ids": ids, "status": status, "tokens": tokens, "ms": {"total": 0.0}}
        return Judged(one.question, answer)

    right = said(asked[0], list(asked[0].task.ids), "ok")
    figures = figures_of([right, said(asked[1], [], "error")], [1.0, 0.25])
    assert figures["groups"]["all"]["exact"] == 0.5
    assert figures["groups"]["all"]["iou"] == pytest.approx(0.625)
    assert figures["groups"]["all"]["generated_tokens"] == 10
    assert figures["broken"] == 0.5


def test_tables_have_means_and_spreads_over_seeds() -> None:
    def run(exact: float, tokens: float) -> dict[str, Any]:
        group = {"exact": exact, "iou": exact, "rationale_tokens": tokens, "generated_tokens": 30.0}
        return {"groups": {"all": group, "level 1": group}, "broken": 0.0}

    levels, wordings = distilled_tables(
        {"sft": [run(0.6, 10), run(0.7, 12), run(0.8, 14)], "teacher": [run(0.9, 11)]}, "here"
    )
    sft = dict(zip(levels.columns, levels.rows[0], strict=True))
    assert (sft["model"], sft["runs"]) == ("sft", 3)
    assert sft["exact ids"] == pytest.approx(0.7)
    assert sft["±"] == pytest.approx(0.1)
    assert sft["level 1"] == pytest.approx(0.7)
    assert sft["level 2"] is None
    assert levels.rows[1][3] is None  # one run has no spread
    assert list(wordings.rows[0][4:6]) == pytest.approx([12, 2])


def test_folders_are_told_apart(tmp_path: Path) -> None:
    for folder in ("run/sft/model", "run/grpo/model", "alone/model", "plain"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")
    (tmp_path / "run" / "export").mkdir()
    (tmp_path / "run" / "export" / "manifest.json").write_text("{}")
    found = candidates([tmp_path / "run", tmp_path / "alone", tmp_path / "plain", EMBEDDED])
    assert [(one.name, one.bundle) for one in found] == [
        ("sft", False), ("grpo", False), ("exported", True),
        ("alone", False), ("plain", False), ("embedded", True),
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected a distillation's work folder"):
        candidates([tmp_path / "empty"])


def test_seeds_share_a_row_and_the_view_is_the_recipe_s(tmp_path: Path) -> None:
    for seed in ("0", "1"):
        model = tmp_path / seed / "sft" / "model"
        model.mkdir(parents=True)
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            shutil.copy(EMBEDDED / file, model / file)
    told = "model: {source: scratch, style: short, layout: compact, view: caption, widths: {}}\n"
    (tmp_path / "1" / "sft" / "recipe.yaml").write_text(told)
    folders = [tmp_path / "0", tmp_path / "1"]
    tables, figures = evaluate_distilled(folders, limit=1, render=False)
    runs = figures["sft"]
    twin, caption = (runs[str(folder)]["groups"]["all"]["exact"] for folder in folders)
    assert caption < twin  # it was shown no coordinates
    assert tables[0].rows[0][:2] == ("sft", 2)
    assert tables[0].rows[0][2] == pytest.approx((twin + caption) / 2)
    json.dumps(figures)
    (tmp_path / "1" / "sft" / "recipe.yaml").write_text("model: 3\n")
    with pytest.raises(InputError, match="run the stage again"):
        evaluate_distilled(folders, limit=1, render=False)
