"""Features judged by the masks that the decoder makes of them, on the embedded set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetwin.deploy.export.calibrate import Calibration, calibrate
from edgetwin.deploy.export.fallback import Bound, choose
from edgetwin.deploy.export.later import masks_of
from edgetwin.perception.bundle import Bundle, load_bundle

EXAMPLE = Path(__file__).parents[3] / "examples" / "spatial.mp4"
ENCODER, ATTENTION = "segmenter_encoder.onnx", "segmenter_memory_attention.onnx"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("embedded", device="cpu", threads=1)


@pytest.fixture(scope="module")
def recorded(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    return calibrate(bundle, [EXAMPLE], tmp_path_factory.mktemp("inputs"), 8)


def test_features_become_the_masks_that_the_decoder_makes_of_them(
    bundle: Bundle, recorded: Calibration
) -> None:
    """Of a picture's own features and prompts: what was decoded when they were recorded."""
    decoder = bundle.engine("segmenter_decoder.onnx")
    fed = [dict(f) for f in recorded.held_out["segmenter_decoder.onnx"]]
    prompted = next(f for f in fed if f["labels"].max() >= 0 and len(f["embedding"]) == 1)
    features = {"image_embedding": prompted["embedding"]}
    features |= {name: prompted[name] for name in ("high_res_0", "high_res_1")}
    later = masks_of(ENCODER, bundle, {"segmenter_decoder.onnx": [prompted]})
    assert later is not None
    got, want = later(features)["mask_logits"], decoder.run(prompted)["mask_logits"]
    np.testing.assert_array_equal(got, want.reshape(got.shape))
    assert got.shape[0] == prompted["points"].shape[1]


def test_every_object_of_memory_is_decoded(bundle: Bundle, recorded: Calibration) -> None:
    later = masks_of(ATTENTION, bundle, recorded.held_out)
    assert later is not None
    fed = dict(recorded.held_out[ATTENTION][0])
    conditioned = bundle.engine(ATTENTION).run(fed)
    masks = later(conditioned)["mask_logits"]
    assert len(masks) % len(conditioned["conditioned"]) == 0
    assert (masks > 0).any()


def test_a_graph_whose_masks_suffer_falls_back(
    bundle: Bundle, recorded: Calibration, tmp_path: Path
) -> None:
    """The same errors of features, judged with and without the masks they lead to."""
    strict = {"int8": Bound(1.0, 0.9999)}
    feeds, held_out = recorded.feeds[ENCODER], recorded.held_out[ENCODER]
    given = (bundle.path(ENCODER), tmp_path / "e.onnx", "int8", feeds, held_out)
    alone = choose(*given, bounds=strict)
    assert alone.precision == "int8"
    assert alone.tried[0].errors is not None
    assert alone.tried[0].errors.mask_iou is None
    judged = choose(*given, bounds=strict, later=masks_of(ENCODER, bundle, recorded.held_out))
    assert judged.precision == "fp16"
    assert "mask IoU" in str(judged.fell_back)
    int8, fp16 = (one.errors for one in judged.tried)
    assert int8 is not None
    assert fp16 is not None
    assert int8.outputs == alone.tried[0].errors.outputs
    assert 0.9 < (int8.mask_iou or 0) < (fp16.mask_iou or 0)


def test_other_graphs_are_judged_by_their_outputs(bundle: Bundle, recorded: Calibration) -> None:
    assert masks_of("depth.onnx", bundle, recorded.held_out) is None
    assert masks_of(ENCODER, bundle, {}) is None  # no prompt was recorded
