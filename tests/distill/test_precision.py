"""Variants of one small graph, the process that times them, and sets with other files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetwin.deploy.export.graphs import VARIANTS, Variant, make_variant, shipped_as
from edgetwin.distill.evaluate.precision import ROLES, evaluate_precision, record, replaced
from edgetwin.distill.evaluate.precision_reasoner import write_tasks
from edgetwin.distill.evaluate.worlds import RenderedWorld
from edgetwin.distill.sim.questions import Question
from edgetwin.perception.bundle import load_bundle
from edgetwin.perception.engines import open_engine
from edgetwin.reasoner.bundle import load_bundle as load_reasoner
from edgetwin.twin.errors import InputError
from edgetwin.twin.schema import FrameTwin, ObjectTwin
from edgetwin.twin.window import TwinWindow

SLOW = pytest.mark.skipif(
    not os.environ.get("EDGETWIN_SLOW"), reason="renders worlds: set EDGETWIN_SLOW=1"
)


def graph(path: Path) -> Path:
    """y = relu(x A) B: a matrix product with a matrix, one with a stack of two."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.2, (64, 64)).astype(np.float16), "A"),
        numpy_helper.from_array(rng.normal(0, 0.2, (2, 64, 8)).astype(np.float16), "B"),
    ]
    weights = [
        numpy_helper.from_array(numpy_helper.to_array(w).astype(np.float32), w.name)
        for w in weights
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "A"], ["h"], name="one"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "B"], ["y"], name="stack"),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, "rows", 8])],
            weights,
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save(model, str(path))
    return path


def as_question(text: str, ids: tuple[int, ...]) -> Question:
    return Question(
        text=text,
        category="semantic",
        level=1,
        form="short",
        families=(),
        skeleton="find",
        plan=[],
        results="[]",
        answer_ref="$1",
        ids=ids,
        rationale="",
        wording="seen",
        composition="seen",
    )


FEEDS = [{"x": np.random.default_rng(k).normal(0, 1, (5, 64)).astype(np.float32)} for k in (1, 2)]


@pytest.mark.parametrize(
    ("variant", "error", "bytes_share"),
    [("float32", 0.0, 1.0), ("float16 weights", 0.0, 0.56), ("float16", 3e-3, 0.56)],
)
def test_float_variants(tmp_path: Path, variant: Variant, error: float, bytes_share: float) -> None:
    source = graph(tmp_path / "g.onnx")
    target = tmp_path / "made" / "g.onnx"
    make_variant(source, target, variant, FEEDS)
    was = open_engine(source, device="cpu", threads=1).run(FEEDS[0])["y"]
    now = open_engine(target, device="cpu", threads=1).run(FEEDS[0])["y"]
    assert now.dtype == np.float32
    assert np.abs(now - was).max() <= error * np.abs(was).max()
    assert target.stat().st_size <= bytes_share * source.stat().st_size
    assert [path.name for path in target.parent.iterdir()] == ["g.onnx"]


def test_a_set_that_ships_as_float16_weights_goes_back_to_float32(tmp_path: Path) -> None:
    source = graph(tmp_path / "g.onnx")
    half, again = tmp_path / "half.onnx", tmp_path / "again.onnx"
    make_variant(source, half, "float16 weights", FEEDS)
    make_variant(half, again, "float32", FEEDS)
    assert [shipped_as(path) for path in (source, half, again)] == [
        "float32",
        "float16 weights",
        "float32",
    ]
    was = open_engine(source, device="cpu", threads=1).run(FEEDS[0])["y"]
    now = open_engine(again, device="cpu", threads=1).run(FEEDS[0])["y"]
    np.testing.assert_array_equal(now, was)
    assert "Cast" not in {node.op_type for node in onnx.load(str(again)).graph.node}
    make_variant(half, tmp_path / "int8.onnx", "int8", FEEDS)
    kinds = {t.name for t in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer}
    assert "A_quantized" in kinds


def test_int8_is_calibrated_and_leaves_stacks_alone(tmp_path: Path) -> None:
    source = graph(tmp_path / "g.onnx")
    target = tmp_path / "int8.onnx"
    make_variant(source, target, "int8", FEEDS)
    was = open_engine(source, device="cpu", threads=1).run(FEEDS[0])["y"]
    now = open_engine(target, device="cpu", threads=1).run(FEEDS[0])["y"]
    assert 0 < np.abs(now - was).mean() < 0.05 * np.abs(was).mean()
    kinds = {t.name: t.data_type for t in onnx.load(str(target)).graph.initializer}
    assert kinds["A_quantized"] == TensorProto.INT8
    assert kinds["B"] == TensorProto.FLOAT
    assert not target.with_suffix(".prepared.onnx").exists()


