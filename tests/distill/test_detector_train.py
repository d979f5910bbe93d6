"""Training of the detector and the depth network: targets, losses, resumption, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgetwin.distill.perception import (
    depth_export,
    depth_train,
    detector_data,
    detector_export,
    detector_train,
)
from edgetwin.distill.perception.depth_data import chances, depth_batch, pixels_of, table_plane
from edgetwin.distill.perception.depth_loss import depth_loss
from edgetwin.distill.perception.depth_train import DepthRecipe
from edgetwin.distill.perception.detector_data import (
    Batch,
    augment,
    boxes_of,
    make_batch,
    paste,
    repaint,
    shrink,
    targets,
)
from edgetwin.distill.perception.detector_eval import match, score
from edgetwin.distill.perception.detector_init import initialise, patch_filters, sincos_2d
from edgetwin.distill.perception.detector_loss import Vocabulary, aligned_iou, detection_loss
from edgetwin.distill.perception.detector_train import DetectorRecipe
from edgetwin.distill.perception.muon import orthogonalise
from edgetwin.distill.perception.runs import Average, Budget, load_state
from edgetwin.distill.sim.catalogue import CELL
from edgetwin.perception.bundle import load_bundle
from edgetwin.perception.depth import DepthEstimator
from edgetwin.perception.detector import Detector
from edgetwin.perception.records import Detections
from edgetwin.twin.errors import ModelError

from .pictures import ShapePictures

TINY = DetectorRecipe(layers=1, width=32, batch=4, warmup_visits=8, bf16=False)
TINY_DEPTH = DepthRecipe(image_size=64, layers=4, width=32, batch=4, warmup_visits=8, bf16=False)
PICTURES = ShapePictures(4)


def open_pictures(path: Path) -> ShapePictures:
    return PICTURES


class TestTargets:
    def test_patches_by_hand(self) -> None:
        ids = np.zeros((32, 48), np.uint8)  # 2 x 3 patches
        ids[0:16, 0:16] = 1  # covers patch 0
        ids[0:16, 16:20] = 1  # 64 pixels of patch 1: neither
        ids[20:24, 36:40] = 2  # 16 pixels of patch 5: too few, but all that object 2 has
        patches, owners, weights, ignored = targets(ids, 2)
        assert patches.tolist() == [0, 5]
        assert owners.tolist() == [0, 1]
        assert weights.tolist() == [1, 1]
        assert ignored.tolist() == [False, True, False, False, False, False]

    def test_weights_of_a_large_object(self) -> None:
        patches, _, weights, _ = targets(np.ones((32, 32), np.uint8), 1)
        assert patches.tolist() == [0, 1, 2, 3]
        assert weights.tolist() == [0.5] * 4  # 1 / sqrt(4)

    def test_a_hidden_object_has_no_patch(self) -> None:
        patches, owners, _, _ = targets(np.ones((16, 16), np.uint8), 2)
        assert owners.tolist() == [0] * len(patches)
        assert len(targets(np.zeros((16, 16), np.uint8), 0)[0]) == 0

    def test_boxes_are_exclusive(self) -> None:
        ids = np.zeros((8, 8), np.uint8)
        ids[2:5, 3:4] = 1
        assert boxes_of(ids, 2).tolist() == [[3, 2, 4, 5], [0, 0, 0, 0]]

    def test_augmentation_keeps_ids_and_is_repeatable(self) -> None:
        rgb, ids = PICTURES.rgb[0], PICTURES.ids[0]
        for seed in range(30):
            one = augment(rgb, ids, np.random.default_rng(seed))
            two = augment(rgb, ids, np.random.default_rng(seed))
            assert (one[0] == two[0]).all()
            assert (one[1] == two[1]).all()
            assert one[0].shape == rgb.shape
            assert set(np.unique(one[1])) <= set(np.unique(ids))
            assert one[2] == two[2] <= set(range(1, 4))

    def test_repainting_changes_only_the_object(self) -> None:
        rgb, ids = PICTURES.rgb[0].copy(), PICTURES.ids[0]
        got, painted = repaint(rgb.copy(), ids, np.random.default_rng(0), share=1)
        assert painted == set(np.unique(ids).tolist()) - {0}
        assert (got[ids == 0] == rgb[ids == 0]).all()
        assert (got[ids > 0] != rgb[ids > 0]).any(axis=1).mean() > 0.9
        assert repaint(rgb, ids, np.random.default_rng(0), share=0)[1] == set()

    def test_batch(self) -> None:
        words = (("mug", "bowl", "bottle", "pan"), ("red", "green", "blue", "white"))
        batch = make_batch(PICTURES, np.arange(4), None, words, ((0.5,) * 3, (0.25,) * 3))
        assert batch.pixels.shape == (4, 3, 256, 256)
        pixel = PICTURES.rgb[1, 7, 9] / 255
        np.testing.assert_allclose(batch.pixels[1, :, 7, 9], (pixel - 0.5) / 0.25, rtol=1e-4)
        assert len(batch.row) == len(batch.box) == len(batch.weight) > 4
        first = PICTURES.objects[0]["objects"][0]
        mine = (batch.row == 0) & (batch.patch == batch.patch[0])
        assert words[0][int(batch.noun[mine][0])] in {
            o["category"] for o in PICTURES.objects[0]["objects"]
        }
        x0, y0, x1, y1 = boxes_of(PICTURES.ids[0], 3)[first["id"] - 1] / 256
        want = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
        found = batch.box[batch.row == 0].numpy()
        assert np.isclose(found, want).all(axis=1).any()


class TestLosses:
    def test_overlap_by_hand(self) -> None:
        a = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.25, 0.25, 0.5, 0.5]])
        b = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.75, 0.25, 0.5, 0.5]])
        iou, giou = aligned_iou(a, b)
        assert iou.tolist() == [1, 0]
        assert giou.tolist() == [1, 0]  # neighbours fill their hull
        far = torch.tensor([[1.75, 0.25, 0.5, 0.5]])
        assert aligned_iou(a[1:], far)[1].tolist() == [-0.5]  # half of the hull is empty

    def test_a_repainted_object_teaches_no_colour(self) -> None:
        words = Vocabulary(2, 2, torch.ones(4, dtype=torch.bool))
        logits = torch.zeros(1, 4, 8, requires_grad=True)
        zeros = torch.zeros(1)
        for color, learns in ((1, True), (-1, False)):
            batch = Batch(
                pixels=zeros, row=torch.tensor([0]), patch=torch.tensor([2]),
                noun=torch.tensor([1]), color=torch.tensor([color]),
                box=torch.tensor([[0.5, 0.5, 0.2, 0.2]]), weight=torch.ones(1),
                ignored=torch.zeros(1, 4, dtype=torch.bool),
            )  # fmt: skip
            boxes = torch.full((1, 4, 4), 0.5)
            auxiliary = (torch.zeros(1, 4, 3), torch.zeros(1, 4, 2), torch.zeros(1, 4, 4))
            loss, _ = detection_loss((boxes, logits, torch.zeros(1, 4)), auxiliary, batch, words)
            (grad,) = torch.autograd.grad(loss, logits)
            assert float(grad[0, 2, 1]) < 0 < float(grad[0, 2, 0])  # its noun and the other
            assert bool((grad[0, 2, 2:] != 0).all()) is learns
            assert bool((grad[0, 0, 2:] > 0).all())  # background has no colour either way

    def test_depth_by_hand(self) -> None:
        truth = torch.tensor([[[1.0, 2.0], [1.0, float("nan")]]])
        depth = torch.tensor([[[1.1, 2.0], [1.0, 5.0]]], requires_grad=True)
        objects = torch.tensor([[[True, False], [False, False]]])
        # Errors .1 (weight 3), 0, 0; differences of neighbours: .1 down, .1 across.
        want = 0.3 / 5 + 0.5 * 0.1 + 0.5 * 0.1
        loss = depth_loss(depth, truth, objects)
        assert float(loss.detach()) == pytest.approx(want, rel=1e-5)
        loss.backward()
        assert depth.grad is not None
        assert depth.grad.isfinite().all()
        assert float(depth.grad[0, 1, 1]) == 0  # no truth there

    def test_singular_values_near_one(self) -> None:
        x = torch.randn(3, 24, 64, generator=torch.Generator().manual_seed(0))
        values = torch.linalg.svdvals(orthogonalise(x))
        assert 0.6 < values.min() <= values.max() < 1.3
        torch.testing.assert_close(orthogonalise(x.mT), orthogonalise(x).mT)

    def test_filters_whiten(self) -> None:
        rng = np.random.default_rng(0)
        patches = (rng.normal(size=(4000, 6)) * [5, 4, 3, 2, 1, 0.5] + 7).astype(np.float32)
        out = patches @ patch_filters(patches, 4, torch.Generator().manual_seed(0)).numpy().T
        np.testing.assert_allclose(np.cov(out.T), np.eye(4), atol=0.02)

    def test_heads_look_aside(self) -> None:
        recipe = DetectorRecipe(layers=2, width=128)
        model = detector_train.Setup(recipe).model
        patches = np.random.default_rng(0).normal(size=(500, 768)).astype(np.float32)
        tokens = detector_train.Setup(recipe).tokens
        initialise(model, patches, tokens, 0)
        vision = model.owlv2.vision_model
        position = vision.embeddings.position_embedding.weight[1:].detach()  # 16 x 16 patches
        attention = vision.encoder.layers[0].self_attn
        here = 5 * 16 + 7
        for head, (dx, dy) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
            rows = slice(head * 32, head * 32 + 32)
            query = attention.q_proj.weight[rows] @ position[here]
            keys = position @ attention.k_proj.weight[rows].T
            assert int((keys @ query).argmax()) == (5 + dy) * 16 + 7 + dx
        queries = detector_train.DetectorText(model)(tokens).detach()
        nouns = queries[:16] @ queries[:16].T - torch.eye(16)
        assert float(nouns.mean()) < 0.2

    def test_positions_differ(self) -> None:
        table = sincos_2d(4, 4, 16)
        assert table.shape == (16, 16)
        assert len(torch.unique(table, dim=0)) == 16


class TestScores:
    def test_by_hand(self) -> None:
        ids = np.zeros((64, 64), np.uint8)
        ids[0:20, 0:20], ids[40:60, 0:20], ids[0:5, 50:55] = 1, 2, 3  # the third is too small
        record = {
            "objects": [
                {"id": 1, "category": "mug", "color": "red"},  # a pair kept out of training
                {"id": 2, "category": "bowl", "color": "red"},
                {"id": 3, "category": "ball", "color": "red"},
            ]
        }
        found = Detections(
            np.array(
                [[0, 0, 20, 18], [0, 41, 20, 60], [50, 0, 55, 5], [30, 30, 50, 50]], np.float32
            ),
            np.array([0.9, 0.8, 0.7, 0.6], np.float32),
            ("mug", "bowl", "ball", "mug"),
            ("red", "blue", "red", "red"),
        )
        got = score([(found, record, ids)])
        assert got["recall"] == 1
        assert got["precision"] == pytest.approx(2 / 3)  # the small one is not counted
        assert got["label"] == 1
        assert got["color_noun"] == 0.5
        assert got["unseen"] == 1
        assert got["recall_small"] == 1

    def test_one_object_is_matched_once(self) -> None:
        boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], np.float32)
        assert match(boxes, boxes[:1]) == [0, -1]
        assert match(boxes, boxes[:0]) == [-1, -1]


class TestRuns:
    def test_rate_over_a_budget(self) -> None:
        budget = Budget(steps=100, warmup=80)
        assert budget.factor(0, 0) == pytest.approx(1 / 80)
        assert budget.factor(30, 240) == 1
        assert budget.factor(65, 520) == pytest.approx(0.5)
        assert budget.factor(100, 800) == 0

    def test_average_forgets_its_start(self) -> None:
        line = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(line.weight, 5.0)
        average = Average(line)
        torch.nn.init.constant_(line.weight, 1.0)
        for step in range(60):
            average.update(line, step)
        assert float(average.values["weight"].detach()) == pytest.approx(1, abs=1e-3)


def run_detector(work: Path, steps: int, stop_after: int | None = None) -> dict[str, float]:
    return detector_train.train(
        "t", "v", work, 0, steps=steps, stop_after=stop_after, recipe=TINY, open_images=open_pictures
    )  # fmt: skip


def run_depth(work: Path, steps: int, stop_after: int | None = None) -> dict[str, float]:
    return depth_train.train(
        "t", "v", work, 0, steps=steps, stop_after=stop_after, recipe=TINY_DEPTH,
        open_images=open_pictures,
    )  # fmt: skip


class TestMoreThanTheCellShows:
    def test_pasted_objects_are_whole_and_listed(self) -> None:
        rng = np.random.default_rng(3)
        rgb, ids = PICTURES.rgb[0].copy(), PICTURES.ids[0].copy()
        records: list[Any] = list(PICTURES.objects[0]["objects"])
        before = len(records)
        other = (PICTURES.rgb[1], PICTURES.ids[1], PICTURES.objects[1]["objects"])
        paste((rgb, ids, records), other, rng, most=1)
        assert len(records) == before + 1
        new = records[-1]
        source = next(o for o in other[2] if o["category"] == new["category"])
        assert new["color"] == source["color"]
        assert (ids == new["id"]).sum() == (PICTURES.ids[1] == source["id"]).sum()
        changed = (rgb != PICTURES.rgb[0]).any(axis=-1)
        assert (ids[changed] == new["id"]).all()

    def test_a_smaller_picture_keeps_its_objects(self) -> None:
        rgb, ids = shrink(PICTURES.rgb[0], PICTURES.ids[0], np.random.default_rng(0))
        assert rgb.shape == PICTURES.rgb[0].shape
        for k in range(1, int(ids.max()) + 1):
            share = (ids == k).sum() / (PICTURES.ids[0] == k).sum()
            assert 0.3 < share < 0.95
            paint = np.median(PICTURES.rgb[0][PICTURES.ids[0] == k], axis=0)
            assert np.abs(np.median(rgb[ids == k], axis=0) - paint).max() < 12

    def test_slivers_are_neither_objects_nor_background(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(detector_data, "PASTED", 0.0)
        monkeypatch.setattr(detector_data, "augment", lambda rgb, ids, rng: (rgb, ids, set()))
        ids = np.zeros((1, 256, 256), np.uint8)
        ids[0, 100:105, 100:105] = 1
        ids[0, 10:60, 10:60] = 2
        named = [{"id": k, "category": "mug", "color": "red"} for k in (1, 2)]
        pictures = ShapePictures(1)
        pictures.ids, pictures.objects = ids, [{"seed": 0, "objects": named}]
        words, stats = (("mug",), ("red",)), ((0.5,) * 3, (0.5,) * 3)
        batch = make_batch(pictures, np.array([0]), np.random.default_rng(1), words, stats)
        assert set(batch.noun.tolist()) == {0}
        kept = make_batch(pictures, np.array([0]), None, words, stats)
        assert len(kept.patch) == len(batch.patch) + 1
        assert int(batch.ignored.sum()) > int(kept.ignored.sum())


class TestDetectorTraining:
    def test_loss_falls_and_the_result_runs(self, tmp_path: Path) -> None:
        work = tmp_path / "work"
        run_detector(work, 40, stop_after=2)
        early = run_detector(work, 40, stop_after=4)
        late = run_detector(work, 40)
        for part in ("class", "choice", "giou", "auxiliary"):
            assert late[f"{part}"] < early[part]
        assert 0 <= late["recall"] <= 1
        row = json.loads((work / "curve.jsonl").read_text().splitlines()[-1])
        assert row["visits"] == 160
        weights = tmp_path / "weights"
        hashes = detector_export.export(work, weights, PICTURES)
        assert sorted(hashes) == sorted(detector_export.FILES)
        detector = Detector(load_bundle(weights, device="cpu", threads=1))
        assert "teapot" in detector.nouns
        assert detector.unknown(["zebra", "red mug"]) == ["zebra"]
        detector.detect(PICTURES.rgb[0])

    def test_killed_and_resumed_equals_uninterrupted(self, tmp_path: Path) -> None:
        run_detector(tmp_path / "a", 6)
        run_detector(tmp_path / "b", 6, stop_after=3)
        run_detector(tmp_path / "b", 6)
        one, two = ((tmp_path / d / "state.safetensors") for d in "ab")
        assert_same_tensors(one, two)

    def test_another_network_s_checkpoint(self, tmp_path: Path) -> None:
        run_detector(tmp_path, 1)
        recipe = (tmp_path / "recipe.json").read_bytes()
        with pytest.raises(ModelError, match="new work directory"):
            detector_train.train(
                "t", "v", tmp_path, 0, steps=2, open_images=open_pictures,
                recipe=DetectorRecipe(layers=1, width=64, batch=4),
            )  # fmt: skip
        # the refused start changed nothing
        assert (tmp_path / "recipe.json").read_bytes() == recipe


class TestDepthData:
    def test_the_plane_of_a_tilted_table(self) -> None:
        y = (np.arange(256) + 0.5) / 256 - 0.5
        depth = np.broadcast_to((1 / (1.3 + 0.8 * y))[:, None], (256, 256)).astype(np.float32)
        depth, objects = depth.copy(), np.zeros((256, 256), np.bool_)
        depth[50:100, 50:100] *= 0.8
        objects[50:100, 50:100] = True
        assert table_plane(depth, objects) == pytest.approx((1.3, 0.8), abs=1e-3)
        depth[200:210, :40] = 0.3  # something that no mask covers
        assert table_plane(depth, objects) == pytest.approx((1.3, 0.8), abs=1e-2)

    def test_targets_of_a_picture(self) -> None:
        nouns = {name: index for index, name in enumerate(CELL)}
        rng = np.random.default_rng(0)
        batch = depth_batch(PICTURES, np.array([0, 1]), rng, 256, 16, nouns)
        assert batch.pixels.shape == (2, 3, 256, 256)
        assert batch.noun.shape == batch.height.shape == (2, 256)
        known = {nouns[o["category"]] + 1 for i in (0, 1) for o in PICTURES.objects[i]["objects"]}
        assert set(batch.noun.unique().tolist()) == known | {0, -1}
        on_table, off_table = batch.noun == 0, batch.noun > 0
        assert float(batch.height[off_table].mean()) > 0.03 > float(batch.height[on_table].mean())

    def test_pictures_with_lifted_objects_are_drawn_more_often(self) -> None:
        records = [{"objects": [{"lift_m": lift}, {}]} for lift in (0.0, 0.1, 0.01)]
        assert chances(records, 3.0).tolist() == pytest.approx([0.2, 0.6, 0.2])


class TestDepthStart:
    def test_the_encoder_is_the_detector_s(self, tmp_path: Path) -> None:
        run_detector(tmp_path / "detector", 1)
        file = tmp_path / "detector" / "state.safetensors"
        recipe = DepthRecipe(layers=1, width=32, bf16=False)
        setup = depth_train.DepthSetup(recipe, detector=file)
        setup.start(PICTURES)
        theirs = detector_train.Setup(TINY)
        average = Average(theirs.module)
        load_state(file, theirs.module, average)
        average.copy_to(theirs.module)
        tower = theirs.model.owlv2.vision_model.eval()
        pixels = pixels_of([PICTURES.rgb[i] for i in range(4)])
        with torch.no_grad():
            want = tower(pixels).last_hidden_state[:, 1:]
            got = setup.model.backbone(pixels).feature_maps[-1][:, 1:]
        likeness = torch.nn.functional.cosine_similarity(got, want, dim=-1)
        assert float(likeness.mean()) > 0.9
        setup = depth_train.DepthSetup(DepthRecipe(layers=1, width=64), detector=file)
        with pytest.raises(ModelError, match="train the detector first"):
            setup.start(PICTURES)


class TestDepthTraining:
    def test_loss_falls_and_the_result_runs(self, tmp_path: Path) -> None:
        early = run_depth(tmp_path / "work", 30, stop_after=1)
        late = run_depth(tmp_path / "work", 30)
        assert late["depth"] < early["depth"]
        hashes = depth_export.export(tmp_path / "work", tmp_path / "weights", PICTURES)
        assert sorted(hashes) == sorted(depth_export.FILES)
        depth = DepthEstimator(load_bundle(tmp_path / "weights", device="cpu", threads=1))
        assert depth.depth_m(PICTURES.rgb[0]).shape == (256, 256)

    def test_killed_and_resumed_equals_uninterrupted(self, tmp_path: Path) -> None:
        run_depth(tmp_path / "a", 4)
        run_depth(tmp_path / "b", 4, stop_after=2)
        run_depth(tmp_path / "b", 4)
        one, two = ((tmp_path / d / "state.safetensors") for d in "ab")
        assert_same_tensors(one, two)


def assert_same_tensors(one: Path, two: Path) -> None:
    from safetensors.torch import load_file

    a, b = load_file(one), load_file(two)
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=0, atol=0, msg=name)
