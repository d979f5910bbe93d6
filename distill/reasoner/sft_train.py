"""Supervised fine-tuning of the embedded reasoner, from scratch or going on, in one short loop.

Muon on the layers' matrices, AdamW on embeddings and norms; activations in bfloat16 over
float32 parameters; one pack (a twin with its questions) per step; the rate warms up, stays
flat and falls linearly to zero at the end of the budget. Only what the model itself
writes is learnt: prompt and results are masked out. A run resumes from ``work_dir``. The stage
``sft`` of a distillation (:mod:`..stages.sft`) runs the same loop on the chains of a teacher.

::

    python -m edgetwin.distill.reasoner.sft_train runs/embedded/reasoner --minutes 50
    python -m edgetwin.distill.reasoner.sft_train runs/embedded/more --start reasoner/weights/embedded

A run that goes on from given weights (``start``) keeps their tokenizer's ids, appends the tokens
that it lacks, and begins with a lower rate.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from ...reasoner.prompts import system
from ...reasoner.protocol import EOS
from ...twin.errors import TrainingError
from ..sim.questions.restricted import TRAINED
from . import network
from .encoding import breaking, encode
from .packing import collate, compiled_kernels, packed_loss
from .records import Cursor, Example, follow, pieces, prompt
from .tokenizer import token_id

__all__ = ["Settings", "Trainer", "breaking", "encode", "fit", "train"]

_VAL_WORLDS = 24  # about 420 questions, a minute of a busy core


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is made with; ``flat`` is the share of the budget before the rate falls.

    ``dropout_merges`` is the chance to leave out a merge in every second question; ``start`` the
    folder of the weights that the run goes on from.
    """

    minutes: float = 50.0
    vocabulary: int = 2048
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    momentum: float = 0.95
    weight_decay: float = 0.01
    warm_steps: int = 60
    flat: float = 0.4
    dropout_merges: float = 0.1
    save_every_s: float = 120.0
    score_every_s: float = 300.0
    bfloat16: bool = True
    compile: bool = True
    seed: int = 0
    start: str = ""

    def going_on(self, start: Path) -> Settings:
        """The same for a run that goes on from trained weights: a lower rate, falling sooner."""
        return replace(
            self,
            start=str(start),
            muon_lr=0.4 * self.muon_lr,
            adam_lr=0.4 * self.adam_lr,
            flat=0.15,
            warm_steps=150,
        )


