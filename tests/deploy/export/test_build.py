"""A bundle from the embedded set, as a user makes it: it runs, it is proven, it is guarded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgetwin.deploy.export.clip import Clip
from edgetwin.deploy.export.manifest import load
from edgetwin.deploy.export.verify import verify
from edgetwin.deploy.models import load_models
from edgetwin.deploy.stream.source import open_source
from edgetwin.perception.bundle import load_bundle
from edgetwin.twin.errors import InputError, ModelError

pytest.importorskip("torch", reason="exporting needs the [export] extra")
pytest.importorskip("gguf", reason="exporting needs the [export] extra")
from edgetwin.deploy.export import build
from edgetwin.deploy.export.build import Built, Request, export_set, graph_precision

EXAMPLE = Path(__file__).parents[3] / "examples" / "spatial.mp4"
GRAPHS = {
    "depth.onnx",
    "detector_image.onnx",
    "detector_text.onnx",
    "segmenter_decoder.onnx",
    "segmenter_encoder.onnx",
    "segmenter_memory_attention.onnx",
    "segmenter_memory_encoder.onnx",
}


def clip(frames: int = 8) -> Clip:
    shown = [frame for frame, _ in zip(open_source(EXAMPLE), range(frames), strict=False)]
    return Clip("spatial", shown, ("What is left of the blue glass?", "What could I drink from?"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("export") / "bundle"
    request = Request(
        models="embedded",
        target="jetson-orin-nx",
        precision="int8",
        out=out,
        gguf=("q8_0",),
        clips=[EXAMPLE],
        frames=24,
    )
    return export_set(request, check=[clip()])


def test_the_bundle_holds_every_graph_as_it_says(built: Built) -> None:
    manifest = built.bundle.manifest
    assert set(manifest.graphs) == GRAPHS
    for name, graph in manifest.graphs.items():
        assert graph.wanted == "int8", name
        assert (graph.precision == "int8") == (graph.fell_back is None), name
        assert graph.inputs, name
        assert graph.opset >= 18
    assert any(graph.precision == "int8" for graph in manifest.graphs.values())
    assert manifest.calibration is not None
    assert set(manifest.calibration.clips) == {"spatial.mp4"}
    assert manifest.calibration.frames == 24
    assert manifest.preprocessing["depth"]["image_size"] == 256
    assert set(manifest.licences) == {"depth", "detector", "segmenter"}
    assert manifest.counts
    assert {one.runtime for one in manifest.languages} == {
        "onnxruntime-genai",
        "llama.cpp",
        "tensorrt-edge-llm",
    }
    assert not [name for name in manifest.files if name.endswith("card.md")]
    assert [p.name for p in built.bundle.folder.parent.iterdir()] == ["bundle"]


def test_it_was_proven_and_the_report_is_there(built: Built) -> None:
    found = built.verification
    assert found is not None
    assert found.missed == []
    assert found.twins["ONNX Runtime"]["objects"] > 0
    assert found.twins["ONNX Runtime"]["mask_iou_mean"] >= 0.97
    assert set(found.graphs) == GRAPHS
    document = json.loads((built.bundle.folder / "report.json").read_text())
    assert document["missed"] == []
    assert "every bound is met" in (built.bundle.folder / "report.md").read_text()


def test_it_runs_as_a_set(built: Built) -> None:
    ready = load_models(built.bundle.folder)
    twins = [ready.perceiver.observe(frame) for frame in clip(4).frames]
    assert len(twins[-1].objects) >= 3
    assert load_bundle(built.bundle.folder).directory.name == "perception"


def kinds(folder: Path) -> list[str]:
    """One listed file of every kind."""
    names = sorted(load(folder).manifest.files)
    return list({Path(name).suffix + name.split("/")[0]: name for name in names}.values())


def test_one_changed_byte_in_any_kind_of_file_is_refused(built: Built, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(built.bundle.folder, folder)
    changed = kinds(folder)
    assert {Path(name).suffix for name in changed} >= {".onnx", ".json", ".gguf", ".safetensors"}
    for name in changed:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        with pytest.raises(ModelError, match="damaged or was changed"):
            load(folder).verify()
        with pytest.raises(ModelError, match="damaged or was changed"):
            verify(folder, load_bundle("embedded"), feeds={}, clips=[])
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
    assert load(folder).verify() > 1_000_000


def test_a_missed_bound_is_reported(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetwin.deploy.export import verify as module

    folder = built.bundle.folder
    monkeypatch.setitem(module.MASKS, "int8", 1.01)
    found = verify(folder, load_bundle("embedded", device="cpu"), feeds={}, clips=[clip(2)])
    assert [text for text in found.missed if text.startswith("mask IoU")]
    assert "1 bounds missed" in found.markdown() or "bounds missed" in found.markdown()


def test_an_export_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> Sequence[Any]:
        raise ModelError("no language today")

    monkeypatch.setattr(build, "_write_languages", failing)
    monkeypatch.setattr(build, "choose", _copied)
    out = tmp_path / "b"
    request = Request("embedded", "cpu", "fp32", out, clips=[EXAMPLE], frames=2)
    with pytest.raises(ModelError, match="no language today"):
        export_set(request)
    assert list(tmp_path.iterdir()) == []


def _copied(source: Path, target: Path, *_: Any, **__: Any) -> Any:
    from types import SimpleNamespace

    shutil.copyfile(source, target)
    return SimpleNamespace(precision="fp32", fell_back=None, error=None)


def test_a_wrong_request_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(InputError, match="new or empty folder"):
        export_set(Request("embedded", "cpu", "fp32", tmp_path / "full"))
    with pytest.raises(InputError, match="1920x1080"):
        export_set(Request("embedded", "cpu", "fp32", tmp_path / "b", size="large"))
    assert (tmp_path / "full" / "x").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_int4_is_for_language_alone() -> None:
    assert graph_precision("int4", "cpu") == "fp32"
    assert graph_precision("int4", "jetson-thor") == "fp16"
    assert graph_precision("int8", "cpu") == "int8"
