"""The memory part: follow objects over short clips, encoder frozen.

Frame 0 is prompted; later frames see memories and pointers only. Gradients run through all
frames. The decoder learns along at a lower rate, and the prompted frame's loss keeps what it
knew of prompts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam2VideoModel

from ...perception.graphs.segmenter import MemoryAttentionGraph, MemoryEncoderGraph
from .runs import Average, Budget, Curve, load_state, save_state
from .segmenter_clips import ClipPool, Clips, Sequence4, draw_sequence, evaluate_clips
from .segmenter_data import BOTH, BOX, POINT, SLOTS, PromptMix, make_prompts
from .segmenter_loss import Features, Predictions, decode, mask_loss

__all__ = ["fit_memory", "sequence_loss", "train_memory"]

RATE, DECODER_RATE, WARMUP = 1e-3, 3e-4, 20
SHORT, LONG, LONG_FROM = 4, 7, 0.5  # frames of a sequence, and when the long ones begin
_MIX = PromptMix(box=0.8, point=0.15, both=0.05)


def train_memory(
    model: Sam2VideoModel,
    clips_dir: Path,
    val_clips_dir: Path,
    work_dir: Path,
    budget: Budget,
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Train the memory of ``model`` (in place, averaged weights) on rendered clips.

    Returns the scores of :func:`.segmenter_clips.evaluate_clips` on held-out clips, if any.
    """
    from ..sim.shards import open_clips

    held_out = open_clips(val_clips_dir) if val_clips_dir.is_dir() else None
    return fit_memory(model, open_clips(clips_dir), held_out, work_dir, budget, seed=seed)


def fit_memory(
    model: Sam2VideoModel,
    clips: Clips,
    held_out: Clips | None,
    work_dir: Path,
    budget: Budget,
    *,
    seed: int = 0,
    validate_every_s: float = 240.0,
    save_every_s: float = 60.0,
    validate_clips: int = 8,
) -> dict[str, float]:
    """Run or resume the memory part; ``state_memory.safetensors`` is its checkpoint."""
    optimiser = torch.optim.AdamW(_groups(model), betas=(0.9, 0.98), weight_decay=0.01)
    average, path = Average(model, decay=0.99), work_dir / "state_memory.safetensors"
    curve, step, running = Curve(work_dir / "curve.jsonl"), 0, 0.0
    if path.exists():
        counters = load_state(path, model, average, [optimiser])
        step, budget.seconds = counters["step"], counters["seconds"]
        budget._before = budget.seconds
    pool = ClipPool(model, clips)
    saved = checked = budget.tick()
    while budget.share(step) < 1.0:
        rng = np.random.default_rng((seed, step, 3))
        # New clips come in step by step, so that a short run spends its time on learning.
        # Long unrolls cost in proportion and teach what short ones cannot: not to drift.
        frames = clips.rgb.shape[1]
        length = min(frames, SHORT if budget.share(step) < LONG_FROM else LONG)
        sequence = draw_sequence(clips, rng, length=length, within=40 + 2 * step)
        if sequence is not None:
            running = 0.98 * running + 0.02 * _update(
                model, pool, sequence, rng, optimiser, budget, step
            )
            average.update(model, step)
        step += 1
        now = budget.tick()
        if now - saved > save_every_s:
            save_state(path, model, average, [optimiser], {"step": step, "seconds": now})
            saved = now
        if held_out is not None and now - checked > validate_every_s:
            _note(model, average, held_out, curve, validate_clips, step, running, now)
            checked = budget.tick()
    save_state(path, model, average, [optimiser], {"step": step, "seconds": budget.tick()})
    average.copy_to(model)
    if held_out is None:
        return {}
    scores = evaluate_clips(model, held_out, limit=40)
    curve.add({"phase": 3, "step": step, "seconds": budget.tick()} | scores)
    return scores


def _note(
    model: Sam2VideoModel,
    average: Average,
    held_out: Clips,
    curve: Curve,
    limit: int,
    step: int,
    running: float,
    seconds: float,
) -> None:
    """Score the averaged weights and put the trained ones back."""
    kept = {k: v.detach().clone() for k, v in model.named_parameters()}
    average.copy_to(model)
    scores = evaluate_clips(model, held_out, limit=limit)
    curve.add({"phase": 3, "step": step, "seconds": seconds, "loss": running} | scores)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(kept[name])