class Trainer:
    """The loop's state: network, optimisers, place in the data, time spent.

    Args:
        tokenizer: of the network.
        data: folder of chunks of questions, or a source of examples that keeps its place in the
            cursor it is given.
        settings: rates and seeds.
        device: where to train.
        model: the network; by default the embedded one, built and perhaps loaded by ``settings``.
        head: the text before a twin; by default that of the short style.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        data: Path | Callable[[Cursor], Iterator[Example]],
        settings: Settings,
        device: str,
        *,
        model: Any = None,
        head: str | None = None,
    ) -> None:
        self.tokenizer, self.settings, self.device = tokenizer, settings, device
        self.head = head
        if model is None:
            eos = token_id(tokenizer, EOS)
            model = network.build(tokenizer.get_vocab_size(), eos, settings.seed)
            if settings.start:
                network.take_over(model, tokenizer, Path(settings.start))
        self.model = model.to(device)
        matrices, others = network.split_parameters(self.model)
        self.muon = torch.optim.Muon(
            matrices,
            lr=settings.muon_lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.adam = torch.optim.AdamW(
            others, lr=settings.adam_lr, betas=(0.9, 0.95), weight_decay=0.0
        )
        self.kernels = compiled_kernels() if settings.compile else None
        self.cursor = Cursor()
        self.examples: Iterator[Example] = (
            data(self.cursor) if callable(data) else follow(data, self.cursor)
        )
        self.steps, self.visits, self.elapsed_s = 0, 0, 0.0
        self.norm, self.learnt = 0.0, 0  # of the last step: norm of the gradient, learnt tokens

    def step(self, progress: float) -> float:
        """One optimiser step on one pack; returns the mean loss per learnt token.

        Raises:
            TrainingError: if the loss or its gradient is not finite; the weights are as before.
        """
        rate = min(1.0, (self.steps + 1) / self.settings.warm_steps)
        rate *= min(1.0, max(0.0, (1.0 - progress) / (1.0 - self.settings.flat)))
        for group in self.muon.param_groups:
            group["lr"] = self.settings.muon_lr * rate
        for group in self.adam.param_groups:
            group["lr"] = self.settings.adam_lr * rate
        example = next(self.examples)
        broken = breaking(self.tokenizer, self.settings.dropout_merges, self._draw)
        loss = self._loss(example, broken)
        loss.backward()
        self.norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
        if not math.isfinite(float(loss.detach()) + self.norm):
            raise self._stopped(example, float(loss.detach()), broken)
        optimisers: tuple[torch.optim.Optimizer, ...] = (self.muon, self.adam)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.steps += 1
        self.visits += len(example.items)
        return float(loss.detach())

    @property
    def _draw(self) -> int:
        """The seed of this step's draws."""
        return self.settings.seed * 1_000_003 + self.steps

    def _loss(self, example: Example, broken: Tokenizer | None) -> torch.Tensor:
        batch = collate(encode(self.tokenizer, example, broken, self.head), self.device)
        dtype = torch.bfloat16 if self.settings.bfloat16 else torch.float32
        total, count = packed_loss(self.model, batch, dtype, self.kernels)
        self.learnt = count
        return total / count

    def _stopped(self, example: Example, loss: float, broken: Tokenizer | None) -> TrainingError:
        """The error that names the question whose loss or gradient is not finite alone."""
        guilty = example.items[0]
        for item in example.items:
            self.model.zero_grad(set_to_none=True)
            alone = self._loss(replace(example, items=(item,)), broken)
            alone.backward()
            norm = torch.nn.utils.get_total_norm(
                [p.grad for p in self.model.parameters() if p.grad is not None]
            )
            if not bool(torch.isfinite(norm + alone.detach())):
                guilty = item
                break
        return TrainingError(
            f"expected a finite loss and gradient, got {loss} and {self.norm} at step "
            f"{self.steps + 1} on twin {example.seed}, question {guilty.question!r}, chain "
            f"{guilty.reason[:200]!r}; the last checkpoint is kept; leave this question out or "
            "lower the rates, then start again"
        )

    def save(self, folder: Path) -> None:
        """Write network, optimisers and place into one file, complete or absent.

        ``place.json`` beside it says the same place to a reader.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"model.{k}": v for k, v in self.model.state_dict().items() if k != "lm_head.weight"
        }
        for name, optimiser in (("muon", self.muon), ("adam", self.adam)):
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        place = {
            "steps": self.steps,
            "visits": self.visits,
            "elapsed_s": self.elapsed_s,
            "cursor": asdict(self.cursor),
            "settings": asdict(self.settings),
        }
        held = {k: v.contiguous().cpu() for k, v in tensors.items()}
        save_file(held, folder / "state.part", metadata={"place": json.dumps(place)})
        (folder / "state.part").replace(folder / "state.safetensors")
        (folder / "place.part").write_text(json.dumps(place, indent=1) + "\n")
        (folder / "place.part").replace(folder / "place.json")

    def load(self, folder: Path) -> None:
        """Go on where :meth:`save` stopped."""
        tensors = load_file(folder / "state.safetensors")
        self.model.load_state_dict(
            {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}, strict=False
        )
        for name, optimiser in (("muon", self.muon), ("adam", self.adam)):
            packed = optimiser.state_dict()
            states: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"{name}."):
                    _, index, entry = key.split(".", 2)
                    states.setdefault(int(index), {})[entry] = value
            packed["state"] = states
            optimiser.load_state_dict(packed)
        with safe_open(folder / "state.safetensors", "pt") as file:
            place = json.loads((file.metadata() or {}).get("place", "null"))
        if place is None:  # written before the place was in the same file
            place = json.loads((folder / "place.json").read_text())
        self.steps, self.visits = place["steps"], place["visits"]
        self.elapsed_s = place["elapsed_s"]
        for key, value in place["cursor"].items():
            setattr(self.cursor, key, value)


def train(
    work_dir: Path,
    minutes: float,
    device: str = "cpu",
    seed: int = 0,
    *,
    data_dir: Path | None = None,
    settings: Settings | None = None,
    clock: Callable[[], float] = time.monotonic,
    threads: int = 1,
    chunks: int = 60,
    start: Path | None = None,
) -> dict[str, float]:
    """Train within a budget of wall-clock minutes, resuming from ``work_dir``.

    ``work_dir`` receives ``tokenizer/``, ``last/`` (resumable state), ``curve.jsonl`` and at
    the end ``model/`` (a transformers folder). ``data_dir`` (default ``runs/data/reasoner``)
    is filled ahead with ``chunks`` chunks by a producer process of its own. ``start`` is a folder
    with the ``model.safetensors`` and ``tokenizer.json`` to go on from. Returns the last scores.
    """
    from . import produce, score

    torch.set_num_threads(threads)
    if settings is None:
        settings = Settings(minutes=minutes, seed=seed)
        settings = settings.going_on(start) if start is not None else settings
    data_dir = data_dir or Path("runs/data/reasoner")
    producer = produce.start(data_dir / "train", chunks)
    try:
        produce.wait(data_dir / "train", count=3)
        held_out = produce.validation(_VAL_WORLDS)
        tokenizer = _tokenizer(work_dir, data_dir / "train", settings)
        trainer = Trainer(tokenizer, data_dir / "train", settings, device)
        if (work_dir / "last" / "place.json").exists():
            trainer.load(work_dir / "last")
        budget_s = settings.minutes * 60
        scores = fit(
            trainer,
            work_dir / "last",
            lambda: trainer.elapsed_s / budget_s,
            lambda: score.score(trainer, held_out),
            lambda values: _note(work_dir, trainer, values),
            save_due=_every(settings.save_every_s, trainer),
            score_due=_every(settings.score_every_s, trainer),
            clock=clock,
        )
    finally:
        if producer is not None:
            producer.terminate()
            producer.wait()
    trainer.model.save_pretrained(work_dir / "model")
    network_tokenizer = work_dir / "tokenizer"
    for file in network_tokenizer.iterdir():
        (work_dir / "model" / file.name).write_bytes(file.read_bytes())
    return scores


def fit(
    trainer: Trainer,
    last: Path,
    share: Callable[[], float],
    scorer: Callable[[], Mapping[str, float]],
    note: Callable[[Mapping[str, float]], None],
    *,
    save_due: Callable[[], bool],
    score_due: Callable[[], bool],
    log_every: int = 100,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, float]:
    """Step until ``share()``, the used share of the budget, is 1; returns the last scores.

    State goes to ``last`` whenever ``save_due`` says so and at the end. ``note`` gets means of
    ``log_every`` steps and every score. Time spent on scores is not counted.
    """
    losses: list[float] = []
    values: dict[str, float] = {}
    since = clock()
    with _bar(share()) as advance:
        while share() < 1.0:
            losses.append(trainer.step(share()))
            now = clock()
            trainer.elapsed_s, since = trainer.elapsed_s + now - since, now
            advance(share())
            values = {}
            if len(losses) >= log_every:
                values["loss"] = sum(losses) / len(losses)
                losses.clear()
            if save_due():
                trainer.save(last)
            if share() < 1.0 and score_due():
                values |= scorer()
                since = clock()
            if share() < 1.0 and values:
                note(values)
    trainer.save(last)
    scores = dict(scorer())
    note({**values, **scores})
    return scores


@contextmanager
def _bar(done: float) -> Iterator[Callable[[float], None]]:
    """A bar over a share of 1; yields what moves it."""
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task("reasoner", total=1.0, completed=int(done))
        yield lambda share: bar.update(task, completed=min(share, 1.0))


def _every(seconds: float, trainer: Trainer) -> Callable[[], bool]:
    """True once in so many seconds of training."""
    state = {"last": trainer.elapsed_s}

    def due() -> bool:
        if trainer.elapsed_s - state["last"] < seconds:
            return False
        state["last"] = trainer.elapsed_s
        return True

    return due


def _note(work_dir: Path, trainer: Trainer, scores: Mapping[str, float]) -> None:
    line = {"visits": trainer.visits, "seconds": round(trainer.elapsed_s), "steps": trainer.steps}
    with (work_dir / "curve.jsonl").open("a") as file:
        file.write(json.dumps({**line, **scores}) + "\n")


def _tokenizer(work_dir: Path, data: Path, settings: Settings) -> Tokenizer:
    """The run's tokenizer; if it is not there yet, trained on the first chunks or taken over."""
    from . import tokenizer as bpe
    from .records import chunks, read

    path = work_dir / "tokenizer" / "tokenizer.json"
    if not path.exists() and settings.start:
        taken = Tokenizer.from_file(str(Path(settings.start) / "tokenizer.json"))
        bpe.extend(taken, TRAINED.json_schemas())
        bpe.save(taken, path.parent)
    elif not path.exists():
        examples = [example for chunk in chunks(data)[:4] for example in read(chunk)]
        trained = bpe.train(_texts(examples), TRAINED.json_schemas(), settings.vocabulary)
        bpe.save(trained, path.parent)
    return Tokenizer.from_file(str(path))


def _texts(examples: Sequence[Example]) -> Iterator[str]:
    yield system(TRAINED)
    for example in examples:
        yield example.twin
        for item in example.items:
            yield from prompt(item)
            yield from (text for text, _ in pieces(item))


def main() -> None:
    """Command line of the training loop."""
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--minutes", type=float, default=50.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder of the questions")
    parser.add_argument("--chunks", type=int, default=60, help="of 100 twins each")
    parser.add_argument("--start", type=Path, help="folder of weights to go on from")
    args = parser.parse_args()
    scores = train(
        args.work_dir,
        args.minutes,
        args.device,
        args.seed,
        data_dir=args.data,
        chunks=args.chunks,
        start=args.start,
    )
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
