"""The depth runtime: input sizes, units and a tiny exported network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetwin.perception.bundle import load_bundle, write_network_entry
from edgetwin.perception.depth import DepthConfig, DepthEstimator, input_size
from edgetwin.twin.errors import InputError, ModelError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("height", "width", "want"),
    [
        (518, 518, (518, 518)),
        (480, 640, (518, 686)),  # by height: 518 / 480 is nearer to 1 than 518 / 640
        (720, 1280, (518, 924)),
        (1080, 600, (938, 518)),  # by width
        (37, 1000, (14, 518)),  # never below one patch
    ],
)
def test_sizes_of_the_published_preprocessing(
    height: int, width: int, want: tuple[int, int]
) -> None:
    config = DepthConfig(518, MEAN, STD, fit="keep_aspect")
    assert input_size(height, width, config) == want
    processor = pytest.importorskip("transformers.models.dpt.image_processing_pil_dpt")
    if 14 not in want:
        got = processor.get_resize_output_image_size(
            np.zeros((3, height, width)), (518, 518), keep_aspect_ratio=True, multiple=14,
            **({"input_data_format": "channels_first"} if "input_data_format" in
               processor.get_resize_output_image_size.__code__.co_varnames else {}),
        )  # fmt: skip
        assert (got.height, got.width) == want


def test_embedded_size_is_fixed() -> None:
    assert input_size(480, 640, DepthConfig(224, MEAN, STD)) == (224, 224)


def test_constants_are_the_published_ones() -> None:
    utils = pytest.importorskip("transformers.image_utils")
    from edgetwin.perception.graphs import configs_depth

    assert list(configs_depth.IMAGENET_MEAN) == list(utils.IMAGENET_DEFAULT_MEAN)
    assert list(configs_depth.IMAGENET_STD) == list(utils.IMAGENET_DEFAULT_STD)
    assert configs_depth.PATCH == 14


@pytest.fixture(scope="module")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    import torch
    from transformers import DepthAnythingForDepthEstimation

    from edgetwin.perception.graphs.configs_depth import embedded_depth_config
    from edgetwin.perception.graphs.depth import export_depth

    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(0)
    config = embedded_depth_config(image_size=56, patch=14, width=32, layers=4, fusion=8)
    export_depth(
        DepthAnythingForDepthEstimation(config).eval(), folder
    )  # raises where parity fails
    write_network_entry(
        folder, "depth", ["depth.onnx"], {"image_size": 56, "mean": list(MEAN), "std": list(STD)}
    )
    return folder


def test_exported_graphs_say_nothing_of_the_machine(bundle_dir: Path) -> None:
    data = (bundle_dir / "depth.onnx").read_bytes()
    assert b"Conv" in data
    for word in (b"stack_trace", b"site-packages", str(Path.cwd()).encode()):
        assert word not in data


def test_depth_has_the_frame_s_size(bundle_dir: Path) -> None:
    estimator = DepthEstimator(load_bundle(bundle_dir, device="cpu", threads=1))
    image = np.random.default_rng(0).integers(0, 255, (48, 100, 3), np.uint8)
    depth = estimator.depth_m(image)
    assert depth.shape == (48, 100)
    assert depth.dtype == np.float32
    assert estimator.metric
    assert (depth >= 0).all()
    assert (depth <= 2).all()  # a sigmoid times max_depth
    np.testing.assert_array_equal(depth, estimator.depth_m(image))


def test_relative_depth_grows_with_distance(bundle_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "depth.onnx").write_bytes((bundle_dir / "depth.onnx").read_bytes())
    entry = {"image_size": 56, "mean": list(MEAN), "std": list(STD), "metric": False}
    write_network_entry(tmp_path, "depth", ["depth.onnx"], entry)
    image = np.random.default_rng(0).integers(0, 255, (56, 56, 3), np.uint8)
    raw = DepthEstimator(load_bundle(bundle_dir, device="cpu", threads=1)).depth_m(image)
    estimator = DepthEstimator(load_bundle(tmp_path, device="cpu", threads=1))
    relative = estimator.depth_m(image)
    assert not estimator.metric
    assert relative.min() == pytest.approx(1)
    np.testing.assert_allclose(relative, raw.max() / np.maximum(raw, 1e-3 * raw.max()), rtol=1e-4)


def test_pictures_of_a_wrong_kind(bundle_dir: Path) -> None:
    estimator = DepthEstimator(load_bundle(bundle_dir, device="cpu", threads=1))
    with pytest.raises(InputError, match="uint8"):
        estimator.depth_m(np.zeros((56, 56), np.uint8))


@pytest.mark.parametrize(
    "entry",
    [
        {"mean": MEAN, "std": STD},
        {"image_size": 57, "mean": MEAN, "std": STD},
        {"image_size": 56, "mean": (0.5,), "std": STD},
        {"image_size": 56, "mean": MEAN, "std": STD, "fit": "crop"},
    ],
)
def test_malformed_manifests(entry: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        DepthConfig.from_manifest(entry)
