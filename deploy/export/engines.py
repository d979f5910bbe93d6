"""TensorRT plans of a bundle, built on the device that runs them.

``build_engines`` compiles every graph of ``BUNDLE/perception`` into ``BUNDLE/plans`` with the
timing cache and the records of :mod:`edgetwin.perception.engines.tensorrt_build`. A plan that
fits is kept; one of another GPU, TensorRT, driver, graph or option is built again and the old
one deleted. A graph that TensorRT does not take is named and goes on running in ONNX Runtime.

Not covered: plans for another machine than this one; language models (see :mod:`.edge_llm`).
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...perception.bundle import Bundle, load_bundle
from ...perception.engines import available_devices, bundle_plans, cached_plan
from ...perception.engines.cuda import Cuda, Gpu
from ...perception.engines.profiles import profiles
from ...perception.engines.tensorrt import has_tensorrt, require_tensorrt
from ...perception.engines.tensorrt_build import onnx_ports
from ...perception.engines.tensorrt_plan import (
    PlanOptions,
    check_bytes,
    differences,
    find_plan,
    read_record,
    record_path,
)
from ...twin.errors import ModelError
from .manifest import MANIFEST, load
from .trtexec import trtexec_line

__all__ = [
    "EngineReport",
    "GraphPlan",
    "Here",
    "build_engines",
    "here",
    "list_engines",
    "trtexec_lines",
]

State = Literal["built", "kept", "usable", "none", "refused", "failed"]
WORKSPACE_MB = {"jetson-orin-nano": 512, "jetson-orin-nx": 1024}
"""Scratch memory by target, in MiB, where none is given: a board shares its memory with all."""

Told = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Here:
    """What plans are bound to on this machine; ``why`` says what is missing, if anything."""

    tensorrt: str | None
    gpu: Gpu | None
    why: str = ""

    @property
    def able(self) -> bool:
        """Whether plans can be built and run here."""
        return self.tensorrt is not None and self.gpu is not None

    def text(self) -> str:
        """Name the machine in one line."""
        if self.tensorrt is None or self.gpu is None:
            return self.why
        driver = f", driver {self.gpu.driver}" if self.gpu.driver else ""
        return (
            f"TensorRT {self.tensorrt} on {self.gpu.name} (compute capability "
            f"{self.gpu.compute}{driver})"
        )


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """One graph's plan: ``state`` and, where there is something to say, ``told``."""

    network: str
    state: State
    plan: str | None = None
    told: str = ""
    bytes: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class EngineReport:
    """What was built or found, graph by graph."""

    bundle: Path
    here: Here
    graphs: list[GraphPlan] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    trtexec: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[GraphPlan]:
        """Graphs that TensorRT did not take."""
        return [graph for graph in self.graphs if graph.state == "failed"]

    def document(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "bundle": str(self.bundle),
            "here": asdict(self.here),
            "graphs": [asdict(graph) for graph in self.graphs],
            "removed": self.removed,
            "trtexec": self.trtexec,
        }


def here() -> Here:
    """Look at this machine; imports TensorRT and CUDA where they are."""
    if not has_tensorrt():
        return Here(None, None, "no TensorRT on this machine")
    try:
        version = require_tensorrt()
        cuda = Cuda()
    except ModelError as error:
        return Here(None, None, str(error))
    cuda.close()
    return Here(version, cuda.gpu)


def build_engines(
    folder: str | Path,
    *,
    force: bool = False,
    fp16: bool = False,
    workspace_mb: int | None = None,
    level: int = 3,
    progress: Told | None = None,
) -> EngineReport:
    """Build the plan of every graph of a bundle; without TensorRT only the report says so.

    Args:
        folder: a device bundle, or a perception bundle alone.
        force: build again what fits already.
        fp16: compute float32 graphs in half precision; others are built as they are.
        workspace_mb: scratch memory that kernels may ask for; by target where it is None.
        level: TensorRT's optimisation level, 0 to 5.
        progress: told (graph, done, total).

    Raises:
        ModelError: if the bundle cannot be read, or a file of it is changed.
        OutputError: if a plan cannot be written.
    """
    bundle = _perception(folder)
    report = EngineReport(Path(folder), here())
    report.trtexec = trtexec_lines(folder, fp16=fp16, workspace_mb=workspace_mb, level=level)
    if not report.here.able:
        return report
    plans = bundle_plans(bundle.directory)
    files = list(_graphs(bundle))
    for done, file in enumerate(files):
        if progress is not None:
            progress("engines", done, len(files))
        options = _options(Path(folder), file, fp16, workspace_mb, level)
        report.graphs.append(_built(file, plans, options, force))
    if progress is not None:
        progress("engines", len(files), len(files))
    report.removed = _remove_others(plans, report.graphs)
    return report


