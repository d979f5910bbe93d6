"""The card of a trained policy, written at the end of a stage.

What was run (recipe, seeds, versions, machine, minutes), on what (data by its hash, the starting
weights by theirs), what judged it, what it scores on validation, and what none of that covers.

Not covered: scores on test, which are measured once and stand in the README.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...twin.files import sha256_of
from ..perception.loop import machine
from .policy import Policy
from .recipe import GrpoRecipe, Recipe, SftRecipe

__all__ = ["versions", "write_card"]

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "edgetwin")
_OURS = ("scratch", "embedded", "stage:")
_HEADS = {
    "teacher": "Teacher of a distillation, by GRPO (FastReasonSeg, section 3.2)",
    "grpo": "Student of a distillation after GRPO (FastReasonSeg, section 3.3)",
    "sft": "Student of a distillation after supervised training on a teacher's chains",
    "chains": "Chains of a teacher",
}


def write_card(
    folder: Path,
    recipe: Recipe,
    policy: Policy,
    scores: Mapping[str, float],
    *,
    data: str = "",
    about: Mapping[str, Any] | None = None,
    judge: Any = None,
) -> None:
    """Write ``card.md`` beside ``model/``.

    Args:
        folder: of the stage.
        recipe: as run.
        policy: that was trained.
        scores: rows of its table of figures.
        data: hash of what was trained on.
        about: more about the data, such as counts.
        judge: whose rubric's version and counts are told, if there was one.
    """
    text = f"""# {_HEADS[recipe.stage]}

{_model(folder, policy)}

| validation | |
|---|---|
{_rows(scores)}

Simulated validation worlds (`distill/tasks/worlds.py`, `validation_tasks`), greedy answers
without a grammar: a lower bound of what the device gives.

## Data

{_data(recipe, data, about or {})}
{_judge(judge)}
## Run

{_run(folder, recipe, policy)}

## Recipe

```yaml
{_recipe(recipe)}
```

## Licence

{_licence(recipe, policy)}

## Not covered

English questions about objects of a twin only; pictures are never seen, so what perception missed
cannot be found. Trained on simulated scenes unless the recipe names cached data; numbers and times
are not rewarded. A model of these weights knows nothing about people, and its rationale is not
proof of how it came to an answer. Scores here are of one seed.
"""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / "card.part"
    beside.write_text(text, encoding="utf-8")
    beside.replace(folder / "card.md")


def versions() -> dict[str, str]:
    """What is installed of the packages that shape a run."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _model(folder: Path, policy: Policy) -> str:
    sizes = [(p.numel(), p.requires_grad) for p in policy.model.parameters()]
    total, trained = sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns)
    share = "all trained" if total == trained else f"{trained / 1e6:.2f}M of them trained (LoRA)"
    start = f"`{policy.source}`" + (f" (sha256 {policy.sha256})" if policy.sha256 else "")
    text = f"{total / 1e6:.2f}M parameters, {share}, begun from {start}."
    weights = folder / "model" / "model.safetensors"
    if weights.is_file():
        text += f" `model/model.safetensors` has sha256 {sha256_of(weights)}."
    return text


def _rows(values: Mapping[str, Any]) -> str:
    return "\n".join(
        f"| {name} | {value:.4g} |" if isinstance(value, float) else f"| {name} | {value} |"
        for name, value in values.items()
    )


def _data(recipe: Recipe, digest: str, about: Mapping[str, Any]) -> str:
    lines = [f"sha256 {digest}." if digest else "No hash was taken."]
    if isinstance(recipe, SftRecipe):
        lines.append(f"Chains from `{recipe.chains}`.")
    lines += [f"{name}: {value}." for name, value in about.items()]
    return "\n".join(lines)


def _judge(judge: Any) -> str:
    if judge is None:
        return ""
    from ..judges.base import card_of

    return f"\n## Judge\n\n| | |\n|---|---|\n{_rows(card_of(judge))}\n"


def _run(folder: Path, recipe: Recipe, policy: Policy) -> str:
    last = _last_line(folder / "curve.jsonl")
    minutes = float(last.get("seconds", 0.0)) / 60
    installed = ", ".join(f"{name} {number}" for name, number in versions().items())
    return (
        f"Seed {recipe.seed}; {int(last.get('step', 0))} steps in {minutes:.1f} minutes (scoring "
        f"not counted) on {machine(str(policy.model.device))}; {installed}."
    )


def _last_line(path: Path) -> dict[str, Any]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found: dict[str, Any] = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return {}
    return found


def _recipe(recipe: Recipe) -> str:
    import yaml

    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    return text.strip()


def _licence(recipe: Recipe, policy: Policy) -> str:
    ours = recipe.model.source.startswith(_OURS)
    judged = isinstance(recipe, GrpoRecipe) and recipe.judge and recipe.judge.kind == "endpoint"
    text = (
        "Apache-2.0, as far as the weights that it began from are (an earlier stage's card tells)."
        if ours
        else f"That of the checkpoint `{policy.source}`; what was added here is Apache-2.0."
    )
    if judged:
        text += " Its rewards came from an endpoint, whose terms of use may bind the weights too."
    return text
