"""TRL's SFTTrainer on chains as ready tokens, guarded and with samples that have names.

Not covered: packing (TRL cannot put several questions on one twin) and cutting: an example that is
longer than the model's context is refused, never shortened.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...reasoner.prompts import system
from ...twin.errors import InputError, MissingExtraError, ModelError
from ..reasoner.encoding import tokens_of
from ..reasoner.records import Example
from ..sim.questions.restricted import TRAINED
from . import tracking
from .guards import Guarded, Suspect
from .policy import Policy, load_policy
from .recipe import ModelChoice, SftRecipe
from .watch import plain_arguments

__all__ = ["arguments", "gathered", "is_divided", "rows_of", "trainer_of"]

_IGNORED = -100  # a label without loss, in transformers


def rows_of(
    policy: Policy, examples: Sequence[Example]
) -> tuple[list[dict[str, Any]], list[Suspect]]:
    """(``input_ids``, ``labels``, ``row``) of every question, and the rows' names.

    Labels are -100 on the prompt and on inserted results.

    Raises:
        InputError: if a chain does not fit into the model's context.
    """
    tokenizer = policy.tokenizer.backend_tokenizer
    head = system(TRAINED, policy.style, policy.layout)
    longest = int(policy.model.config.max_position_embeddings)
    rows: list[dict[str, Any]] = []
    names: list[Suspect] = []
    for example in examples:
        prefix = policy.encode(head + example.twin)
        for number, item in enumerate(example.items):
            ids, learnt = tokens_of(tokenizer, item)
            labels = [i if own else _IGNORED for i, own in zip(ids, learnt, strict=True)]
            names.append(Suspect(f"twin {example.seed}/{number}", f"{item.question} {item.reason}"))
            if len(prefix) + len(ids) > longest:
                raise InputError(
                    f"expected at most {longest} tokens, got {len(prefix) + len(ids)} for "
                    f"{names[-1].key}; leave it out or choose a model with a longer context"
                )
            rows.append(
                {
                    "input_ids": [*prefix, *ids],
                    "labels": [_IGNORED] * len(prefix) + labels,
                    "row": len(rows),
                }
            )
    return rows, names


def arguments(recipe: SftRecipe, folder: Path, device: str, rows: int) -> Any:
    """The trainer's arguments for so many rows.

    Raises:
        InputError: if the batch cannot be made of micro-batches over all processes.
    """
    import trl

    at_once = recipe.micro_batch * int(os.environ.get("WORLD_SIZE", "1"))
    if recipe.batch % at_once:
        raise InputError(
            f"expected batch to be a multiple of micro_batch x processes ({at_once}), got "
            f"{recipe.batch}"
        )
    choice = recipe.optimiser
    steps = math.ceil(math.ceil(rows / recipe.batch) * recipe.epochs)
    return trl.SFTConfig(
        output_dir=str(folder / "last"),
        seed=recipe.seed,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=recipe.batch // at_once,
        learning_rate=choice.learning_rate,
        weight_decay=choice.weight_decay,
        adam_beta1=choice.betas[0],
        adam_beta2=choice.betas[1],
        max_grad_norm=choice.max_grad_norm,
        warmup_steps=math.ceil(choice.warmup * steps),
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(
            choice.schedule, choice.schedule
        ),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        bf16=recipe.model.dtype == "bf16",
        fp16=device != "cpu" and recipe.model.dtype == "fp16",
        use_cpu=device == "cpu",
        save_steps=recipe.save_every,
        save_total_limit=2,
        logging_steps=recipe.log_every,
        **plain_arguments(recipe.model.gradient_checkpointing),
        **tracking.report_to(recipe.track, folder, "sft"),
    )


def trainer_of(recipe: SftRecipe, policy: Policy, examples: Sequence[Example], folder: Path) -> Any:
    """The trainer of a recipe on these examples.

    Raises:
        MissingExtraError: without TRL, accelerate or datasets.
    """
    try:
        import accelerate  # noqa: F401  # TRL's own message does not name the extra
        import trl
        from datasets import Dataset
    except ImportError as error:
        raise MissingExtraError(str(error.name), "train") from error
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    rows, names = rows_of(policy, examples)

    class Collator(DataCollatorForLanguageModeling):
        """Pads, and says which rows there are."""

        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            import torch

            batch: dict[str, Any] = super().torch_call(examples)
            return batch | {"row": torch.tensor([one["row"] for one in examples])}

    class Unnamed(trl.SFTTrainer):
        """The model itself is not told which rows there are."""

        def compute_loss(self, model: Any, inputs: dict[str, Any], *a: Any, **k: Any) -> Any:
            inputs.pop("row", None)
            parent: Any = super()
            return parent.compute_loss(model, inputs, *a, **k)

    class Trainer(Guarded, Unnamed):
        """Guarded, with rows that have names."""

        def suspects(self, inputs: Mapping[str, Any]) -> list[Suspect]:
            return [names[int(row)] for row in inputs["row"]]

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            """The stage writes its own."""

    return Trainer(
        model=policy.model,
        args=arguments(recipe, folder, policy.model.device.type, len(rows)),
        data_collator=Collator(pad_token_id=int(policy.tokenizer.pad_token_id)),
        train_dataset=Dataset.from_list(rows),
        processing_class=policy.tokenizer,
    )


def is_divided(trainer: Any) -> bool:
    """Whether each process holds only a part of the weights (FSDP, ZeRO-3)."""
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    return bool(trainer.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3))


def gathered(trainer: Any, policy: Policy, choice: ModelChoice, work: Path) -> Policy:
    """The trained policy with whole weights on the CPU; every process takes part.

    Raises:
        ModelError: if what was gathered is not the policy's.
    """
    wrapped = trainer.deepspeed if trainer.is_deepspeed_enabled else trainer.model
    state = trainer.accelerator.get_state_dict(wrapped)
    whole = load_policy(choice, work, "cpu", trainer.args.seed)
    if trainer.accelerator.is_main_process:
        found = whole.model.load_state_dict(state, strict=False)
        wrong = [k for k in found.missing_keys if "lm_head" not in k] + found.unexpected_keys
        if wrong:
            raise ModelError(
                f"expected the trained weights of {policy.source}, got other names, first "
                f"{wrong[0]}; the checkpoint in {trainer.args.output_dir} holds them"
            )
    return whole