def test_the_probe_measures_one_graph_in_its_own_process(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **FEEDS[0])  # type: ignore[arg-type]
    command = [sys.executable, "-m", "edgetwin.distill.evaluate.precision_probe", "graph"]
    command += [str(graph(tmp_path / "g.onnx")), str(tmp_path / "x.npz"), "--rounds", "3"]
    held = np.ones(200_000_000, np.uint8)  # the parent's memory must not be counted
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert 0 < measured["ms"] < 1000
    assert 20 < measured["before_mb"] <= measured["peak_mb"] < held.size / 1e6


def test_a_set_with_another_file_in_place(tmp_path: Path) -> None:
    own = load_bundle("embedded", threads=1)
    other = graph(tmp_path / "g.onnx")
    made = replaced(own, {"depth.onnx": other}, tmp_path / "set")
    made.verify()
    assert made.path("depth.onnx").read_bytes() == other.read_bytes()
    untouched = "segmenter_encoder.onnx"
    assert made.path(untouched).resolve() == (own.directory / untouched).resolve()
    replaced(own, {}, tmp_path / "set").verify()  # again, and back
    assert load_bundle(tmp_path / "set").words == own.words


def test_every_graph_of_the_set_is_recorded(tmp_path: Path) -> None:
    own = load_bundle("embedded", threads=1)
    assert {n for n in own.directory.iterdir() if n.suffix == ".onnx"} == {
        own.directory / name for name in ROLES
    }
    frames = [FrameTwin(index=t, timestamp_s=t / 8, width=256, height=256) for t in range(2)]
    images = np.full((2, 256, 256, 3), 90, np.uint8)
    world = RenderedWorld(0, images, np.ones((2, 256, 256), np.float16), TwinWindow(frames))
    feeds = record(own, [world], tmp_path)
    assert [len(feeds[name]) for name in ("detector_image.onnx", "depth.onnx")] == [2, 2]
    assert len(feeds["detector_text.onnx"]) >= 1  # its answers are cached
    assert len(feeds["segmenter_decoder.onnx"]) == 0  # nothing was there to segment


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"half\.onnx"):
        evaluate_precision(graphs=["half.onnx"])
    with pytest.raises(InputError, match="int4"):
        evaluate_precision(variants=["int4"])
    assert len(VARIANTS) == 4


def test_the_language_model_answers_in_its_own_process(tmp_path: Path) -> None:
    mug = ObjectTwin(
        id=3,
        semantic_label="mug",
        confidence=1,
        box_xyxy=(0, 0, 9, 9),
        centroid=(4, 4),
        area=81,
        first_seen=0,
        last_seen=0,
    )
    pan = mug.model_copy(update={"id": 5, "semantic_label": "pan", "centroid": (90, 90)})
    frame = FrameTwin(index=0, timestamp_s=0, width=256, height=256, objects={3: mug, 5: pan})
    question = as_question("Find the mug.", (3,))
    tasks = write_tasks([(TwinWindow([frame]), [question])], ("mug", "pan"), tmp_path / "t.json")
    command = [sys.executable, "-m", "edgetwin.distill.evaluate.precision_reasoner"]
    command += [str(load_reasoner().path), str(tasks)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert measured["ids"] == [[3]]
    assert 20 < measured["before_mb"] < measured["peak_mb"]


@pytest.mark.slow
@SLOW
def test_one_graph_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    found = evaluate_precision(
        graphs=["depth.onnx"],
        variants=["float32", "float16 weights", "int8"],
        worlds=1,
        memory_worlds=1,
        calibration_worlds=1,
        rounds=2,
        whole=False,
        language=False,
        work=tmp_path / "work",
        cache=tmp_path / "worlds",
    )
    rows = {row["variant"]: row for row in found.figures["rows"]}
    assert json.loads((tmp_path / "work" / "rows.json").read_text()) == found.figures["rows"]
    assert rows["float32"]["score"] == rows["float16 weights"]["score"] > 0.3
    assert abs(rows["int8"]["score"] - rows["float32"]["score"]) < 0.2
    assert rows["int8"]["size_mb"] < rows["float16 weights"]["size_mb"] < rows["float32"]["size_mb"]
    assert all(row["ms_1"] > 0 and row["peak_mb"] > row["before_mb"] for row in rows.values())
