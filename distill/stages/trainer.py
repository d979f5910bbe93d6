"""TRL's GRPOTrainer, reading every prompt once for all of its completions.

A group of G completions shares its prompt, which is most of the tokens. :class:`SharedPromptTrainer`
runs the network over the different prompts of a batch and over the completions behind their
caches, instead of over G copies of each; gradients flow through the cache. Log-probabilities are
the same as TRL's own (tests/distill/test_stage_grpo.py).

Not covered: several processes, gradient checkpointing and models that are not decoders with an
ordinary cache; there TRL's own way is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import trl
from torch import Tensor

from ..rollouts.record import Rollout
from .guards import Guarded, Suspect

__all__ = ["SharedPromptTrainer", "shared_prompt_logps"]


class SharedPromptTrainer(Guarded, trl.GRPOTrainer):
    """See the module; used like its parent.

    ``named`` gives the rollouts of the current step, so that a refused loss names its sample.
    """

    judge: Any = None
    named: Callable[[], Sequence[Rollout]] = staticmethod(lambda: ())

    def suspects(self, inputs: Mapping[str, Any]) -> list[Suspect]:
        """The tasks and texts of the rows of a micro-batch."""
        known = {(r.prompt_ids, r.completion_ids): r for r in self.named()}
        found = []
        for prompt, pm, said, sm in zip(
            *(
                inputs[k]
                for k in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
            ),
            strict=True,
        ):
            one = known.get((tuple(prompt[pm.bool()].tolist()), tuple(said[sm.bool()].tolist())))
            found.append(Suspect("unknown", "") if one is None else Suspect(one.task.key, one.text))
        return found

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **others: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        plain = self.accelerator.num_processes > 1 or self.args.gradient_checkpointing
        if plain or others.pop("compute_aux_loss", False):
            found: tuple[Tensor, Tensor | None, Tensor | None]
            found = super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size=batch_size,
                compute_entropy=compute_entropy,
                **others,
            )
            return found
        size = batch_size or len(input_ids)
        with self.accelerator.autocast():
            parts = [
                shared_prompt_logps(
                    self.accelerator.unwrap_model(model),
                    input_ids[first : first + size],
                    attention_mask[first : first + size],
                    logits_to_keep,
                    self.temperature,
                )
                for first in range(0, len(input_ids), size)
            ]
        logps = torch.cat([part[0] for part in parts])
        entropies = torch.cat([part[1] for part in parts]) if compute_entropy else None
        return logps, entropies, None


def shared_prompt_logps(
    model: Any, input_ids: Tensor, attention_mask: Tensor, completion: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (B, C) of the last C tokens of each row.

    Args:
        model: a transformers decoder with a language model head, bare or with an adapter.
        input_ids: (B, P + C); prompts padded on the left, completions on the right.
        attention_mask: the same shape, 0 where padded.
        completion: C.
        temperature: divides the logits.

    Padded places hold meaningless numbers. Entropies carry no gradient.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    prompt = input_ids.shape[1] - completion
    ids, mask = input_ids[:, :prompt], attention_mask[:, :prompt]
    both = torch.where(mask.bool(), ids, torch.full_like(ids, -1))
    _, which = torch.unique(both, dim=0, return_inverse=True)
    firsts = _first_rows(which)
    ids, mask = ids[firsts], mask[firsts]
    out = base.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        use_cache=True,
    )
    cache = out.past_key_values
    cache.batch_select_indices(which)
    before = out.last_hidden_state[:, -1][which]
    said = input_ids[:, prompt:]
    positions = mask.sum(-1)[which][:, None] + torch.arange(completion - 1, device=ids.device)
    behind = base.model(
        input_ids=said[:, :-1],
        attention_mask=attention_mask[:, :-1],
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    )
    hidden = torch.cat([before[:, None], behind.last_hidden_state], 1)
    logits = base.lm_head(hidden).float() / temperature
    logps = logits.log_softmax(-1)
    with torch.no_grad():
        entropies = -(logps.exp() * logps).sum(-1)
    return logps.gather(-1, said[..., None])[..., 0], entropies


def _first_rows(which: Tensor) -> Tensor:
    """For each distinct value 0 … U-1 the first place that has it."""
    count = int(which.max()) + 1
    places = torch.arange(len(which), device=which.device)
    firsts = torch.full((count,), len(which), device=which.device, dtype=places.dtype)
    return firsts.scatter_reduce(0, which, places, "amin")