def _update(
    model: Sam2VideoModel,
    pool: ClipPool,
    sequence: Sequence4,
    rng: np.random.Generator,
    optimiser: torch.optim.Optimizer,
    budget: Budget,
    step: int,
) -> float:
    features = pool.features(sequence.clip)
    loss, _ = sequence_loss(model, [features[t] for t in sequence.frames], sequence, rng)
    factor = budget.factor(step, 800 * step // WARMUP)
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * factor
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.item()


def sequence_loss(
    model: Sam2VideoModel, frames: list[Features], sequence: Sequence4, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return (loss, mean IoU of tracked frames) of N objects over T frames."""
    device, objects = model.device, len(sequence.boxes)
    target, weight = sequence.target.to(device), sequence.weight.to(device)
    visible = sequence.visible.to(device)
    attention, memorise = MemoryAttentionGraph(model).to(device), MemoryEncoderGraph(model)
    row = torch.zeros(objects, dtype=torch.long, device=device)
    out = _prompted(model, frames[0], row, sequence, rng)
    loss, _ = mask_loss(out, target[0], weight[0])
    loss = 0.5 * loss
    memories: list[Tensor] = []
    pointers: list[Tensor] = []
    overlaps: list[Tensor] = []
    for t in range(len(frames)):
        if t:
            conditioned = _attend(attention, frames[t].embedding, memories, pointers)
            labels = torch.full((objects, 1), -1, device=device)
            points = torch.zeros(objects, 1, 2, device=device)
            out = decode(
                model, frames[t], row[:, None], row, points, labels, conditioned=conditioned
            )
            part, iou = _tracked_loss(out, target[t], weight[t], visible[t])
            loss = loss + part / (len(frames) - 1)
            overlaps.append(iou)
        prompted = torch.full((objects,), float(t == 0), device=device)
        memories.append(memorise(frames[t].embedding, out.logits, out.present, prompted))
        pointers.append(out.pointers)
    return loss, torch.stack(overlaps).mean()


def _prompted(
    model: Sam2VideoModel,
    frame: Features,
    row: Tensor,
    sequence: Sequence4,
    rng: np.random.Generator,
) -> Predictions:
    """Decode frame 0, one kind of prompt for all objects of the sequence."""
    kind = int(rng.choice(3, p=[_MIX.box, _MIX.point, _MIX.both]))
    only = PromptMix(box=float(kind == BOX), point=float(kind == POINT), both=float(kind == BOTH))
    prompts = make_prompts(sequence.boxes, sequence.masks, only, rng)
    points = torch.from_numpy(prompts.points[:, SLOTS[kind]]).to(row.device)
    labels = torch.from_numpy(prompts.labels[:, SLOTS[kind]]).to(row.device)
    return decode(model, frame, row[:, None], row, points, labels)


def _attend(
    attention: MemoryAttentionGraph,
    embedding: Tensor,
    memories: list[Tensor],
    pointers: list[Tensor],
) -> Tensor:
    """Condition frame t on frames 0 (prompted) .. t-1 (offsets t-1 .. 1)."""
    t, device = len(memories), embedding.device
    ages = torch.tensor([0, *range(t - 1, 0, -1)], device=device)
    pointer_ages = torch.arange(t, 0, -1, device=device).float()
    out: Tensor = attention(
        embedding, torch.stack(memories, 1), ages, torch.stack(pointers, 1), pointer_ages
    )
    return out


def _tracked_loss(
    out: Predictions, target: Tensor, weight: Tensor, visible: Tensor
) -> tuple[Tensor, Tensor]:
    """Mask loss where the object can be seen, and "present" everywhere."""
    present = F.binary_cross_entropy_with_logits(out.present, visible.to(out.present.dtype))
    rows = torch.nonzero(visible)[:, 0]
    if not len(rows):
        return 0.3 * present, out.logits.new_zeros(())
    picked = Predictions(*(value[rows] for value in out))
    loss, iou = mask_loss(picked, target[rows], weight[rows])
    return loss * len(rows) / len(visible) + 0.3 * present, iou


def _groups(model: Sam2VideoModel) -> list[dict[str, object]]:
    """Memory parts at full rate, decoder at a lower one, everything else frozen."""
    memory: list[nn.Parameter] = []
    decoder: list[nn.Parameter] = []
    for name, value in model.named_parameters():
        frozen = name.startswith(("vision_encoder", "mask_decoder.conv_s"))
        value.requires_grad_(not frozen)
        if frozen:
            continue
        (decoder if name.startswith(("mask_decoder", "prompt_encoder")) else memory).append(value)
    return [
        {"params": memory, "base": RATE, "lr": RATE},
        {"params": decoder, "base": DECODER_RATE, "lr": DECODER_RATE},
    ]
