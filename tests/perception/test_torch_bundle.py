"""The embedded set in torch: the same networks as its graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.perception.bundle import Bundle, load_bundle
from edgetwin.twin.errors import ModelError

pytest.importorskip("torch", reason="torch graphs need the [export] extra")
from edgetwin.perception.graphs.torch_bundle import TorchBundle, load_safetensors


@pytest.fixture(scope="module")
def pair() -> tuple[Bundle, Bundle]:
    onnx = load_bundle("embedded", device="cpu", threads=1)
    return onnx, TorchBundle(onnx)


@pytest.mark.parametrize(
    "name", ["depth.onnx", "detector_text.onnx", "segmenter_encoder.onnx", "detector_image.onnx"]
)
def test_torch_and_graph_give_the_same(pair: tuple[Bundle, Bundle], name: str) -> None:
    onnx, torch = (one.engine(name) for one in pair)
    rng = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    for port in onnx.inputs:
        shape = tuple(n if isinstance(n, int) else 3 for n in port.shape)
        if port.dtype == "int64":
            feeds[port.name] = rng.integers(1, 20, shape)
        else:
            feeds[port.name] = rng.standard_normal(shape, dtype=np.float32)
    expected, got = torch.run(feeds), onnx.run(feeds)
    for (output, a), b in zip(expected.items(), got.values(), strict=True):
        scale = max(1.0, float(np.abs(a).max()))
        assert float(np.abs(a - b).max()) / scale < 1e-3, output


def test_what_is_no_weights_is_refused(pair: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a graph's file name"):
        pair[1].engine("more.onnx")
    (tmp_path / "depth.safetensors").write_bytes(b"\0" * 100)
    for path in (tmp_path / "depth.safetensors", pair[0].path("detector.safetensors")):
        with pytest.raises(ModelError, match="expected an exported depth"):
            load_safetensors(path, "depth")
