"""Pre- and post-processing against transformers' own processors and Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetwin.perception.boxes import from_square, to_square
from edgetwin.perception.depth import DepthConfig, DepthEstimator
from edgetwin.perception.detector import normalise
from edgetwin.perception.resample import gaussian_square, resize
from edgetwin.tests.perception.hub_checkpoints import CLIP, IMAGENET
from edgetwin.twin.errors import InputError, ModelError

Image = pytest.importorskip("PIL.Image")
SIZES = [(48, 64), (64, 48), (90, 160), (270, 180), (200, 61)]


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Blobs, edges and some noise: no camera makes worse, white noise would."""
    source = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    waves = [np.sin(rows / f + k) * np.cos(cols / (f + 2)) for k, f in enumerate((3, 7, 19))]
    image = 128 + 90 * np.stack(waves, axis=2) + source.normal(0, 12, (height, width, 3))
    image[height // 4 : height // 2, width // 3 : width // 2] = (250, 10, 30)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
@pytest.mark.parametrize("old", SIZES)
@pytest.mark.parametrize("new", [(64, 64), (56, 98), (33, 200)])
def test_resize_is_pillow_s(old: tuple[int, int], new: tuple[int, int], kernel: str) -> None:
    image = picture(*old)
    number = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[kernel]
    want = np.asarray(Image.fromarray(image).resize((new[1], new[0]), number)).astype(int)
    off = np.abs(resize(image, new, kernel) - want)
    assert off.max() <= 2  # grey levels; two where both passes of an enlargement round
    assert off.mean() < 0.3


def test_resize_refuses_other_kernels() -> None:
    image = picture(8, 8)
    assert resize(image, (8, 8), "bicubic") is image
    with pytest.raises(InputError, match="bilinear or bicubic"):
        resize(image, (4, 4), "lanczos")
    with pytest.raises(ModelError, match="'area' or 'gaussian'"):
        to_square(image, 4, 0.0, "lanczos")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [32, 96, 160])
def test_owlv2_s_square(size: tuple[int, int], side: int) -> None:
    pytest.importorskip("scipy")
    module = pytest.importorskip("transformers.models.owlv2.image_processing_pil_owlv2")
    image = picture(*size)
    theirs = module.Owlv2ImageProcessorPil(size={"height": side, "width": side})
    want = np.asarray(theirs(image, return_tensors="np")["pixel_values"])
    square = to_square(image, side, 0.0, "gaussian")
    got = normalise(square, CLIP["image_mean"], CLIP["image_std"])
    assert got.shape == want.shape == (1, 3, side, side)
    np.testing.assert_allclose(got, want, atol=2e-4)  # float32 here, float64 there


def test_owlv2_s_defaults_are_those_we_assume() -> None:
    module = pytest.importorskip("transformers.models.owlv2.image_processing_pil_owlv2")
    theirs = module.Owlv2ImageProcessorPil()
    assert (theirs.size["height"], theirs.size["width"]) == (960, 960)
    assert (theirs.do_pad, int(theirs.resample)) == (True, 2)
    assert (list(theirs.image_mean), list(theirs.image_std)) == (
        CLIP["image_mean"],
        CLIP["image_std"],
    )
    square = gaussian_square(np.full((10, 20, 3), 200, np.uint8), 20, 0.0)
    assert (square[:10] == 200).all()
    assert (square[10:] == 0).all()  # black, as the published code pads


def test_boxes_come_back_as_transformers_scales_them() -> None:
    torch = pytest.importorskip("torch")
    module = pytest.importorskip("transformers.models.owlv2.image_processing_pil_owlv2")
    source = np.random.default_rng(0)
    boxes = source.uniform(0.2, 0.5, (1, 40, 4)).astype(np.float32)
    logits = source.normal(0, 3, (1, 40, 5)).astype(np.float32)

    class Outputs:
        pass

    outputs: Any = Outputs()
    outputs.logits, outputs.pred_boxes = torch.tensor(logits), torch.tensor(boxes)
    theirs = module.Owlv2ImageProcessorPil()
    (want,) = theirs.post_process_object_detection(outputs, 0.0, target_sizes=[(480, 640)])
    got = from_square(boxes[0], 480, 640)
    clipped = np.clip(want["boxes"].numpy(), 0, [640, 480, 640, 480])
    np.testing.assert_allclose(got, clipped, rtol=1e-5, atol=1e-3)
    scores = 1 / (1 + np.exp(-logits[0].max(axis=1)))
    np.testing.assert_allclose(scores, want["scores"].numpy(), rtol=1e-5)
    assert (logits[0].argmax(axis=1) == want["labels"].numpy()).all()


