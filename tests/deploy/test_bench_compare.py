"""Comparisons and sweeps: equal work, every figure in its place, pictures drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from edgetwin.deploy import bench, bench_compare
from edgetwin.deploy.bench_commands import register
from edgetwin.deploy.bench_compare import (
    Comparison,
    PerceivedClip,
    compare_cuda_graphs,
    compare_sets,
    compare_transformers,
)
from edgetwin.deploy.bench_script import Film
from edgetwin.deploy.bench_sweep import Point, Sweep, sweep
from edgetwin.deploy.models import load_models
from edgetwin.perception.bundle import load_bundle
from edgetwin.twin.errors import InputError, ModelError

from .scenes import SquareFinder, write_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "c.mp4", 3)


def test_two_sets_in_turns(clip: Path) -> None:
    embedded = Path(str(load_bundle("embedded").directory))
    found = compare_sets([clip], ["embedded", embedded], ["What is red?"])
    assert list(found.columns) == ["embedded", str(embedded)]  # told apart by their paths
    first, second = found.columns.values()
    assert first["times as fast"] == 1.0
    assert second["same answers"] == 1.0
    rates = [column["perception, frames/s"] or 0.0 for column in (first, second)]
    assert second["times as fast"] == pytest.approx(rates[1] / rates[0], abs=0.01)
    assert "| perception, frames/s |" in found.markdown()
    assert len(found.details) == 2
    with pytest.raises(InputError, match="two sets"):
        compare_sets([clip], ["embedded"])


def test_cuda_graphs_on_and_off_in_turns(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which pass loads what; the networks run without TensorRT, where there are no graphs."""
    switches = []

    def load(name: str, *, cuda_graphs: bool) -> object:
        switches.append(cuda_graphs)
        return load_models(name)

    monkeypatch.setattr(bench, "load_models", load)
    found = compare_cuda_graphs([clip], "embedded", ["What is red?"], repeat=2)
    assert list(found.columns) == ["kernel by kernel", "CUDA graphs"]
    assert switches == [False, True, True, False]
    assert found.columns["CUDA graphs"]["same answers"] == 1.0


def test_cuda_graphs_need_plans(clip: Path) -> None:
    app = typer.Typer()
    register(app)
    app.command()(lambda: None)
    for more, message in (
        (["--cuda-graphs"], "expected a TensorRT plan"),
        (["--sweep", "objects", "--device", "cpu", "--cuda-graphs"], "expected a TensorRT plan"),
        (["--compare", "cuda-graphs"], "expected a TensorRT plan"),
        (["--compare", "cuda-graphs", "--cuda-graphs"], "once for each"),
        (["--compare", "cuda-graphs", "--compare", "embedded"], "once for each"),
    ):
        done = CliRunner().invoke(app, ["bench", str(clip), *more])
        assert isinstance(done.exception, InputError), more
        assert message in str(done.exception)