def list_engines(folder: str | Path) -> EngineReport:
    """Say of every graph whether its plan is there and may run here.

    Raises:
        ModelError: if the bundle cannot be read, or a file of it is changed.
    """
    bundle = _perception(folder)
    report = EngineReport(Path(folder), here())
    plans = bundle_plans(bundle.directory)
    report.graphs = [_found(file, plans, report.here) for file in _graphs(bundle)]
    return report


def trtexec_lines(
    folder: str | Path, *, fp16: bool = False, workspace_mb: int | None = None, level: int = 3
) -> list[str]:
    """Return the shell lines that build every graph with ``trtexec``; needs no TensorRT.

    The first makes the folder for the plans.

    Raises:
        ModelError: if the bundle cannot be read, or a file of it is changed.
    """
    bundle = _perception(folder)
    plans = bundle_plans(bundle.directory)
    lines = [shlex.join(["mkdir", "-p", str(plans)])]
    for file in _graphs(bundle):
        ports, _ = onnx_ports(file)
        options = _options(Path(folder), file, fp16, workspace_mb, level)
        plan = plans / f"{file.stem}.trtexec.engine"
        cache = plans / "timing.cache"
        lines.append(trtexec_line(file, plan, ports, profiles(ports), options, cache))
    return lines


def _perception(folder: str | Path) -> Bundle:
    place = Path(folder)
    if not place.is_dir():
        raise ModelError(
            f"expected a bundle's folder, got {str(folder)!r}, which is not there; make one with "
            "`edgetwin export --target … -o BUNDLE`"
        )
    return load_bundle(place, device="cpu", threads=1)


def _graphs(bundle: Bundle) -> Iterator[Path]:
    """The bundle's ONNX files, each after a check of its hash."""
    for _, entry in sorted(bundle.manifest.networks.items()):
        for name in sorted(entry.files):
            if name.endswith(".onnx"):
                yield bundle.path(name)


def _options(
    folder: Path, file: Path, fp16: bool, workspace_mb: int | None, level: int
) -> PlanOptions:
    """Options of one graph: a file that is not float32 keeps the types it has."""
    precision, target = "fp32", ""
    if (folder / MANIFEST).is_file():
        manifest = load(folder).manifest
        target = manifest.target
        named = [record for name, record in manifest.graphs.items() if Path(name).stem == file.stem]
        precision = named[0].precision if named else precision
    return PlanOptions(
        fp16=fp16 and precision == "fp32",
        workspace_mb=workspace_mb or WORKSPACE_MB.get(target, PlanOptions().workspace_mb),
        level=level,
    )


def _built(file: Path, plans: Path, options: PlanOptions, force: bool) -> GraphPlan:
    before = {plan: plan.stat().st_mtime_ns for plan in plans.glob(f"{file.stem}-*.engine")}
    if force:
        for plan in before:
            _delete(plan)
        before = {}
    start = time.perf_counter()
    try:
        plan = cached_plan(file, options=options, folder=plans)
    except ModelError as error:
        told = f"{error}; this graph goes on running in ONNX Runtime"
        return GraphPlan(file.name, "failed", told=told)
    seconds = round(time.perf_counter() - start, 3)
    state: State = "kept" if plan in before else "built"
    return GraphPlan(file.name, state, plan.name, "", plan.stat().st_size, seconds)


def _found(file: Path, plans: Path, machine: Here) -> GraphPlan:
    try:
        plan = find_plan(plans, file)
        record = read_record(plan) if plan is not None else None
        if plan is None or record is None:
            return GraphPlan(file.name, "none")
        check_bytes(plan, record, plan.read_bytes())
    except ModelError as error:
        return GraphPlan(file.name, "refused", told=str(error))
    size = plan.stat().st_size
    if machine.tensorrt is None or machine.gpu is None:
        wrong = [f"TensorRT {record.tensorrt}", f"{record.gpu} ({record.compute})"]
        wrong.append(f"driver {record.driver or 'not recorded'}")
    else:
        wrong = differences(record, machine.tensorrt, machine.gpu)
    if wrong:
        return GraphPlan(file.name, "refused", plan.name, f"built for {', '.join(wrong)}", size)
    return GraphPlan(file.name, "usable", plan.name, "", size)


def _remove_others(plans: Path, graphs: list[GraphPlan]) -> list[str]:
    """Delete the plans that the bundle's graphs no longer use."""
    kept = {graph.plan for graph in graphs}
    # trtexec's own plans have no record and are left alone.
    others = [p for p in sorted(plans.glob("*.engine")) if p.name not in kept]
    others = [plan for plan in others if record_path(plan).is_file()]
    for plan in others:
        _delete(plan)
    return [plan.name for plan in others]


def _delete(plan: Path) -> None:
    plan.unlink(missing_ok=True)
    record_path(plan).unlink(missing_ok=True)


def runs_by_itself() -> str:
    """Say in one line what runs the bundle where there is no TensorRT."""
    device = "CUDA" if "cuda" in available_devices() else "the CPU"
    return f"the bundle runs on ONNX Runtime by itself, here on {device}"
