"""docs/distillation.md: every command line parses with changes that fit, and recipes are valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from edgetwin.distill.ablation.table import rows_of
from edgetwin.distill.stages.commands import changes_of
from edgetwin.distill.stages.recipe import GrpoRecipe, load_recipe

from .test_training_page import parse

PAGE = (Path(__file__).parents[2] / "docs" / "distillation.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


LINES = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]


def test_the_page_shows_the_commands_of_distillation() -> None:
    shown = {tuple(shlex.split(line)[1:3]) for line in LINES}
    stages = ("reasoner", "teacher", "chains", "sft", "grpo", "estimate", "ablate", "curves")
    assert shown == {*(("distill", name) for name in stages), ("eval", "distilled")}


@pytest.mark.parametrize("line", LINES)
def test_every_line_parses_and_its_changes_fit_the_recipe(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == "edgetwin"
    given = parse(words[1:])
    if words[2] in ("teacher", "chains", "sft", "grpo"):
        load_recipe(given["recipe"], words[2], changes_of(given["changes"]))  # type: ignore[arg-type]
    if given.get("only"):
        rows_of(given["only"].split(","))


def test_the_recipe_of_the_page_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "grpo.yaml").write_text(text)
    recipe = load_recipe(tmp_path, "grpo")
    assert isinstance(recipe, GrpoRecipe)
    assert [one.name for one in recipe.rewards][-1] == "guards"


def test_names_on_the_page_are_there() -> None:
    for name in re.findall(r"`(distill/[\w/.-]+)`", PAGE):
        assert (Path(__file__).parents[2] / name).exists(), name