def test_against_plain_transformers(clip: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    found = compare_transformers([clip], "embedded", ["What is red?"])
    plain, ours = found.columns["transformers"], found.columns["ours"]
    assert plain["times as fast"] == 1.0
    assert set(plain) == set(ours)
    stages = found.details["transformers_stage_ms_per_frame"]
    assert set(stages) == {"prepare", "detector", "segmenter", "depth"}
    assert min(stages.values()) > 0
    assert found.details["frame_ms"]["ours"]["count"] == 3
    assert json.loads(json.dumps(found.document))["environment"]["cpu"]


def test_only_weights_that_are_there_are_compared(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    folder = tmp_path / "bundle" / "perception"
    folder.mkdir(parents=True)
    source = load_bundle("embedded")
    manifest = json.loads((source.directory / "manifest.json").read_bytes())
    for entry in manifest["networks"].values():
        entry["files"] = {
            f: h for f, h in entry["files"].items() if not f.endswith((".safetensors", ".md"))
        }
        for file in entry["files"]:
            (folder / file).write_bytes((source.directory / file).read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="safetensors"):
        compare_transformers([clip], folder.parent, ["What is red?"])


def test_the_plain_side_gets_the_boxes_that_were_found(clip: Path) -> None:
    from edgetwin.deploy.stream.source import open_source

    frames, finder = list(open_source(clip)), SquareFinder()
    scene = PerceivedClip(frames, [finder.observe(f) for f in frames], ["box"])
    assert scene.boxes(1).shape == (2, 4)
    assert np.array_equal(scene.boxes(1), scene.boxes(1 + len(frames)))
    assert scene.frame(len(frames)) is frames[0]


@pytest.mark.parametrize("size_hw", [(256, 256), (360, 640), (720, 1280), (1080, 1920)])
def test_the_film_is_read_at_every_size(size_hw: tuple[int, int]) -> None:
    import cv2

    film = Film(4, size_hw=size_hw)
    scale = min(1.0, 640 / max(size_hw))
    small = (round(size_hw[1] * scale), round(size_hw[0] * scale))
    for index in (0, 7, 255, 70000):
        image = cv2.resize(film.frame(index).image_hw3, small, interpolation=cv2.INTER_AREA)
        assert film.index_of(np.asarray(image, np.uint8)) == index
        assert film.boxes(index, scale) == pytest.approx(film.boxes(index) * scale, abs=1e-3)


def test_a_sweep_of_objects() -> None:
    found = sweep(load_bundle("embedded"), "objects", objects=(1, 3), rounds=1, frames=2)
    assert [p.objects for p in found.points] == [1, 3]
    for point in found.points:
        assert sum(point.stage_ms.values()) <= point.frame_ms * 1.05
        assert {"encoder", "detector", "segmenter"} <= set(point.stage_ms)
    document = found.document
    assert document["points"][1]["frames_per_s"] == pytest.approx(
        1000 / found.points[1].frame_ms, abs=0.01
    )
    assert found.markdown().count("\n| ") == 3
    with pytest.raises(InputError, match="at least 1"):
        sweep(load_bundle("embedded"), "objects", objects=(0,))


def test_a_sweep_of_sizes() -> None:
    sizes = ((96, 128), (720, 1280))
    found = sweep(load_bundle("embedded"), "resolution", sizes_hw=sizes, rounds=1, frames=1)
    assert [p.label for p in found.points] == ["128x96", "1280x720"]


def command(*arguments: str) -> str:
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_writes_what_it_prints(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    readme = tmp_path / "R.md"
    readme.write_text("<!-- bench:begin -->\n<!-- bench:end -->\n")
    out, plot = tmp_path / "o" / "b.json", tmp_path / "p" / "b.png"
    text = command(str(clip), "-o", str(out), "--plot", str(plot), "--write-readme", str(readme))
    assert "| perception, frames/s |" in text
    assert "| perception, frames/s |" in readme.read_text()
    assert json.loads(out.read_text())["perception"]["frames"] == 3
    assert plot.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="give clips"):
        command()
    with pytest.raises(InputError, match="once for each"):
        command(str(clip), "--compare", "transformers", "--compare", "embedded")


def test_pictures_of_sweeps_and_comparisons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    points = [Point(str(n), n, (360, 640), 10.0 * n, {"encoder": 8.0 * n}) for n in (1, 2)]
    swept = Sweep("objects", "embedded", points, 3, 16)
    monkeypatch.setattr("edgetwin.deploy.bench_sweep.sweep", lambda *_, **__: swept)
    text = command("--sweep", "objects", "--plot", str(tmp_path / "s.png"))
    assert "| 2 | 50.0 | 20.0 | 16.0 |" in text
    columns = {"a": {"frame, ms p50": 3.0}, "b": {"frame, ms p50": 1.5}}
    compared = Comparison("two", columns)
    monkeypatch.setattr(bench_compare, "compare_sets", lambda *_, **__: compared)
    command("x.mp4", "--compare", "other", "--plot", str(tmp_path / "c.png"))
    for name in ("s.png", "c.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
