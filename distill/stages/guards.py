"""A loss or gradient that is not finite stops the training and names the sample.

:class:`Guarded` goes before a trainer class in the bases (``class Sft(Guarded, SFTTrainer)``). It
looks at every micro-batch's loss before the backward pass and at the gradients before the
optimiser's step, so the weights and the last checkpoint never see a value that is not finite.
Only then is every row of the batch computed alone, to find the one.

Not covered: gradients under fp16, whose scaler skips overflowing steps by design, and under
DeepSpeed, which keeps them to itself (losses are looked at there too). On several processes the
rows of the micro-batch are named together, since computing them alone would need all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...twin.errors import TrainingError
from .watch import last_checkpoint

__all__ = ["Guarded", "Suspect", "attach", "finite_gradients", "stopped"]

_TEXT = 300  # characters of a sample in the message: its question and the start of its chain
_NAMED = 4  # samples named where the one could not be told


class Suspect(NamedTuple):
    """A sample as a person can find it again: its task's key and its text."""

    key: str
    text: str


class _Call(NamedTuple):
    """A micro-batch as the loss was asked for it."""

    inputs: dict[str, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Guarded:
    """Comes first among the bases of a trainer class: losses and gradients are looked at.

    ``told``, if it is set, gives the keys and texts of the samples at hand, by which rows of a
    batch are named; without it they are named by their tokens alone. A subclass may replace
    :meth:`suspects`.
    """

    told: Callable[[], Sequence[Mapping[str, str]]] | None = None

    args: Any
    state: Any
    accelerator: Any
    processing_class: Any
    _seen: list[_Call]

    def suspects(self, inputs: Mapping[str, Any]) -> list[Suspect]:
        """Name the rows of a micro-batch; here by their tokens."""
        rows = inputs.get("input_ids")
        if rows is None:
            rows = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        pad, known = self.processing_class.pad_token_id, list(self.told() if self.told else ())
        found = []
        for number, row in enumerate(rows.tolist()):
            text = str(self.processing_class.decode([token for token in row if token != pad]))
            named = (k["key"] for k in known if k["text"] in text and k.get("question", "") in text)
            found.append(Suspect(next(named, f"row {number}"), text[-_TEXT:]))
        return found

    def _send_telemetry(self) -> None:
        """Nothing about a run leaves the machine."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The trainer's loss, refused if it is not finite."""
        given = dict(inputs)
        found = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]
        if model.training:
            self._seen.append(_Call(given, args, kwargs))
            loss = found[0] if isinstance(found, tuple) else found
            if not bool(torch.isfinite(loss.detach()).all()):
                self._refuse("loss", float(loss.detach().float().mean()), model, [self._seen[-1]])
        return found

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """A micro-batch forward and backward; after the last one the gradients are looked at."""
        if not hasattr(self, "_seen"):
            self._seen = []
        loss = super().training_step(model, inputs, *args, **kwargs)  # type: ignore[misc]
        if self.accelerator.sync_gradients:
            if self.accelerator.scaler is None and not finite_gradients(model):
                self._refuse("gradient", float("nan"), model, self._seen)
            self._seen.clear()
        return loss

    def _refuse(self, what: str, value: float, model: Any, seen: Sequence[_Call]) -> None:
        folder = Path(self.args.output_dir)
        step = self.state.global_step + 1
        raise stopped(what, value, step, self._guilty(what, model, seen), last_checkpoint(folder))

    def _guilty(self, what: str, model: Any, seen: Sequence[_Call]) -> list[Suspect]:
        """The rows that give such a value alone; all of them if none does, or none can be asked."""
        named: list[Suspect] = []
        for call in seen:
            suspects = self.suspects(call.inputs)
            named += suspects
            if self.accelerator.num_processes > 1:
                continue
            for number, suspect in enumerate(suspects):
                row = _row(call.inputs, number, len(suspects))
                if not self._is_sound(what, model, row, call):
                    return [suspect]
        return named

    def _is_sound(self, what: str, model: Any, row: dict[str, Any], call: _Call) -> bool:
        model.zero_grad()
        loss = super().compute_loss(model, row, *call.args, **call.kwargs)  # type: ignore[misc]
        loss = loss[0] if isinstance(loss, tuple) else loss
        if what == "loss" or not loss.requires_grad:
            return bool(torch.isfinite(loss.detach()).all())
        loss.backward()
        return finite_gradients(model)


def attach(trainer: Any, told: Callable[[], Sequence[Mapping[str, str]]] | None = None) -> None:
    """Guard a trainer that is there already; ``told`` as in :class:`Guarded`."""
    kind = type(trainer)
    if not issubclass(kind, Guarded):
        trainer.__class__ = type(f"Guarded{kind.__name__}", (Guarded, kind), {})
    trainer.told = told


def finite_gradients(model: Any) -> bool:
    """Whether every gradient of a model is finite; one look at the device."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    if not grads:
        return True
    norms: Sequence[Tensor] = torch._foreach_norm(grads)
    return bool(torch.isfinite(torch.stack([n.float().to(grads[0].device) for n in norms])).all())


def stopped(
    what: str, value: float, step: int, suspects: Sequence[Suspect], checkpoint: Path | None
) -> TrainingError:
    """The error that ends a training: which sample, what to do, where to go on from."""
    first = suspects[0] if suspects else Suspect("unknown", "")
    others = (
        f" (or one of {', '.join(s.key for s in suspects[1:_NAMED])} …)" if suspects[1:] else ""
    )
    kept = (
        f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint was kept yet"
    )
    return TrainingError(
        f"expected a finite {what}, got {value} at step {step} on the sample {first.key}{others}: "
        f"{first.text[-_TEXT:]!r}; {kept}; leave this sample out or lower the learning rate, then "
        "start the stage again"
    )


def _row(inputs: Mapping[str, Any], number: int, count: int) -> dict[str, Any]:
    """One row of a batch; what has no rows stays as it is."""
    found = {}
    for name, value in inputs.items():
        is_rows = isinstance(value, Tensor) and value.ndim > 0 and len(value) == count
        is_list = isinstance(value, list) and len(value) == count
        found[name] = value[number : number + 1] if is_rows or is_list else value
    return found
