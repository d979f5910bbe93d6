"""The segmenter: graphs against transformers, ONNX against torch, memory that stays bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from numpy.typing import NDArray  # noqa: E402
from transformers import Sam2VideoModel  # noqa: E402
from transformers.models.sam2_video.modeling_sam2_video import (  # noqa: E402
    Sam2VideoInferenceSession,
)

from edgetwin.perception.bundle import Bundle, load_bundle, write_network_entry  # noqa: E402
from edgetwin.perception.graphs.configs_segmenter import embedded_segmenter_config  # noqa: E402
from edgetwin.perception.graphs.onnx_file import parity  # noqa: E402
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
from edgetwin.perception.graphs.segmenter_export import export_segmenter  # noqa: E402
from edgetwin.perception.memory_bank import MemoryBank  # noqa: E402
from edgetwin.perception.segmenter import Segmenter, SegmenterConfig  # noqa: E402
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


@pytest.fixture(scope="module")
def exported(model: Sam2VideoModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    files = export_segmenter(model, folder)  # raises if any graph differs from its file
    write_network_entry(folder, "segmenter", files, segmenter_manifest(model))
    return load_bundle(folder, device="cpu", threads=1)


def pictures(count: int, height: int = 96, width: int = 160) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (count, height // 16, width // 16, 3), dtype=np.uint8)
    return coarse.repeat(16, 1).repeat(16, 2)


BOXES = np.array([[10, 8, 60, 50], [70, 20, 150, 90], [0, 0, 30, 30]], np.float32)


def test_onnx_and_torch_track_alike(exported: Bundle, model: Sam2VideoModel) -> None:
    """Encoder, decoder, memory encoder and memory attention, frame by frame."""
    engines = [Segmenter(exported), Segmenter(TorchSegmenterBundle(model))]
    banks = [segmenter.new_bank() for segmenter in engines]
    for number, picture in enumerate(pictures(4)):
        rows = []
        for segmenter, bank in zip(engines, banks, strict=True):
            features = segmenter.encode(picture)
            if number == 0:
                masks = segmenter.from_boxes(features, BOXES, margin=None)
            else:
                bank.advance()
                masks = segmenter.propagate(features, bank)
            segmenter.remember(features, masks, bank)
            rows.append((features, masks))
        (features, a), (reference, b) = rows
        np.testing.assert_allclose(features.embedding, reference.embedding, atol=1e-4)
        np.testing.assert_allclose(a.logits_nhw, b.logits_nhw, atol=2e-4)
        np.testing.assert_allclose(a.pointers_nc, b.pointers_nc, atol=2e-4)
        np.testing.assert_allclose(a.scores_n, b.scores_n, atol=1e-4)
        assert a.masks_nhw.shape == (3, 96, 160)
        assert (a.masks_nhw == b.masks_nhw).mean() > 0.999
        assert a.prompted == (number == 0)
    clicks = np.array([[20, 20], [100, 50]], np.float32)
    results = [s.from_points(s.encode(pictures(1)[0]), clicks).logits_nhw for s in engines]
    np.testing.assert_allclose(results[0], results[1], atol=2e-4)


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


def test_tracking_equals_transformers_session() -> None:
    """Our bank against the session of transformers over nine frames (its memory is bfloat16)."""
    model = tiny(fpn=128)  # wider than a memory, so that pointers are split
    with torch.no_grad():  # make the past matter more than at random initialisation
        model.memory_temporal_positional_encoding.normal_(std=1.0)
    segmenter = Segmenter(TorchSegmenterBundle(model))
    mean, std = (np.array(v, np.float32) for v in (segmenter.config.mean, segmenter.config.std))
    session = Sam2VideoInferenceSession(video_height=SIDE, video_width=SIDE, dtype=torch.float32)
    bank = segmenter.new_bank()
    box = BOXES[:1]
    for number, picture in enumerate(pictures(9, SIDE, SIDE)):
        pixels = torch.from_numpy((picture / np.float32(255) - mean) / std).permute(2, 0, 1)
        if number == 0:
            index = session.obj_id_to_idx(1)
            prompt = {
                "point_coords": torch.from_numpy(box).reshape(1, 1, 2, 2),
                "point_labels": torch.tensor([[[2, 3]]]),
            }
            session.add_point_inputs(index, 0, prompt)
            session.obj_with_new_inputs = [1]
        other = model(session, frame=pixels[None])
        features = segmenter.encode(picture)
        if number == 0:
            masks = segmenter.from_boxes(features, box, margin=None)
        else:
            bank.advance()
            masks = segmenter.propagate(features, bank)
        segmenter.remember(features, masks, bank)
        expected = other.pred_masks.reshape(masks.logits_nhw.shape).numpy()
        np.testing.assert_allclose(masks.logits_nhw, expected, atol=5e-3)


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


def entry(value: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.full((2, 3, 3), value, np.float32), np.full(4, value, np.float32)


def test_bank_stays_bounded_over_100_frames() -> None:
    bank, sizes = MemoryBank(memories=7, pointers=16, max_objects=3), []
    for frame in range(100):
        for key in (1, 2):
            bank.store(key, *entry(frame), prompted=frame % 30 == 0)
        sizes.append(bank.nbytes())
        bank.advance()
    assert bank.entries(1) == bank.entries(2) == (7, 16)
    assert max(sizes[20:]) == min(sizes[20:]) == 2 * (7 * (72 + 16) + 15 * 16)
    (group,) = bank.groups([2, 1])
    assert group.ids == (2, 1)
    # Frame 100 now: prompted at 90, tracked at 99, 98, ... (90 was a prompt, not tracked).
    np.testing.assert_array_equal(group.memory_offsets, [0, 6, 5, 4, 3, 2, 1])
    np.testing.assert_array_equal(group.memories[0, :, 0, 0, 0], [90, 94, 95, 96, 97, 98, 99])
    np.testing.assert_array_equal(group.pointers[1, :4, 0], [90, 99, 98, 97])
    np.testing.assert_array_equal(group.pointer_offsets[:4], [10, 1, 2, 3])
    assert group.pointer_offsets.max() == 15
    for key in (7, 8):
        bank.store(key, *entry(0), prompted=True)
    assert bank.ids() == (2, 7, 8)
    assert bank.evicted == 1
    bank.forget([2, 99])
    assert bank.ids() == (7, 8)


def test_bank_groups_by_age() -> None:
    bank = MemoryBank()
    bank.store(1, *entry(1), prompted=True)
    bank.advance()
    bank.store(2, *entry(2), prompted=True)
    bank.store(1, *entry(3), prompted=False)
    bank.advance()
    groups = {g.ids: g for g in bank.groups(bank.ids())}
    assert set(groups) == {(1,), (2,)}
    np.testing.assert_array_equal(groups[(1,)].memory_offsets, [0, 1])
    np.testing.assert_array_equal(groups[(2,)].memory_offsets, [0])
    np.testing.assert_array_equal(groups[(1,)].pointer_offsets, [2, 1])
    with pytest.raises(InputError, match=r"expected ids of the bank \(\(1, 2\)\), got \[5\]"):
        bank.groups([5])
    with pytest.raises(InputError, match="at least 1"):
        MemoryBank(memories=0)


def test_groups_give_the_same_result_as_one_object_alone(model: Sam2VideoModel) -> None:
    source = torch.Generator().manual_seed(5)
    embedding = torch.randn(1, 64, 8, 8, generator=source)
    memories = torch.randn(3, 2, 64, 8, 8, generator=source)
    pointers = torch.randn(3, 2, 64, generator=source)
    ages = torch.tensor([0, 1]), torch.tensor([2.0, 1.0])
    graph = MemoryAttentionGraph(model)
    with torch.no_grad():
        together = graph(embedding, memories, ages[0], pointers, ages[1])
        for k in range(3):
            alone = graph(embedding, memories[k : k + 1], ages[0], pointers[k : k + 1], ages[1])
            torch.testing.assert_close(together[k : k + 1], alone, atol=1e-5, rtol=1e-4)


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


def test_parity_tells_other_weights_apart(exported: Bundle) -> None:
    other = build_segmenter(tiny().config, seed=9).eval()
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    path = exported.path("segmenter_encoder.onnx")
    assert parity(EncoderGraph(other), {"pixel_values": pixels}, path) > 1e-2
