"""After training: adapters merged, students exported with what they know, and put in place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edgetwin.distill.evaluate.distilled import questions_of
from edgetwin.distill.reasoner.records import Example, Question, write
from edgetwin.distill.stages.after import best_stage, replace_embedded
from edgetwin.distill.stages.policy import load_policy, save_policy
from edgetwin.distill.stages.recipe import (
    GrpoRecipe,
    LoraChoice,
    ModelChoice,
    SftRecipe,
    load_recipe,
    write_recipe,
)
from edgetwin.distill.stages.student import export_student, merge, trained_for
from edgetwin.reasoner.bundle import EMBEDDED, load_bundle, write_manifest
from edgetwin.twin.errors import InputError, ModelError

# transformers 5.23 warns of its own deprecated name while PEFT prepares a model
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
WIDTHS = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
}  # fmt: skip


def scores(sft: float, grpo: float, fewer: float = 0.0) -> dict[str, Any]:
    def group(exact: float, tokens: float) -> dict[str, Any]:
        return {"groups": {"all": {"exact": exact, "generated_tokens": tokens}}}

    return {"teacher": group(1.0, 30), "sft": group(sft, 30), "grpo": group(grpo, 30 - fewer)}


def student(work: Path, source: str = "scratch") -> Path:
    """A finished distillation whose GRPO student has the shipped weights."""
    model = work / "grpo" / "model"
    model.mkdir(parents=True)
    for file in FILES:
        shutil.copy(EMBEDDED / file, model / file)
    grpo: GrpoRecipe = load_recipe("smoke", "grpo")
    write_recipe(grpo, work / "grpo" / "recipe.yaml")
    sft = SftRecipe(stage="sft", model=ModelChoice(source=source))
    write_recipe(sft, work / "sft" / "recipe.yaml")
    item = Question(
        "which unicorn?", "Unicorn.", '[{"tool":"find","words":["mug"]}]', "[[1]]", "$1"
    )
    asked = Question("q", "r", "", "", "none", mode="detailed", turns=(("before", (1,)),))
    write(
        work / "chains" / "kept.jsonl", [Example(1, "1 red mug x1 y1 z1\n", (item,) * 3 + (asked,))]
    )
    return work


def test_an_adapter_is_merged_into_its_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny = ModelChoice(source="scratch", widths=WIDTHS)
    save_policy(load_policy(tiny, tmp_path), base)
    choice = ModelChoice(source=str(base), lora=LoraChoice(r=4, alpha=8))
    policy = load_policy(choice, tmp_path)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)  # a new adapter changes nothing
    policy.model.save_pretrained(tmp_path / "sft" / "adapter")
    merged = load_policy(ModelChoice(source=str(merge(tmp_path / "sft"))), tmp_path)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        wanted, got = policy.model(ids).logits, merged.model(ids).logits
        plain = load_policy(ModelChoice(source=str(base)), tmp_path).model(ids).logits
    assert (wanted - plain).abs().max() > 1e-3
    assert torch.allclose(got, wanted, atol=1e-5)
    stamp = (tmp_path / "sft" / "model" / "model.safetensors").stat().st_mtime_ns
    merge(tmp_path / "sft")
    assert (tmp_path / "sft" / "model" / "model.safetensors").stat().st_mtime_ns == stamp


def test_nothing_to_merge_and_an_adapter_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="run the stage to its end"):
        merge(tmp_path)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="name it"):
        merge(tmp_path)


def test_the_better_student_is_shipped_and_of_equal_ones_the_shorter() -> None:
    assert best_stage(scores(0.7, 0.8)) == "grpo"
    assert best_stage(scores(0.8, 0.7)) == "sft"
    assert best_stage(scores(0.8, 0.8, fewer=1)) == "grpo"
    assert best_stage(scores(0.8, 0.8, fewer=-1)) == "sft"
    with pytest.raises(InputError, match="stage sft or grpo"):
        best_stage({"teacher": scores(0.1, 0.1)["teacher"]})


def test_a_student_is_exported_with_what_it_knows(tmp_path: Path) -> None:
    work = student(tmp_path / "work")
    made = export_student(work, "grpo", gguf="f16", scores=scores(0.7, 0.8))
    bundle = load_bundle(made.folder)
    assert bundle.name == "edgetwin-distilled-reasoner"
    assert bundle.modes == ("concise", "detailed")
    assert (bundle.turns, bundle.layout, bundle.tools) == (1, "compact", frozenset({"find"}))
    assert bundle.known_words is not None
    assert "unicorn" in bundle.known_words
    assert bundle.plan_words == ("mug",)
    assert made.gguf is not None
    assert made.gguf.read_bytes()[:4] == b"GGUF"
    card = (made.folder / "card.md").read_text()
    assert "after the stage `grpo`" in card
    assert "- name: judged" in card  # the recipe as it was run
    new, old = (
        load_file(made.folder / "model.safetensors"),
        load_file(EMBEDDED / "model.safetensors"),
    )
    assert new.keys() == old.keys()
    for name, tensor in new.items():  # what an int4 graph computed with stays what it was
        assert torch.allclose(tensor.float(), old[name].float(), atol=2e-2), name
    with pytest.raises(InputError, match="GGUF kind among"):
        export_student(work, "grpo", gguf="q3", precision="fp32", out=tmp_path / "other")
    assert load_bundle(EMBEDDED).name == "edgetwin-embedded-reasoner"


def test_students_of_the_shipped_reasoner_keep_what_it_knows(tmp_path: Path) -> None:
    work, shipped = student(tmp_path / "work", "embedded"), load_bundle(EMBEDDED)
    found = trained_for(work, load_recipe(work / "grpo" / "recipe.yaml", "grpo"))
    assert tuple(found["modes"]) == shipped.modes
    assert set(found["words"]) == {*(shipped.known_words or ()), "unicorn"}
    assert set(found["tools"]) == set(shipped.tools or ())
    assert found["turns"] == shipped.turns


def test_only_a_better_student_replaces_the_shipped_one(tmp_path: Path) -> None:
    shipped, candidate = tmp_path / "shipped", tmp_path / "candidate"
    for folder in (shipped, candidate):
        shutil.copytree(EMBEDDED, folder)
    (candidate / "card.md").write_text("# the student\n")
    better = {shipped: 0.90, candidate: 0.91}
    kept = replace_embedded(candidate, [], shipped, margin=0.02, judge=better.__getitem__)
    assert not kept.replaced
    assert (shipped / "card.md").read_text() != "# the student\n"
    done = replace_embedded(candidate, [], shipped, judge=better.__getitem__)
    assert done.replaced
    assert (shipped / "card.md").read_text() == "# the student\n"
    load_bundle(shipped)


def test_a_student_that_does_less_is_refused(tmp_path: Path) -> None:
    candidate = tmp_path / "candidate"
    shutil.copytree(EMBEDDED, candidate)
    write_manifest(candidate, "less", layout="compact", tools=["find"], turns=0)
    with pytest.raises(InputError, match=r"without description, detailed, sentence, .*earlier"):
        replace_embedded(candidate, [], EMBEDDED, judge=lambda folder: 1.0)


def test_the_score_counts_frozen_and_other_questions(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shutil.copytree(EMBEDDED, shipped)
    asked = questions_of("val", "cell", 1, render=False)
    outcome = replace_embedded(EMBEDDED, asked, shipped, probe_worlds=1)
    assert not outcome.replaced  # as good as itself
    assert outcome.new == outcome.shipped
    assert 0.6 < outcome.new <= 1.0
