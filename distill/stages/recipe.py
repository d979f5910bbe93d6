"""What a stage does, read from one YAML file and checked before anything is loaded.

``teacher`` and ``grpo`` are GRPO, ``chains`` rolls out a teacher and keeps its good chains,
``sft`` learns them. A recipe is a file, or the name of a set that the package has
(``embedded``, ``smoke``, ``qwen3-0.6b``, ``qwen3-1.7b``, ``qwen3-8b``): then the stage's file in
``distill/recipes/<name>/``. A model's source ``stage:teacher`` is what that stage wrote into the
same work folder.

Defaults are the settings of FastReasonSeg (section 4) where it states them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...reasoner.prompts import Layout, Mode, Style
from ...twin.errors import InputError, MissingExtraError

__all__ = [
    "RECIPES",
    "STAGES",
    "ChainsRecipe",
    "DataChoice",
    "GrpoRecipe",
    "JudgeChoice",
    "LoraChoice",
    "ModelChoice",
    "OptimiserChoice",
    "Recipe",
    "RewardChoice",
    "Sampling",
    "SftRecipe",
    "Stage",
    "WorldsChoice",
    "load_recipe",
    "write_recipe",
]

Stage = Literal["teacher", "chains", "sft", "grpo"]
STAGES: tuple[Stage, ...] = get_args(Stage)
RECIPES = Path(__file__).parents[1] / "recipes"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraChoice(_Part):
    """A low-rank adapter (PEFT)."""

    r: int = Field(default=64, ge=1)
    alpha: int = Field(default=128, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = "all-linear"


class ModelChoice(_Part):
    """A causal language model: ``embedded``, ``scratch`` (random weights of ``widths`` with the
    embedded model's tokenizer), a folder, ``owner/name@commit`` or ``stage:<name>``.

    ``view`` is what it is shown: the twin's text, or a caption without coordinates (ablation).
    """

    source: str
    widths: dict[str, int] | None = None
    style: Style = "short"
    layout: Layout = "compact"
    view: Literal["twin", "caption"] = "twin"
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    lora: LoraChoice | None = None
    gradient_checkpointing: bool = False


class WorldsChoice(_Part):
    """Questions on simulated training worlds, drawn as they are needed (:mod:`..tasks.worlds`).

    ``first`` and ``count`` are world seeds; those of validation and test lie above a million.
    ``restricted`` is the share of worlds of which only some nouns were looked for, ``follow_up``
    the share of questions that go on from an earlier one.
    """

    first: int = Field(default=0, ge=0)
    count: int = Field(default=1000, ge=1)
    per_world: int = Field(default=8, ge=1, le=64)
    levels: list[int] = [1, 2, 3, 4]
    modes: list[Mode] = ["concise"]
    restricted: float = Field(default=0.0, ge=0, le=1)
    follow_up: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _training_seeds(self) -> WorldsChoice:
        if self.first + self.count > 500_000:
            raise ValueError("expected world seeds below 500000; those above are kept for tests")
        return self


class DataChoice(_Part):
    """Where tasks come from: ``worlds`` and folders of cached tasks (``cached``).

    ``pass_rate`` keeps the questions that the starting policy answers rightly in at least and at
    most these shares of ``pass_samples`` samples; None keeps all.
    """

    worlds: WorldsChoice | None = None
    cached: list[str] = []
    pass_rate: tuple[float, float] | None = None
    pass_samples: int = Field(default=4, ge=2, le=64)

    @model_validator(mode="after")
    def _something(self) -> DataChoice:
        if self.worlds is None and not self.cached:
            raise ValueError("expected worlds, cached or both, got neither")
        return self


class Sampling(_Part):
    """How completions are drawn, ``rows`` of them at once; ``explain`` lets the model go on after
    its answer (WISE), ``second`` also asks the description alone (DR2Seg)."""

    group: int = Field(default=8, ge=1, le=64)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=160, ge=8)
    rows: int = Field(default=128, ge=1)
    explain: bool = False
    second: bool = False
    engine: Literal["transformers", "vllm"] = "transformers"


class RewardChoice(_Part):
    """A reward by name (see :mod:`..rewards.choose`), its weight and its options."""

    name: str
    weight: float = 1.0
    options: dict[str, Any] = {}


class JudgeChoice(_Part):
    """Who scores reasoning: ``local`` (a model's likelihood) or ``endpoint`` (a rubric)."""

    kind: Literal["local", "endpoint"]
    model: ModelChoice | None = None
    url: str | None = None
    options: dict[str, Any] = {}


class OptimiserChoice(_Part):
    """AdamW and its schedule; ``warmup`` is a share of all steps."""

    learning_rate: float = Field(default=4e-5, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = Field(default=0.1, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    max_grad_norm: float = Field(default=1.0, gt=0)


class _Training(_Part):
    model: ModelChoice
    optimiser: OptimiserChoice = OptimiserChoice()
    minutes: float | None = Field(default=None, gt=0)
    save_every: int = Field(default=50, ge=1)
    score_every: int = Field(default=50, ge=1)
    score_worlds: int = Field(default=12, ge=1)
    log_every: int = Field(default=1, ge=1)
    track: list[Literal["tensorboard", "trackio", "wandb"]] = []
    seed: int = 0


class GrpoRecipe(_Training):
    """GRPO: ``prompts`` questions a step with ``sampling.group`` completions each, of which
    ``micro_batch`` go through the network at once."""

    stage: Literal["teacher", "grpo"]
    data: DataChoice
    sampling: Sampling = Sampling()
    rewards: list[RewardChoice]
    judge: JudgeChoice | None = None
    steps: int = Field(default=200, ge=1)
    prompts: int = Field(default=8, ge=1)
    micro_batch: int = Field(default=64, ge=1)
    beta: float = Field(default=0.0, ge=0)
    epsilon: float = Field(default=0.2, gt=0)
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"

    @model_validator(mode="after")
    def _fits(self) -> GrpoRecipe:
        if not self.rewards:
            raise ValueError("expected at least one reward")
        if (self.prompts * self.sampling.group) % self.micro_batch:
            raise ValueError(
                f"expected prompts x group ({self.prompts * self.sampling.group}) to be a multiple "
                f"of micro_batch, got {self.micro_batch}"
            )
        if self.sampling.group < 2:
            raise ValueError("expected a group of at least 2 completions, got 1")
        return self


class ChainsRecipe(_Part):
    """Roll out ``model`` and keep chains whose mask IoU is above ``keep_iou``."""

    stage: Literal["chains"]
    model: ModelChoice
    data: DataChoice
    sampling: Sampling = Sampling(group=1, temperature=0.7)
    keep_iou: float = Field(default=0.7, ge=0, lt=1)
    engine: Literal["local", "ray"] = "local"
    workers: int = Field(default=1, ge=1)
    batch: int = Field(default=64, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    seed: int = 0


class SftRecipe(_Training):
    """Learn chains: ``packed`` (many questions on one twin; from scratch) or ``trl``."""

    stage: Literal["sft"]
    optimiser: OptimiserChoice = OptimiserChoice(learning_rate=5e-5, weight_decay=0.01)
    chains: str = "stage:chains"
    method: Literal["packed", "trl"] = "trl"
    epochs: float = Field(default=3.0, gt=0)
    batch: int = Field(default=512, ge=1)
    micro_batch: int = Field(default=8, ge=1)
    options: dict[str, Any] = {}


Recipe = GrpoRecipe | ChainsRecipe | SftRecipe
_KINDS: dict[Stage, type[GrpoRecipe] | type[ChainsRecipe] | type[SftRecipe]] = {
    "teacher": GrpoRecipe,
    "chains": ChainsRecipe,
    "sft": SftRecipe,
    "grpo": GrpoRecipe,
}


def load_recipe(
    name_or_path: str | Path, stage: Stage, changes: dict[str, Any] | None = None
) -> Any:
    """The recipe of a stage, from a file or a set of the package.

    Args:
        name_or_path: a YAML file, a folder that holds ``<stage>.yaml``, or a set's name.
        stage: which stage; a file that is another stage's is refused.
        changes: values that replace the file's, such as ``{"steps": 3}``; nested by dots
            (``{"optimiser.learning_rate": 1e-4}``).

    Raises:
        InputError: if there is no such file, or it is not a recipe of the stage.
    """
    yaml = _yaml()
    path = _find(name_or_path, stage)
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"expected a YAML recipe in {path}, got: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f"{path}: expected a mapping, got {type(record).__name__}")
    for key, value in (changes or {}).items():
        _put(record, key, value)
    if record.get("stage") != stage:
        raise InputError(
            f"{path}: expected a recipe with stage: {stage}, got {record.get('stage')!r}; "
            f"run 'edgetwin distill {record.get('stage')}' with it"
        )
    try:
        return _KINDS[stage].model_validate(record)
    except ValidationError as error:
        raise InputError(f"{path}: {_first(error)}") from error


def write_recipe(recipe: Recipe, path: Path) -> None:
    """The recipe as YAML, with every default written out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_yaml().safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("pyyaml", "train") from error
    return yaml


def _find(name_or_path: str | Path, stage: Stage) -> Path:
    given = Path(name_or_path)
    for path in (given, given / f"{stage}.yaml", RECIPES / str(name_or_path) / f"{stage}.yaml"):
        if path.is_file():
            return path
    known = sorted(p.name for p in RECIPES.iterdir() if (p / f"{stage}.yaml").is_file())
    raise InputError(
        f"expected a YAML file, a folder with {stage}.yaml or one of {', '.join(known)}, "
        f"got {str(name_or_path)!r}"
    )


def _put(record: dict[str, Any], key: str, value: Any) -> None:
    *folders, last = key.split(".")
    for folder in folders:
        nested = record.get(folder)
        record[folder] = dict(nested) if isinstance(nested, dict) else {}
        record = record[folder]
    record[last] = value


def _first(error: ValidationError) -> str:
    """The first thing wrong, with its place."""
    one = error.errors()[0]
    place = ".".join(str(part) for part in one["loc"]) or "the recipe"
    return f"{place}: {one['msg']}, got {str(one['input'])[:80]!r}"
