"""``edgetwin engines``: builds, keeps, rebuilds, lists, prints; and does without TensorRT."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgetwin.deploy.export import engines_commands
from edgetwin.deploy.export.engines import build_engines, here, list_engines, trtexec_lines
from edgetwin.deploy.export.trtexec import trtexec_line
from edgetwin.perception.bundle import embedded_dir, load_bundle
from edgetwin.perception.engines import Port
from edgetwin.perception.engines.profiles import profiles
from edgetwin.perception.engines.tensorrt_plan import PlanOptions, read_record, record_path
from edgetwin.tests.perception.tensorrt_standin import Device, device_bundle, standing_in
from edgetwin.twin.errors import ModelError

ONNX = sorted(file.name for file in embedded_dir().glob("*.onnx"))


device, folder = standing_in, device_bundle


def command(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    engines_commands.register(app)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["engines", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


@pytest.mark.usefixtures("device")
def test_every_graph_gets_its_plan_once(folder: Path) -> None:
    first = build_engines(folder)
    assert [g.network for g in first.graphs] == ONNX
    assert {g.state for g in first.graphs} == {"built"}
    assert (folder / "plans" / "timing.cache").read_bytes() == b"timings"
    assert {g.state for g in build_engines(folder).graphs} == {"kept"}
    assert {g.state for g in build_engines(folder, force=True).graphs} == {"built"}
    assert {g.state for g in list_engines(folder).graphs} == {"usable"}


def test_plans_of_another_machine_are_refused_and_built_again(folder: Path, device: Device) -> None:
    old = {g.plan for g in build_engines(folder).graphs}
    device.become(gpu="Thor", compute="11.0")
    listed = list_engines(folder)
    assert {g.state for g in listed.graphs} == {"refused"}
    assert all("Orin, compute capability 8.7 (here: Thor" in g.told for g in listed.graphs)
    with pytest.raises(ModelError, match="plans do not travel"):
        load_bundle(folder / "perception", device="tensorrt").engine("depth.onnx")
    again = build_engines(folder)
    assert {g.state for g in again.graphs} == {"built"}
    assert set(again.removed) == old
    assert {g.state for g in list_engines(folder).graphs} == {"usable"}
    left = [f for f in (folder / "plans").iterdir() if f.name != "timing.cache"]
    assert len(left) == 2 * len(ONNX)


@pytest.mark.usefixtures("device")
def test_a_graph_that_tensorrt_does_not_take_is_named(folder: Path) -> None:
    file = folder / "perception" / "depth.onnx"
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(file))
    model.doc_string = "REFUSED"
    onnx.save(model, str(file))
    manifest = folder / "perception" / "manifest.json"
    document = json.loads(manifest.read_bytes())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    document["networks"]["depth"]["files"]["depth.onnx"] = digest
    manifest.write_text(json.dumps(document))
    report = build_engines(folder)
    assert [g.network for g in report.failed] == ["depth.onnx"]
    assert "Strange 'node_7': no importer" in report.failed[0].told
    assert "ONNX Runtime" in report.failed[0].told
    code, text = command(str(folder))
    assert code == 2
    assert "failed   depth.onnx" in text


@pytest.mark.usefixtures("device")
def test_options_reach_the_record(folder: Path) -> None:
    keys = []
    for workspace_mb in (256, 512):
        report = build_engines(folder, workspace_mb=workspace_mb)
        plan = folder / "plans" / str(report.graphs[0].plan)
        found = read_record(plan)
        assert found is not None
        keys.append(found.key)
    assert keys[0] != keys[1]
    assert not record_path(folder / "plans" / f"depth-{keys[0][:16]}.engine").exists()


def test_without_tensorrt_the_command_says_so_and_is_content(folder: Path) -> None:
    if here().able:
        pytest.skip("TensorRT and a GPU are here")
    code, text = command(str(folder))
    assert code == 0
    assert "runs on ONNX Runtime by itself" in text
    assert not (folder / "plans").exists()
    code, text = command(str(folder), "--json")
    assert code == 0
    assert json.loads(text)["graphs"] == []
    code, text = command(str(folder), "--list")
    assert (code, text.count("none     ")) == (0, len(ONNX))


def test_lines_for_trtexec_need_no_tensorrt(folder: Path) -> None:
    code, text = command(str(folder), "--print", "--workspace-mb", "700", "--level", "4")
    assert code == 0
    first, *lines = text.splitlines()
    assert first == f"mkdir -p {folder / 'plans'}"
    assert len(lines) == len(ONNX)
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "trtexec"
        assert "--memPoolSize=workspace:700M" in words
        assert "--builderOptimizationLevel=4" in words
        assert "--stronglyTyped" in words
        assert f"--timingCacheFile={folder / 'plans' / 'timing.cache'}" in words
    static = next(line for line in lines if "depth.onnx" in line)
    assert "Shapes" not in static
    text_tower = next(line for line in lines if "detector_text.onnx" in line)
    assert "--minShapes=input_ids:1x8 " in text_tower
    assert "--maxShapes=input_ids:128x8 " in text_tower


def test_each_profile_has_its_number() -> None:
    ports = (
        Port("embedding", ("rows", 8, 4, 4), "float32"),
        Port("points", ("rows", "prompts", "points_each", 2), "float32"),
        Port("still", (1, 3), "float32"),
    )
    options = PlanOptions(fp16=True, workspace_mb=64, version_compatible=True)
    line = trtexec_line(
        Path("/a b/x.onnx"), Path("/p/x.engine"), ports, profiles(ports), options, Path("/p/t")
    )
    words = shlex.split(line)
    assert words[1] == "--onnx=/a b/x.onnx"
    assert "--fp16" in words
    assert "--stronglyTyped" not in words
    assert "--versionCompatible" in words
    start = words.index("--profile=0")
    assert words[start : start + 4] == [
        "--profile=0",
        "--minShapes=embedding:1x8x4x4,points:1x1x1x2",
        "--optShapes=embedding:1x8x4x4,points:1x8x2x2",
        "--maxShapes=embedding:1x8x4x4,points:1x32x8x2",
    ]
    assert words[start + 4] == "--profile=1"
    assert words[start + 7] == "--maxShapes=embedding:16x8x4x4,points:16x1x8x2"


def test_a_changed_graph_is_refused_before_anything_is_built(folder: Path) -> None:
    file = folder / "perception" / "depth.onnx"
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match=r"depth\.onnx with sha256"):
        trtexec_lines(folder)
    with pytest.raises(ModelError, match="not there"):
        build_engines(folder / "nowhere")


def test_the_devices_commands_need_neither_torch_nor_onnx() -> None:
    code = (
        "import sys\n"
        "from edgetwin.deploy.export import engines, engines_commands, smoke, upgrade\n"
        "from edgetwin.deploy.export import edge_llm, trtexec, upgrade_commands\n"
        "print([m for m in ('torch', 'onnx', 'transformers', 'tensorrt') if m in sys.modules])\n"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout == "[]\n"