class Recorder:
    """A depth engine that keeps what it is given."""

    inputs = outputs = ()
    device = "cpu"

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.pixels = inputs["pixel_values"]
        return {"depth": np.ones((1, *self.pixels.shape[2:]), np.float32)}

    def close(self) -> None:
        pass


class DepthBundle:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self.recorder = config, Recorder()

    def network(self, name: str) -> Any:
        return self

    def engine(self, filename: str) -> Recorder:
        return self.recorder


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [56, 98])
@pytest.mark.parametrize("keep", [True, False])
def test_depth_sees_what_dpt_s_processor_gives(
    size: tuple[int, int], side: int, keep: bool
) -> None:
    module = pytest.importorskip("transformers.models.dpt.image_processing_pil_dpt")
    theirs = module.DPTImageProcessorPil(
        size={"height": side, "width": side}, keep_aspect_ratio=keep, ensure_multiple_of=14,
        resample=3, do_pad=False, **IMAGENET,
    )  # fmt: skip
    image = picture(*size)
    want = np.asarray(theirs(image, return_tensors="np")["pixel_values"])
    config = {
        "image_size": side, "mean": IMAGENET["image_mean"], "std": IMAGENET["image_std"],
        "fit": "keep_aspect" if keep else "stretch", "multiple": 14, "resize": "bicubic",
    }  # fmt: skip
    bundle: Any = DepthBundle(config)
    depth = DepthEstimator(bundle).depth_m(image)
    got = bundle.recorder.pixels
    assert got.shape == want.shape
    assert depth.shape == size
    one_level = 1 / 255 / min(IMAGENET["image_std"])
    np.testing.assert_allclose(got, want, atol=2.01 * one_level)
    assert np.abs(got - want).mean() < 0.3 * one_level


def test_a_graph_of_fixed_shape_takes_every_frame() -> None:
    config = {
        "image_size": 56, "mean": [0, 0, 0], "std": [1, 1, 1], "fit": "keep_aspect",
        "resize": "bicubic", "input_hw": [56, 98],
    }  # fmt: skip
    bundle: Any = DepthBundle(config)
    for size in SIZES:
        assert DepthEstimator(bundle).depth_m(picture(*size)).shape == size
        assert bundle.recorder.pixels.shape == (1, 3, 56, 98)


@pytest.mark.parametrize(
    "change", [{"resize": "lanczos"}, {"input_hw": [56, 99]}, {"input_hw": [56]}]
)
def test_malformed_depth_configs(change: dict[str, Any]) -> None:
    good = {"image_size": 56, "mean": [0, 0, 0], "std": [1, 1, 1]}
    with pytest.raises(ModelError, match="expected resize area"):
        DepthConfig.from_manifest(good | change)


def test_sam2_s_square_is_pillow_s_stretched_picture(tmp_path: Path) -> None:
    """torchvision's antialiased resize, which SAM 2's processor uses, is Pillow's."""
    from edgetwin.perception.segmenter import Segmenter

    class Encoder(Recorder):
        def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            self.pixels = inputs["pixel_values"]
            names = ("embedding", "image_embedding", "high_res_0", "high_res_1")
            return dict.fromkeys(names, np.zeros((1, 1, 1, 1), np.float32))

    config = {
        "image_size": 64, "mean": IMAGENET["image_mean"], "std": IMAGENET["image_std"],
        "width": 8, "resize": "bilinear",
    }  # fmt: skip
    bundle: Any = DepthBundle(config)
    bundle.recorder = Encoder()
    image = picture(90, 160)
    Segmenter(bundle).encode(image)
    small = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR))
    want = (small / 255 - IMAGENET["image_mean"]) / IMAGENET["image_std"]
    got = bundle.recorder.pixels[0].transpose(1, 2, 0)
    np.testing.assert_allclose(got, want, atol=2.01 / 255 / min(IMAGENET["image_std"]))
