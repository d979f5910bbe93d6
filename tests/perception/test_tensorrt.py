"""TensorRT without a GPU: profiles, parts, plans' keys and records, messages; its API's types.

No test here stands in for TensorRT: what only a GPU can show is in the last test, which is
skipped where there is none.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgetwin.perception.bundle import embedded_dir
from edgetwin.perception.engines import Port, TensorRtEngine, build_plan, open_engine
from edgetwin.perception.engines.cuda import Cuda, Gpu, has_cuda_python
from edgetwin.perception.engines.ort import OnnxRuntimeEngine, _tensorrt_options, provider_shapes
from edgetwin.perception.engines.parts import run_in_parts, splits
from edgetwin.perception.engines.profiles import BOUNDS, profiles
from edgetwin.perception.engines.tensorrt import fitting_profile, has_tensorrt
from edgetwin.perception.engines.tensorrt_build import cached_plan, half_precision, onnx_ports
from edgetwin.perception.engines.tensorrt_plan import (
    PlanOptions,
    PlanRecord,
    check_record,
    plan_folder,
    plan_key,
    prune,
    read_record,
    record_path,
    replace,
)
from edgetwin.twin.errors import InputError, ModelError, OutputError

from . import tensorrt_stubs

EMBEDDED = sorted(embedded_dir().glob("*.onnx"))
ORIN = Gpu("Orin", "8.7")
SIZES = {"rows": 1, "prompts": 5, "points_each": 2, "objects": 5, "memories": 3, "pointers": 4}
SIZES |= {"queries": 7}


def random_inputs(ports: tuple[Port, ...], sizes: dict[str, int]) -> dict[str, np.ndarray]:
    source = np.random.default_rng(0)
    arrays = {}
    for port in ports:
        shape = [d if isinstance(d, int) else sizes[d] for d in port.shape]
        whole = port.dtype == "int64"
        array = source.integers(0, 4, shape) if whole else source.normal(size=shape)
        arrays[port.name] = array.astype(port.dtype)
    return arrays


@pytest.mark.parametrize("file", EMBEDDED, ids=lambda f: f.stem)
def test_profiles_cover_every_free_dimension(file: Path) -> None:
    inputs, _ = onnx_ports(file)
    found = profiles(inputs)
    for profile in found:
        assert set(profile) == {port.name for port in inputs}
        for port in inputs:
            for dim, low, usual, high in zip(port.shape, *profile[port.name], strict=True):
                assert 1 <= low <= usual <= high
                if isinstance(dim, int):
                    assert low == high == dim
    # Every free dimension is free in some profile, with the table's bounds.
    for port in inputs:
        for axis, dim in enumerate(port.shape):
            if isinstance(dim, str):
                ranges = {(p[port.name][0][axis], p[port.name][2][axis]) for p in found}
                bound = next(b for b in BOUNDS if b.dim == dim and b.port in (port.name, None))
                assert (bound.least, bound.most) in ranges


def test_the_decoder_gets_a_profile_for_each_of_its_two_uses() -> None:
    ports = (
        Port("embedding", ("rows", 8, 4, 4), "float32"),
        Port("points", ("rows", "prompts", "points_each", 2), "float32"),
    )
    one, other = profiles(ports)
    assert one["embedding"] == ((1, 8, 4, 4),) * 3
    assert one["points"] == ((1, 1, 1, 2), (1, 8, 2, 2), (1, 32, 8, 2))
    assert other["embedding"] == ((1, 8, 4, 4), (4, 8, 4, 4), (16, 8, 4, 4))
    assert other["points"] == ((1, 1, 1, 2), (4, 1, 2, 2), (16, 1, 8, 2))
    smaller = profiles(ports, {"prompts": 4})[0]["points"]
    assert smaller == ((1, 1, 1, 2), (1, 4, 2, 2), (1, 4, 8, 2))


def test_provider_options_repeat_inputs_once_per_profile() -> None:
    ports = (Port("points", ("rows", "prompts"), "float32"),)
    assert provider_shapes(profiles(ports)) == {
        "trt_profile_min_shapes": "points:1x1,points:1x1",
        "trt_profile_opt_shapes": "points:1x8,points:4x1",
        "trt_profile_max_shapes": "points:1x32,points:16x1",
    }


def test_provider_options_of_a_network(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("EDGETWIN_MODELS", str(tmp_path))
    fixed = _tensorrt_options(embedded_dir() / "depth.onnx", 512, True)
    assert fixed["trt_max_workspace_size"] == 512 * 2**20
    assert fixed["trt_fp16_enable"] is True
    assert fixed["trt_engine_cache_path"] == str(tmp_path / "plans")
    assert "trt_profile_min_shapes" not in fixed
    free = _tensorrt_options(embedded_dir() / "detector_text.onnx", 512, False)
    assert free["trt_fp16_enable"] is False
    assert free["trt_profile_max_shapes"] == "input_ids:128x8"


@pytest.mark.parametrize("dim", ["batch", None])
def test_free_dimensions_without_a_bound_are_named(dim: str | None) -> None:
    with pytest.raises(ModelError, match=rf"free dimension {dim!r} of input 'x'"):
        profiles((Port("x", (dim, 3), "float32"),))


@pytest.mark.parametrize(
    ("file", "most", "calls"),
    [
        ("segmenter_decoder.onnx", {"prompts": 2, "rows": 9}, 3),
        ("segmenter_memory_attention.onnx", {"objects": 2, "memories": 1}, 3),
        ("segmenter_memory_encoder.onnx", {"objects": 4}, 2),
        ("detector_text.onnx", {"queries": 7}, 1),
        ("detector_image.onnx", {"queries": 3}, 3),
    ],
)
def test_parts_put_together_equal_one_call(file: str, most: dict[str, int], calls: int) -> None:
    engine = open_engine(embedded_dir() / file, device="cpu", threads=1)
    arrays = random_inputs(engine.inputs, SIZES)
    sizes = []

    def run(part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        sizes.append({name: array.shape for name, array in part.items()})
        return engine.run(part)

    got = run_in_parts(run, engine.inputs, engine.outputs, most, arrays)
    want = engine.run(arrays)
    assert len(sizes) == calls
    for port in engine.outputs:
        assert got[port.name].shape == want[port.name].shape
        np.testing.assert_allclose(got[port.name], want[port.name], rtol=1e-3, atol=1e-3)
    for port in engine.inputs:
        for axis, dim in enumerate(port.shape):
            if dim in splits(engine.inputs) & most.keys():
                assert max(shape[port.name][axis] for shape in sizes) <= most[dim]


def test_plan_key_depends_on_everything_a_plan_does() -> None:
    options, shapes = PlanOptions(), profiles((Port("x", ("objects", 3), "float32"),))
    base = plan_key("a" * 64, "10.3.0", ORIN, options, shapes)
    assert base == plan_key("a" * 64, "10.3.0", Gpu("Orin", "8.7"), PlanOptions(), shapes)
    others = {
        plan_key("b" * 64, "10.3.0", ORIN, options, shapes),
        plan_key("a" * 64, "10.3.1", ORIN, options, shapes),
        plan_key("a" * 64, "10.3.0", Gpu("Thor", "8.7"), options, shapes),
        plan_key("a" * 64, "10.3.0", Gpu("Orin", "8.6"), options, shapes),
        plan_key("a" * 64, "10.3.0", ORIN, PlanOptions(fp16=True), shapes),
        plan_key("a" * 64, "10.3.0", ORIN, PlanOptions(workspace_mb=512), shapes),
        plan_key("a" * 64, "10.3.0", ORIN, options, shapes * 2),
    }
    assert len(others | {base}) == 8


def record(**changes: object) -> PlanRecord:
    values: dict[str, object] = {"key": "k", "network": "depth.onnx", "tensorrt": "10.3.0"}
    values |= {"gpu": "Orin", "compute": "8.7"}
    values |= {"inputs": {"x": ("objects", 3, None)}, "outputs": {"y": (3,)}}
    return PlanRecord.model_validate({**values, **changes})


@pytest.mark.parametrize(
    ("changes", "version", "gpu", "message"),
    [
        ({}, "10.3.0", ORIN, None),
        (
            {},
            "10.3.1",
            ORIN,
            r"built for TensorRT 10\.3\.0 \(here: 10\.3\.1\); .*again.*depth\.onnx",
        ),
        ({}, "10.3.0", Gpu("Thor", "11.0"), r"built for Orin, .* 8\.7 \(here: Thor, 11\.0\)"),
        ({}, "11.4.0", Gpu("Thor", "11.0"), r"TensorRT 10\.3\.0 .* and Orin"),
        ({"version_compatible": True}, "10.9.0", ORIN, None),
        ({"version_compatible": True}, "11.0.0", ORIN, r"TensorRT 10\.3\.0"),
    ],
)
def test_a_plan_of_another_release_or_gpu(
    changes: dict, version: str, gpu: Gpu, message: str | None
) -> None:
    if message is None:
        check_record(Path("x.engine"), record(**changes), version, gpu)
        return
    with pytest.raises(ModelError, match=message):
        check_record(Path("x.engine"), record(**changes), version, gpu)


def test_records_keep_the_names_that_plans_drop(tmp_path: Path) -> None:
    plan = tmp_path / "x.engine"
    assert read_record(plan) is None
    replace(record_path(plan), record().model_dump_json().encode())
    found = read_record(plan)
    assert found == record()
    ports = (Port("x", (None, 3, None), "float32"), Port("z", (None,), "int64"))
    assert found.named(ports)[0] == Port("x", ("objects", 3, None), "float32")
    assert found.named(ports)[1] == ports[1]
    record_path(plan).write_text(json.dumps({"key": "k"}))
    with pytest.raises(ModelError, match=r"record of plan x\.engine.*build the plan again"):
        read_record(plan)


def test_the_folder_keeps_the_plans_used_last(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("EDGETWIN_MODELS", str(tmp_path))
    folder = plan_folder()
    assert folder == tmp_path / "plans"
    for index in range(5):
        replace(folder / f"{index}.engine", b"plan")
        replace(record_path(folder / f"{index}.engine"), b"{}")
        os.utime(folder / f"{index}.engine", (index, index if index else 99))
    assert [plan.name for plan in prune(folder, 3)] == ["2.engine", "1.engine"]
    assert sorted(p.name for p in folder.glob("*.engine")) == ["0.engine", "3.engine", "4.engine"]
    assert len(list(folder.iterdir())) == 6


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="EDGETWIN_MODELS"):
        replace(tmp_path / "file" / "x.engine", b"plan")


def test_shapes_choose_their_profile() -> None:
    ranges = [{"x": ((1, 1), (1, 32))}, {"x": ((1, 1), (16, 1))}]
    assert fitting_profile("x.engine", ranges, {"x": (1, 32)}) == 0
    assert fitting_profile("x.engine", ranges, {"x": (16, 1)}) == 1
    with pytest.raises(InputError, match=r"x \(1, 1\) to \(1, 32\) or x .*got {'x': \(2, 2\)}"):
        fitting_profile("x.engine", ranges, {"x": (2, 2)})
    with pytest.raises(InputError, match="larger profiles"):
        fitting_profile("x.engine", ranges, {"x": (1, 32, 1)})


@pytest.mark.parametrize("name", ["depth", "segmenter_decoder", "segmenter_memory_attention"])
def test_half_precision_files_compute_nearly_the_same(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    source = embedded_dir() / f"{name}.onnx"
    half = tmp_path / "half.onnx"
    half.write_bytes(half_precision(source))
    assert half.stat().st_size < 0.7 * source.stat().st_size
    want, got = (open_engine(file, device="cpu", threads=1) for file in (source, half))
    assert got.inputs == want.inputs
    assert got.outputs == want.outputs
    arrays = random_inputs(want.inputs, SIZES)
    expected = want.run(arrays)
    for key, array in got.run(arrays).items():
        scale = np.abs(expected[key]).max()
        assert 0 < np.abs(array - expected[key]).max() < 0.01 * scale


def test_files_that_no_half_precision_can_be_made_of(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"expected an ONNX file at .*bad\.onnx"):
        half_precision(tmp_path / "bad.onnx")


def test_missing_tensorrt_names_the_pip_line(tmp_path: Path) -> None:
    if has_tensorrt():
        pytest.skip("TensorRT and cuda-python are installed")
    plan = tmp_path / "x.engine"
    plan.write_bytes(b"plan")
    lines = r"pip install 'edgetwin\[tensorrt\]'"
    for call in (
        lambda: open_engine(plan),
        lambda: TensorRtEngine(plan),
        lambda: build_plan(EMBEDDED[0], plan),
        lambda: cached_plan(EMBEDDED[0], folder=tmp_path),
        lambda: open_engine(EMBEDDED[0], device="tensorrt"),
    ):
        with pytest.raises(ModelError, match=lines):
            call()
    assert [file.name for file in tmp_path.iterdir()] == ["x.engine"]


def test_plans_are_for_tensorrt_only(tmp_path: Path) -> None:
    (tmp_path / "x.plan").write_bytes(b"plan")
    with pytest.raises(InputError, match=r"device 'tensorrt' for plan x\.plan, got 'cpu'"):
        open_engine(tmp_path / "x.plan", device="cpu")


def test_a_folder_named_tensorrt_is_not_tensorrt(tmp_path: Path) -> None:
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.pyi").write_text("")
    code = (
        "from edgetwin.perception.engines.tensorrt import has_tensorrt, require_tensorrt\n"
        "assert not has_tensorrt()\nrequire_tensorrt()"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "ModelError: tensorrt is needed" in done.stderr


def test_cuda_says_why_there_is_no_gpu(tmp_path: Path) -> None:
    if not has_cuda_python():
        pytest.skip("needs cuda-python: pip install cuda-python")
    try:
        Cuda().close()
    except ModelError as error:
        assert "usable NVIDIA GPU" in str(error) or "CUDA runtime" in str(error)  # noqa: PT017
    else:
        pytest.skip("there is a GPU")


SOURCES = ("perception/engines", "twin/errors.py", "twin/files.py")
CONFIG = """[mypy]
strict = True
[mypy-onnxruntime.*,onnx.*,torch.*]
ignore_missing_imports = True
follow_imports = skip
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the stubs and a copy of the engines, to be changed and checked."""
    reason = tensorrt_stubs.why_not()
    if reason:
        pytest.skip(reason)
    pytest.importorskip("mypy")
    root = Path(__file__).parents[2]
    folder = tmp_path_factory.mktemp("types")
    made = root / ".types"  # `make lint` has written them there
    for name in ("tensorrt", "tensorrt_bindings"):
        if (made / name).is_dir():
            shutil.copytree(made / name, folder / name)
    tensorrt_stubs.write_stubs(folder)
    for source in SOURCES:
        target = folder / "edgetwin" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (root / source).is_dir():
            shutil.copytree(root / source, target)
        else:
            shutil.copy(root / source, target)
    for package in ("", "perception", "twin"):
        (folder / "edgetwin" / package / "__init__.py").write_text("")
    (folder / "mypy.ini").write_text(CONFIG)
    return folder


def test_types_agree_with_nvidias_and_mistakes_do_not(checked: Path) -> None:
    engines = checked / "edgetwin/perception/engines"
    wrong = (engines / "tensorrt.py").read_text()
    complaints = []
    for right, mistake, complaint in (
        ("set_tensor_address(", "set_tensor_adress(", 'no attribute "set_tensor_adress"'),
        ("execute_async_v3(self._cuda.stream)", "execute_async_v3()", 'argument "stream_handle"'),
        ("set_device_memory(self._memory, size)", "set_device_memory(size)", 'argument "size"'),
        ("TensorIOMode.INPUT", "TensorIOMode.INPUTS", 'no attribute "INPUTS"'),
        ("get_tensor_name(index)", "get_tensor_name(index).value", 'no attribute "value"'),
    ):
        assert wrong.count(right) == 1
        wrong = wrong.replace(right, mistake)
        complaints.append(complaint)
    (engines / "mistaken.py").write_text(wrong)
    names = ("tensorrt", "tensorrt_build", "mistaken")
    modules = [f"-medgetwin.perception.engines.{name}" for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *modules],
        cwd=checked,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = [line for line in done.stdout.splitlines() if " error: " in line]
    assert len(found) == len(complaints), done.stdout + done.stderr
    assert all("/mistaken.py:" in line for line in found)
    for complaint in complaints:
        assert sum(complaint in line for line in found) == 1


@pytest.fixture
def gpu() -> None:
    if not has_tensorrt():
        pytest.skip("needs TensorRT, cuda-python and an NVIDIA GPU: the first two are missing")
    try:
        Cuda().close()
    except ModelError as error:
        pytest.skip(f"needs an NVIDIA GPU: {error}")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("file", EMBEDDED, ids=lambda f: f.stem)
def test_plans_compute_what_onnx_runtime_does(file: Path, tmp_path: Path) -> None:
    reference = OnnxRuntimeEngine(file, device="cpu")
    plan = cached_plan(file, folder=tmp_path)
    assert cached_plan(file, folder=tmp_path) == plan
    engine = open_engine(plan)
    assert engine.inputs == reference.inputs
    for count in (1, 5, 40):
        sizes = SIZES | {"prompts": count, "objects": count, "queries": count}
        arrays = random_inputs(reference.inputs, sizes)
        got = engine.run(arrays)
        for name, want in reference.run(arrays).items():
            assert got[name].shape == want.shape
            assert np.abs(got[name] - want).max() <= 0.02 * max(1.0, np.abs(want).max())
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.run(arrays)
