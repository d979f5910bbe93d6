"""Training of the segmenter: it learns, resumes exactly, and its baselines are right."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgetwin.distill.perception.runs import Budget  # noqa: E402
from edgetwin.distill.perception.segmenter_clips import draw_sequence, evaluate_clips  # noqa: E402
from edgetwin.distill.perception.segmenter_data import (  # noqa: E402
    PromptMix,
    boxes_and_masks,
    cell_weights,
    geometry_batch,
    make_prompts,
    toy_pictures,
    window_batch,
)
from edgetwin.distill.perception.segmenter_eval import evaluate_images, iou_of  # noqa: E402
from edgetwin.distill.perception.segmenter_export import load_trained  # noqa: E402
from edgetwin.distill.perception.segmenter_loss import (  # noqa: E402
    Predictions,
    decode,
    encode,
    mask_loss,
)
from edgetwin.distill.perception.segmenter_memory import fit_memory  # noqa: E402
from edgetwin.distill.perception.segmenter_train import Recipe, fit_images  # noqa: E402
from edgetwin.perception.graphs.configs_segmenter import (  # noqa: E402
    SAM2_MEAN,
    SAM2_STD,
    embedded_segmenter_config,
)
from edgetwin.perception.graphs.segmenter import (  # noqa: E402
    DecoderGraph,
    EncoderGraph,
    build_segmenter,
)
from edgetwin.twin.errors import ModelError  # noqa: E402

SIDE = 128


def tiny_config() -> Any:
    return embedded_segmenter_config(
        image_size=SIDE, widths=(8, 16, 24, 32), blocks=(1, 1, 2, 1), fpn=64, mlp=32
    )


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "geometry_steps": 2,
        "geometry_prompts": 8,
        "windows": 2,
        "side": 64,
        "whole_pictures": 1,
        "validate_every_s": 1e9,
        "save_every_s": 1e9,
        "warmup_steps": 2,
        "config": tiny_config,
    }
    return Recipe(**(values | changes))


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_loss_falls_on_a_few_windows() -> None:
    model = build_segmenter(tiny_config(), 0).train()
    batch = window_batch(
        toy_pictures(3, 0, SIDE),
        np.random.default_rng(0),
        windows=2,
        side=64,
        mix=PromptMix(1.0, 0.0, 0.0),
        mean=SAM2_MEAN,
        std=SAM2_STD,
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        features = encode(model, batch.pixels, batch.offsets)
        out = decode(
            model, features, batch.offsets, batch.row, batch.points[:, 1:], batch.labels[:, 1:]
        )
        loss, _ = mask_loss(out, batch.target, batch.weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_windows_are_parts_of_the_picture() -> None:
    """A whole-picture window equals the exported graphs; a part sees the same positions."""
    model = build_segmenter(tiny_config(), 1).eval()
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros(1, 2, dtype=torch.long)
    points = torch.tensor([[[20.0, 30.0], [90.0, 80.0]]])
    labels = torch.tensor([[2, 3]])
    with torch.no_grad():
        whole = encode(model, pixels, zero)
        embedding, plain, fine, middle = EncoderGraph(model)(pixels)
        torch.testing.assert_close(whole.embedding, embedding)
        out = decode(model, whole, zero, torch.zeros(1, dtype=torch.long), points, labels)
        masks, iou, pointers, _ = DecoderGraph(model)(
            plain, fine, middle, points[None], labels[None]
        )
        torch.testing.assert_close(out.logits, masks[0])
        torch.testing.assert_close(out.pointers, pointers[0])
        torch.testing.assert_close(out.iou, iou[0])
        corner = torch.tensor([[2, 1]])
        part = encode(model, pixels[:, :, 16:80, 32:96], corner)
        assert part.high_res_0.shape[-1] == 16
        other = encode(model, pixels[:, :, 16:80, 32:96], torch.tensor([[0, 0]]))
        assert (part.embedding - other.embedding).abs().max() > 1e-3  # places differ


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    data, held = toy_pictures(6, 0, SIDE), toy_pictures(2, 1, SIDE)

    def run(folder: str, *steps: int) -> dict[str, Any]:
        for stop in steps:
            budget = Budget(steps=8, flat=0.05)
            share = budget.share
            # Killed at `stop`: the schedule is that of the whole run.
            budget.share = lambda step, s=share, stop=stop: 1.0 if step >= stop else s(step)  # type: ignore[method-assign]
            fit_images(lambda: data, held, tmp_path / folder, budget, seed=4, recipe=recipe())
        return load_trained(tmp_path / folder, tiny_config()).state_dict()

    straight, resumed = run("a", 8), run("b", 5, 8)
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name
    rows = [json.loads(line) for line in (tmp_path / "b" / "curve.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [5, 8]
    assert {"box", "jitter", "point", "ellipse", "fill"} <= set(rows[-1])


def toy_clips(count: int = 2, frames: int = 5) -> Any:
    rgb = np.full((count, frames, SIDE, SIDE, 3), 90, np.uint8)
    ids = np.zeros((count, frames, SIDE, SIDE), np.uint8)
    for n in range(count):
        for t in range(frames):
            x = 20 + 12 * t
            rgb[n, t, 40:60, x : x + 24] = (200, 40, 30)
            ids[n, t, 40:60, x : x + 24] = 3
            if t < 3:
                rgb[n, t, 90:110, 80:100] = (20, 60, 220)
                ids[n, t, 90:110, 80:100] = 5
    return SimpleNamespace(rgb=rgb, ids=ids, __len__=lambda: count)


class Clips:
    """Arrays in memory with a length."""

    def __init__(self) -> None:
        toy = toy_clips()
        self.rgb, self.ids = toy.rgb, toy.ids

    def __len__(self) -> int:
        return len(self.rgb)


def test_memory_part_resumes_and_leaves_the_encoder_alone(tmp_path: Path) -> None:
    def run(folder: str, *steps: int) -> dict[str, Any]:
        (tmp_path / folder).mkdir()
        for stop in steps:
            model = build_segmenter(tiny_config(), 2)
            budget = Budget(steps=4)
            share = budget.share
            budget.share = lambda step, s=share, stop=stop: 1.0 if step >= stop else s(step)  # type: ignore[method-assign]
            fit_memory(model, Clips(), None, tmp_path / folder, budget, seed=1)
        return dict(model.state_dict())

    fresh = build_segmenter(tiny_config(), 2).state_dict()
    straight, resumed = run("a", 4), run("b", 2, 4)
    changed = {name for name, value in straight.items() if not torch.equal(value, fresh[name])}
    assert all(torch.equal(value, resumed[name]) for name, value in straight.items())
    assert not any(name.startswith("vision_encoder") for name in changed)
    for part in ("memory_attention", "memory_encoder", "object_pointer_proj", "mask_decoder"):
        assert any(name.startswith(part) for name in changed), part


def test_sequences_show_who_moves_and_who_leaves() -> None:
    clips = Clips()
    for seed in range(6):
        sequence = draw_sequence(clips, np.random.default_rng(seed), length=4)
        assert sequence is not None
        assert len(sequence.frames) == 4
        assert sequence.target.shape[0] == 4
        if sequence.frames[0] == 0:
            # The red one moves, so it comes first; the blue one is gone from frame 3 on.
            np.testing.assert_array_equal(sequence.boxes[0], [20, 40, 44, 60])
            seen = [t < 3 for t in sequence.frames]
            assert sequence.visible[:, 1].tolist() == seen
            assert sequence.visible[:, 0].all()
    scores = evaluate_clips(build_segmenter(tiny_config(), 0).eval(), clips, limit=1)
    assert {"tracked", "copied", "tracked_moving", "absent"} <= set(scores)


def test_prompts_and_targets_by_hand() -> None:
    ids = np.zeros((64, 64), np.uint8)
    ids[8:24, 4:20] = 7
    ids[40:42, 40:42] = 9  # too small
    found, boxes, masks = boxes_and_masks(ids)
    assert found.tolist() == [7]
    np.testing.assert_array_equal(boxes, [[4, 8, 20, 24]])
    both = make_prompts(boxes, masks, PromptMix(0, 0, 1, jittered=0.0), np.random.default_rng(0))
    assert both.labels.tolist() == [[1, 2, 3]]
    np.testing.assert_array_equal(both.points[0, 1:], [[4, 8], [20, 24]])
    x, y = both.points[0, 0].astype(int)
    assert masks[0, y, x]
    point = make_prompts(boxes, masks, PromptMix(0, 1, 0), np.random.default_rng(0))
    assert point.labels.tolist() == [[1, -1, -1]]
    target = masks.reshape(1, 16, 4, 16, 4).mean((2, 4)).astype(np.float32)
    weight = cell_weights(boxes, target)
    assert weight[0, 3, 2] == 1.0  # inside, away from the contour
    assert weight[0, 2, 2] == 2.0  # contour
    assert weight[0, 15, 15] == np.float32(0.1)  # far away
    others = np.zeros((16, 16), np.float32)
    others[14:, 14:] = 1
    assert cell_weights(boxes, target, others)[0, 15, 15] == 1.0  # where a mask might leak


def test_baselines_and_iou_by_hand() -> None:
    a, b = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    a[0, :2], b[0, 1:3] = True, True
    np.testing.assert_allclose(iou_of(a, b), [4 / 12, 1.0])
    pictures = toy_pictures(2, 5, SIDE)
    pictures.ids[:] = 0
    pictures.ids[:, 30:80, 20:90] = 1  # a filled box
    scores = evaluate_images(
        build_segmenter(tiny_config(), 0), pictures, limit=2, mean=SAM2_MEAN, std=SAM2_STD
    )
    assert scores["fill"] == 1.0
    assert scores["ellipse"] == pytest.approx(np.pi / 4, abs=0.01)
    assert scores["objects"] == 2


def test_perfect_masks_cost_almost_nothing() -> None:
    batch = geometry_batch(np.random.default_rng(0), prompts=4, picture=256)
    assert batch.target.shape == (4, 32, 32)
    ones = torch.ones(4)
    perfect = Predictions((batch.target - 0.5) * 40, ones, ones, ones * 20)
    loss, iou = mask_loss(perfect, batch.target, batch.weight)
    assert iou == 1.0
    assert loss < 0.01
    wrong, _ = mask_loss(perfect._replace(logits=-perfect.logits), batch.target, batch.weight)
    assert wrong > 10


def test_a_missing_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train first"):
        load_trained(tmp_path)
