"""Counts of graphs: by hand, against torch's own counter, and in plain values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from edgetwin.deploy.planner.counts import count, free_dimensions
from edgetwin.deploy.planner.records import GraphCounts, between
from edgetwin.deploy.planner.uses import USES, SetCounts, count_set, known_sets, sizes_of
from edgetwin.perception.bundle import embedded_dir, load_bundle
from edgetwin.twin.errors import InputError, ModelError

from .graphs import perceptron, save


def test_matrix_products_by_hand(tmp_path: Path) -> None:
    found = count(perceptron(tmp_path / "p.onnx"), {"rows": 10})
    assert found.unknown == 0
    assert found.sizes == {"rows": 10}
    # (10, 8) x (8, 16), and ten products of (4, 4) by (4, 4).
    assert found.kinds["matmul"].flops == 2 * 10 * 8 * 16 + 10 * 2 * 4 * 4 * 4
    assert found.kinds["matmul"].nodes == 2
    assert found.kinds["elementwise"].flops == 10 * 16 * 2  # Add and ReLU
    assert found.total.weight_bytes == (8 * 16 + 16) * 4  # shapes and reshapes cost nothing
    # x + a, a + c, c + d, and the last product reads what it multiplies twice.
    assert found.total.activation_bytes == 4 * 10 * (8 + 16 + 2 * (16 + 16) + 3 * 16)
    assert found.peak_bytes == 4 * 10 * (16 + 16)
    assert (found.input_bytes, found.output_bytes) == (4 * 80, 4 * 160)
    assert set(found.kinds) == {"matmul", "elementwise"}


@pytest.mark.parametrize(("group", "stride"), [(1, 1), (4, 2)])
def test_convolutions_by_hand(tmp_path: Path, group: int, stride: int) -> None:
    weight = np.ones((8, 4 // group, 3, 3), np.float32)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], strides=[stride] * 2, group=group
    )
    side = 16 // stride
    shapes = [("x", [1, 4, 16, 16])], [("y", [1, 8, side, side])]
    found = count(save(tmp_path / "c.onnx", [node], *shapes, [("w", weight)]))
    assert found.kinds["conv"].flops == 2 * 8 * side * side * 9 * 4 // group


def test_transposed_convolutions_and_einsum(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["a"], strides=[2, 2]),
        helper.make_node("Einsum", ["a", "q"], ["y"], equation="bchw,nc->bnhw"),
    ]
    constants = [("w", np.ones((4, 6, 2, 2), np.float32)), ("q", np.ones((3, 6), np.float32))]
    path = save(
        tmp_path / "t.onnx", nodes, [("x", [1, 4, 5, 5])], [("y", [1, 3, 10, 10])], constants
    )
    found = count(path)
    assert found.kinds["conv"].flops == 2 * 4 * 25 * 6 * 4
    assert found.kinds["matmul"].flops == 2 * 100 * 3 * 6


def test_int8_work_is_told_apart_and_weights_count_as_stored(tmp_path: Path) -> None:
    scale, zero = ("s", np.float32(0.1)), ("z", np.int8(0))
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["y"]),
    ]
    constants = [
        scale, zero, ("wq", np.ones((8, 8), np.int8)), ("v", np.ones((8, 8), np.float32)),
    ]  # fmt: skip
    constants = [(n, np.asarray(a)) for n, a in constants]
    found = count(save(tmp_path / "q.onnx", nodes, [("x", [4, 8])], [("y", [4, 8])], constants))
    assert found.kinds["matmul"].flops == 2 * 2 * 4 * 8 * 8
    assert found.kinds["matmul"].int8_flops == 2 * 4 * 8 * 8
    assert found.total.weight_bytes == pytest.approx(64 + 256, abs=8)  # and the scales


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"]),
        helper.make_node("Cast", ["n"], ["f"], to=1),
        helper.make_node("Relu", ["f"], ["y"]),
    ]
    path = save(tmp_path / "n.onnx", nodes, [("x", [4])], [("y", [1, "found"])])
    assert count(path).unknown >= 2


def test_a_free_dimension_needs_a_size(tmp_path: Path) -> None:
    path = perceptron(tmp_path / "p.onnx")
    assert free_dimensions(path) == ("rows",)
    with pytest.raises(InputError, match="free dimension 'rows'"):
        count(path)
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(ModelError, match="export it again"):
        count(path, {"rows": 1})


def test_weights_outside_the_file_are_counted_without_being_read(tmp_path: Path) -> None:
    model = onnx.load(str(perceptron(tmp_path / "p.onnx")))
    inside = count(tmp_path / "p.onnx", {"rows": 2})
    onnx.save(
        model, str(tmp_path / "e.onnx"), save_as_external_data=True, location="w", size_threshold=64
    )
    (tmp_path / "w").unlink()
    assert count(tmp_path / "e.onnx", {"rows": 2}) == inside


def test_agrees_with_torchs_counter(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from edgetwin.perception.graphs.onnx_file import export_graph

    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    module = torch.nn.Sequential(torch.nn.Linear(8, 32), layer)
    x = torch.randn(2, 12, 8)
    # The fast path runs fused kernels, which the counter does not know; so does the default attention.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        math = sdpa_kernel([SDPBackend.MATH])
        with math, FlopCounterMode(display=False) as counter, torch.no_grad():
            module(x)
        path = export_graph(module, {"x": x}, tmp_path / "m.onnx", ["y"])
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert count(path).kinds["matmul"].flops == counter.get_total_flops()


def test_objects_lie_on_a_line() -> None:
    folder = embedded_dir()
    for use in USES:
        low, middle, high = (
            count(folder / use.graph, sizes_of(use, n))
            for n in (1, min(5, use.most), min(8, use.most))
        )
        mixed = between(low, high, 1, min(8, use.most), min(5, use.most))
        assert mixed.total.flops == pytest.approx(middle.total.flops, rel=1e-6), use
        assert mixed.total.activation_bytes == pytest.approx(
            middle.total.activation_bytes, rel=1e-6
        ), use


def test_a_set_survives_as_plain_values() -> None:
    counts = count_set(load_bundle("embedded"))
    again = SetCounts.from_document(json.loads(json.dumps(counts.document())))
    assert again == counts
    assert all(c.unknown == 0 for pair in counts.uses.values() for c in pair)
    assert (counts.look_every, counts.memory, counts.sizes["depth"]) == (1, True, 256)
    broken = counts.document()
    del broken["graphs"]["depth.onnx"]["measurement"][0]["kinds"]
    with pytest.raises(ModelError, match="export the bundle again"):
        SetCounts.from_document(broken)
    with pytest.raises(ModelError, match="counts of a graph"):
        GraphCounts.from_document({"sizes": {}})


def test_counts_in_the_package_are_those_of_the_embedded_set() -> None:
    known = known_sets()
    assert known["embedded"] == count_set(load_bundle("embedded"))
