"""The segmenter: graphs against transformers, prompts, masks and calls of the network.

Tracking against transformers, and ONNX: ``test_segmenter_reference.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from numpy.typing import NDArray  # noqa: E402
from transformers import Sam2VideoModel  # noqa: E402

from edgetwin.perception.engines import Port  # noqa: E402
from edgetwin.perception.graphs.configs_segmenter import embedded_segmenter_config  # noqa: E402
from edgetwin.perception.graphs.segmenter import (  # noqa: E402
    DecoderGraph,
    EncoderGraph,
    MemoryAttentionGraph,
    build_segmenter,
)
from edgetwin.perception.graphs.segmenter_bundle import (  # noqa: E402
    TorchSegmenterBundle,
    segmenter_manifest,
)
from edgetwin.perception.segmenter import Segmenter, SegmenterConfig, _enlarge  # noqa: E402
from edgetwin.twin.errors import InputError, ModelError  # noqa: E402

SIDE = 128


def tiny(fpn: int = 64, **changes: Any) -> Sam2VideoModel:
    config = embedded_segmenter_config(
        image_size=SIDE, widths=(8, 16, 24, 32), blocks=(1, 1, 2, 1), fpn=fpn, mlp=32
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return build_segmenter(config, seed=3).eval()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> Sam2VideoModel:
    return tiny()


def pictures(count: int, height: int = 96, width: int = 160) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (count, height // 16, width // 16, 3), dtype=np.uint8)
    return coarse.repeat(16, 1).repeat(16, 2)


BOXES = np.array([[10, 8, 60, 50], [70, 20, 150, 90], [0, 0, 30, 30]], np.float32)


def test_box_prompt_equals_transformers(model: Sam2VideoModel) -> None:
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        _, embedding, fine, middle = EncoderGraph(model)(pixels)
        corners = torch.tensor([[[[10.0, 20.0], [90.0, 100.0]], [[5.0, 6.0], [40.0, 30.0]]]])
        labels = torch.tensor([[[2, 3], [2, 3]]])
        masks, iou, pointers, present = DecoderGraph(model)(
            embedding, fine, middle, corners, labels
        )
        for k in range(2):
            other = model._single_frame_forward(
                pixel_values=pixels,
                input_boxes=corners[:, k : k + 1].reshape(1, 1, 4),
                multimask_output=False,
            )
            torch.testing.assert_close(masks[0, k], other.pred_masks[0, 0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(pointers[0, k], other.object_pointer[0, 0])
            torch.testing.assert_close(iou[0, k], other.iou_scores[0, 0, 0])
            torch.testing.assert_close(present[0, k], other.object_score_logits[0, 0, 0])


def test_box_and_point_prompt_equals_transformers(model: Sam2VideoModel) -> None:
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        _, embedding, fine, middle = EncoderGraph(model)(pixels)
        prompts = torch.tensor([[[[10.0, 20.0], [90.0, 100.0], [30.0, 40.0]]]])
        labels = torch.tensor([[[2, 3, 1]]])
        masks, *_ = DecoderGraph(model)(embedding, fine, middle, prompts, labels)
        sparse, _dense = model.prompt_encoder(
            input_points=prompts[:, :, 2:],
            input_labels=labels[:, :, 2:],
            input_boxes=prompts[:, :, :2].reshape(1, 1, 4),
            input_masks=None,
        )
        alone, _ = model.prompt_encoder(
            input_points=prompts, input_labels=labels, input_boxes=None, input_masks=None
        )
    # Theirs are in another order, which attention does not see, and ours end with a pad.
    torch.testing.assert_close(sparse[0, 0][[1, 2, 0]], alone[0, 0][:3])
    assert masks.shape == (1, 1, SIDE // 4, SIDE // 4)


@pytest.mark.parametrize("points", [1, 2])
def test_choice_of_masks_equals_transformers(points: int) -> None:
    """As published checkpoints are configured: several masks for a click, stability for boxes."""
    model = tiny(multimask_output_in_sam=True, multimask_output_for_tracking=True)
    model.mask_decoder.dynamic_multimask_via_stability = True
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    where = torch.tensor([[[[30.0, 40.0], [90.0, 80.0]]]])[:, :, :points]
    labels = torch.tensor([[[1, 1]]])[:, :, :points]
    with torch.no_grad():
        _, embedding, fine, middle = EncoderGraph(model)(pixels)
        masks, _, pointers, _ = DecoderGraph(model)(embedding, fine, middle, where, labels)
        other = model._single_frame_forward(
            pixel_values=pixels,
            input_points=where,
            input_labels=labels,
            multimask_output=points == 1,
        )
    torch.testing.assert_close(masks, other.pred_masks.reshape(masks.shape), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pointers, other.object_pointer.reshape(pointers.shape))


def test_prompt_coordinates_follow_the_frame(model: Sam2VideoModel) -> None:
    seen: list[Mapping[str, NDArray[Any]]] = []
    bundle = TorchSegmenterBundle(model)

    def engine(name: str) -> Any:
        real = bundle.engine(name)

        def run(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            seen.append(inputs)
            return real.run(inputs)

        return SimpleNamespace(run=run)

    spy = SimpleNamespace(network=bundle.network, engine=engine)
    segmenter = Segmenter(spy)
    features = segmenter.encode(np.zeros((64, 512, 3), np.uint8))
    # A 512 x 64 frame is squeezed to 128 x 128: x by 1/4, y by 2.
    masks = segmenter.from_boxes(features, np.array([[40, 8, 200, 32]], np.float32))
    np.testing.assert_array_equal(seen[-1]["points"], [[[[10, 16], [50, 64]]]])
    np.testing.assert_array_equal(seen[-1]["labels"], [[[2, 3]]])
    assert masks.masks_nhw.shape == (1, 64, 512)
    points = np.array([[[400, 4], [8, 60]]], np.float32)
    near = np.array([[[120, 20], [80, 30]]], np.float32)
    segmenter.from_boxes(features, np.array([[40, 8, 200, 32]], np.float32), points_xy_nk2=near)
    np.testing.assert_array_equal(seen[-1]["points"], [[[[10, 16], [50, 64], [30, 40], [20, 60]]]])
    np.testing.assert_array_equal(seen[-1]["labels"], [[[2, 3, 1, 1]]])
    with pytest.raises(InputError, match=r"points_xy_nk2 \(1, K, 2\)"):
        segmenter.from_boxes(features, np.array([[40, 8, 200, 32]]), points_xy_nk2=near[0])
    segmenter.from_points(features, points, np.array([[1, 0]]))
    np.testing.assert_array_equal(seen[-1]["points"], [[[[100, 8], [2, 120]]]])
    np.testing.assert_array_equal(seen[-1]["labels"], [[[1, 0]]])
    pixel = (np.zeros(3) - segmenter.config.mean) / np.array(segmenter.config.std)
    np.testing.assert_allclose(seen[0]["pixel_values"][0, :, 5, 7], pixel, atol=1e-6)


def test_masks_are_the_resized_logits(model: Sam2VideoModel) -> None:
    segmenter = Segmenter(TorchSegmenterBundle(model))
    features = segmenter.encode(pictures(1)[0])
    masks = segmenter.from_boxes(features, BOXES, margin=None)
    small = torch.from_numpy(masks.logits_nhw)[:, None]
    big = torch.nn.functional.interpolate(small, size=(96, 160), mode="bilinear")[:, 0] > 0
    assert (masks.masks_nhw == big.numpy()).mean() > 0.999


def test_box_prompts_stay_within_their_box(model: Sam2VideoModel) -> None:
    segmenter = Segmenter(TorchSegmenterBundle(model))
    features = segmenter.encode(np.zeros((128, 128, 3), np.uint8))
    box = np.array([[32, 40, 72, 80]], np.float32)
    free = segmenter.from_boxes(features, box, margin=None)
    cut = segmenter.from_boxes(features, box)
    # 10 % of 40 pixels more on each side: 28 to 76 and 36 to 84, cells of 4 pixels.
    inside = np.zeros((32, 32), bool)
    inside[9:21, 7:19] = True
    np.testing.assert_array_equal(cut.logits_nhw[0][inside], free.logits_nhw[0][inside])
    assert (cut.logits_nhw[0][~inside] <= -4).all()
    assert not cut.masks_nhw[0, :36].any()
    assert not cut.masks_nhw[0, :, 76:].any()


def test_absent_objects_have_empty_masks(model: Sam2VideoModel) -> None:
    gone = tiny()
    with torch.no_grad():
        gone.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(-50.0)
    segmenter = Segmenter(TorchSegmenterBundle(gone))
    bank = segmenter.new_bank()
    features = segmenter.encode(pictures(1)[0])
    segmenter.remember(features, segmenter.from_boxes(features, BOXES), bank)
    bank.advance()
    masks = segmenter.propagate(features, bank)
    assert not masks.masks_nhw.any()
    assert (masks.object_logits_n < 0).all()


def test_one_call_gives_the_same_result_as_one_object_alone(model: Sam2VideoModel) -> None:
    """Objects of unequal age share a call; one row of offsets counts for all."""
    source = torch.Generator().manual_seed(5)
    embedding = torch.randn(1, 64, 8, 8, generator=source)
    memories = torch.randn(3, 2, 64, 64, generator=source)
    pointers = torch.randn(3, 2, 64, generator=source)
    ages = torch.tensor([[0, 1], [0, 3], [0, 6]])
    pointer_ages = torch.tensor([[2.0, 1.0], [9.0, 4.0], [40.0, 1.0]])
    graph = MemoryAttentionGraph(model)
    with torch.no_grad():
        together = graph(embedding, memories, ages, pointers, pointer_ages)
        for k in range(3):
            one = slice(k, k + 1)
            alone = graph(embedding, memories[one], ages[k], pointers[one], pointer_ages[k])
            torch.testing.assert_close(together[one], alone, atol=1e-5, rtol=1e-4)
        younger = graph(embedding, memories, ages - (ages > 1).long(), pointers, pointer_ages)
        assert (younger - together).abs().amax((1, 2, 3)).gt(1e-3).tolist() == [False, True, True]


def test_propagate_calls_the_network_once_per_number_of_memories(model: Sam2VideoModel) -> None:
    """Objects renewed in turns are batched; an old network gets groups of equal age."""
    calls: list[tuple[int, ...]] = []
    bundle = TorchSegmenterBundle(model)

    def engine(name: str, ranks: int) -> Any:
        real = bundle.engine(name)

        def run(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            if "memory_offsets" in inputs:
                calls.append(inputs["memories"].shape[:2])
                assert inputs["memory_offsets"].ndim == inputs["pointer_offsets"].ndim == ranks
                count = len(inputs["memories"])
                for port in ("memory_offsets", "pointer_offsets"):
                    wide = np.broadcast_to(inputs[port], (count, inputs[port].shape[-1]))
                    inputs[port] = np.ascontiguousarray(wide)
            return real.run(inputs)

        return SimpleNamespace(run=run, inputs=[Port("memory_offsets", (None,) * ranks, "int64")])

    frames, results = pictures(4), []
    for ranks in (2, 1):
        spy = SimpleNamespace(network=bundle.network, engine=lambda name, r=ranks: engine(name, r))
        segmenter = Segmenter(spy)
        bank = segmenter.new_bank()
        features = segmenter.encode(frames[0])
        masks = segmenter.from_boxes(features, BOXES)
        segmenter.remember(features, masks, bank, [5, 3, 9])
        for number, (keys, rows) in enumerate((([5], [0]), ([3, 9], [1, 2])), 1):
            bank.advance()
            segmenter.remember(
                segmenter.encode(frames[number]),
                replace(masks.take(rows), prompted=False),
                bank,
                keys,
            )
        bank.advance()
        followed = segmenter.propagate(segmenter.encode(frames[3]), bank, [9, 5, 3])
        results.append(followed.logits_nhw)
    assert calls == [(3, 2), (2, 2), (1, 2)]
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)
    assert np.abs(results[0][0] - results[0][2]).max() > 1e-4  # rows follow the ids asked for


def test_memories_can_be_made_binary(model: Sam2VideoModel) -> None:
    segmenter = Segmenter(TorchSegmenterBundle(model))
    features = segmenter.encode(pictures(1)[0])
    masks = segmenter.from_boxes(features, BOXES)
    kept = {}
    for name, prompted, binary in (
        ("prompt", True, None), ("tracked", False, None), ("both", False, True),
    ):  # fmt: skip
        bank = segmenter.new_bank()
        segmenter.remember(features, replace(masks, prompted=prompted), bank, binary=binary)
        kept[name] = bank.groups([0])[0].memories
    np.testing.assert_array_equal(kept["prompt"], kept["both"])
    assert np.abs(kept["prompt"] - kept["tracked"]).max() > 1e-3


@pytest.mark.parametrize("size", [(256, 256), (135, 240), (33, 50), (30, 20)])
def test_masks_are_enlarged_around_the_object_only(size: tuple[int, int]) -> None:
    """Equal to resizing everything, at whole and odd factors, also when shrinking."""
    rng = np.random.default_rng(1)
    for number in range(20):
        logits = cv2.GaussianBlur(rng.normal(size=(64, 64)).astype(np.float32), (0, 0), 3) * 8
        if number % 2:
            logits[: 3 * number] = -1024
            logits[:, 50:] = -3
        mask = np.zeros(size, np.bool_)
        _enlarge(logits, mask)
        whole = cv2.resize(logits, size[::-1], interpolation=cv2.INTER_LINEAR)
        differs = mask != (whole > 0)
        assert np.abs(whole[differs]).max(initial=0) < 1e-4


def test_no_prompts_give_empty_masks_and_bad_ones_say_so(model: Sam2VideoModel) -> None:
    segmenter = Segmenter(TorchSegmenterBundle(model))
    features = segmenter.encode(pictures(1)[0])
    empty = segmenter.from_boxes(features, np.zeros((0, 4), np.float32))
    assert empty.masks_nhw.shape == (0, 96, 160)
    assert len(segmenter.propagate(features, segmenter.new_bank())) == 0
    with pytest.raises(InputError, match=r"\(N, 4\)"):
        segmenter.from_boxes(features, np.zeros(4, np.float32))
    with pytest.raises(InputError, match="finite"):
        segmenter.from_boxes(features, np.full((1, 4), np.nan, np.float32))
    with pytest.raises(InputError, match="labels 0 or 1"):
        segmenter.from_points(features, np.zeros((1, 1, 2)), np.array([[2]]))
    with pytest.raises(InputError, match="uint8"):
        segmenter.encode(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]
    masks = segmenter.from_boxes(features, BOXES)
    with pytest.raises(InputError, match="3 different ids"):
        segmenter.remember(features, masks, segmenter.new_bank(), [1, 1, 2])


def test_config_errors_name_what_is_missing() -> None:
    with pytest.raises(ModelError, match="width"):
        SegmenterConfig.from_manifest({"image_size": 64, "mean": [0, 0, 0], "std": [1, 1, 1]})
    values = {"image_size": 60, "mean": [0, 0, 0], "std": [1, 1, 1], "width": 64}
    with pytest.raises(ModelError, match="multiple of 16"):
        SegmenterConfig.from_manifest(values)
    values |= {"image_size": 64}
    assert SegmenterConfig.from_manifest(values).oldest_pointer == 15
    for wrong in ({"memory_dtype": "int8"}, {"resize": "lanczos"}, {"prompts": 0}):
        with pytest.raises(ModelError, match="export the network again"):
            SegmenterConfig.from_manifest(values | wrong)


def test_manifest_bounds_what_is_read() -> None:
    free, bounded = tiny(), tiny(max_cond_frame_num=2, num_maskmem=5)
    assert segmenter_manifest(free)["prompts"] == 4
    config = SegmenterConfig.from_manifest(segmenter_manifest(bounded))
    assert (config.prompts, config.memories, config.memory_dtype) == (2, 5, "bfloat16")
    bank = Segmenter(TorchSegmenterBundle(bounded)).new_bank(memories=99, prompts=1)
    assert (bank.prompts, bank.memories, bank.half) == (1, 5, True)
