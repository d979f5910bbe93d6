"""What stands beside a TensorRT plan: which network, release, GPU and driver it was built for.

A plan runs only on the TensorRT release and the kind of GPU that built it, and is bound to the
driver too. TensorRT says so in codes; the record says it in words before the plan is even
opened, and keeps the names of the free dimensions, which plans drop. It is JSON in
``x.engine.json`` beside ``x.engine``. The plans of a bundle are in its folder ``plans``.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ...twin import files
from ...twin.errors import ModelError, OutputError
from .base import Port
from .cuda import Gpu
from .profiles import Profile

__all__ = [
    "PlanOptions",
    "PlanRecord",
    "bundle_plans",
    "check_bytes",
    "check_record",
    "differences",
    "find_plan",
    "plan_folder",
    "plan_key",
    "prune",
    "read_record",
    "record_path",
    "replace",
]

_PLANS_KEPT = 32  # plans in the cache folder: four sets of seven networks on one machine


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How a plan is built.

    Attributes:
        fp16: compute in half precision; the file's weights and activations are converted,
            its inputs and outputs stay as they are (needs the onnx package). Else TensorRT
            takes the file's types, with TF32 in matrix products where the GPU has it.
        workspace_mb: scratch memory that kernels may ask for.
        level: TensorRT's optimisation level, 0 (quick to build) to 5.
        version_compatible: also runs on later minor releases of the same major release, at
            some cost in speed.
    """

    fp16: bool = False
    workspace_mb: int = 1024
    level: int = 3
    version_compatible: bool = False


class PlanRecord(BaseModel):
    """The record beside a plan; records of before a field was there lack it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    network: str
    onnx_sha256: str = ""
    plan_sha256: str = ""
    tensorrt: str
    gpu: str
    compute: str
    driver: str = ""
    version_compatible: bool = False
    inputs: dict[str, tuple[int | str | None, ...]]
    outputs: dict[str, tuple[int | str | None, ...]]

    def named(self, ports: tuple[Port, ...]) -> tuple[Port, ...]:
        """Return the ports with the names of their free dimensions."""
        known = {**self.inputs, **self.outputs}
        return tuple(Port(p.name, known.get(p.name, p.shape), p.dtype) for p in ports)


def plan_key(
    onnx_sha256: str, tensorrt: str, gpu: Gpu, options: PlanOptions, profiles: tuple[Profile, ...]
) -> str:
    """Return the SHA-256 of everything a plan depends on."""
    parts = {
        "onnx": onnx_sha256,
        "tensorrt": tensorrt,
        "gpu": asdict(gpu),
        "options": asdict(options),
        "profiles": profiles,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def plan_folder() -> Path:
    """Return where built plans are kept: ``plans`` in $EDGETWIN_MODELS or ~/.cache/edgetwin."""
    home = os.environ.get("EDGETWIN_MODELS") or Path.home() / ".cache" / "edgetwin"
    return Path(home) / "plans"


def bundle_plans(directory: Path) -> Path:
    """Return where a bundle keeps its plans; ``directory`` is that of its ONNX files."""
    return (directory.parent if directory.name == "perception" else directory) / "plans"


def find_plan(folder: Path, onnx_path: Path) -> Path | None:
    """Return the plan of this very ONNX file in a bundle's folder; None if there never was one.

    Raises:
        ModelError: if a record cannot be read, or there are only plans of another version of
            the file.
    """
    plans = sorted(folder.glob(f"{onnx_path.stem}-*.engine"), key=_used, reverse=True)
    found = [(plan, record) for plan in plans if (record := read_record(plan)) is not None]
    found = [(plan, record) for plan, record in found if record.network == onnx_path.name]
    if not found:
        return None
    digest = files.sha256_of(onnx_path)
    for plan, record in found:
        if record.onnx_sha256 == digest:
            return plan
    raise ModelError(
        f"expected a plan of {onnx_path} in {folder}, got {found[0][0].name}, which was built from "
        f"another version of that file; {_again(found[0][0], onnx_path.name)}"
    )


def record_path(plan: Path) -> Path:
    """Return the path of a plan's record."""
    return plan.with_name(plan.name + ".json")


def read_record(plan: Path) -> PlanRecord | None:
    """Return the record beside a plan, None if there is none (built by another tool).

    Raises:
        ModelError: if the record cannot be read.
    """
    file = record_path(plan)
    try:
        return PlanRecord.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ModelError(
            f"expected the record of plan {plan.name} at {file}, got one that cannot be read; "
            "delete both files and build the plan again"
        ) from error


def differences(record: PlanRecord, tensorrt: str, gpu: Gpu) -> list[str]:
    """Return what differs between where a plan was built and here, in words; empty if nothing.

    A driver is not compared where this machine does not name its own.
    """
    built, here = record.tensorrt.split("."), tensorrt.split(".")
    same = built[:1] == here[:1] if record.version_compatible else built == here
    wrong = []
    if not same:
        wrong.append(f"TensorRT {record.tensorrt} (here: {tensorrt})")
    if (record.gpu, record.compute) != (gpu.name, gpu.compute):
        wrong.append(
            f"{record.gpu}, compute capability {record.compute} (here: {gpu.name}, {gpu.compute})"
        )
    if gpu.driver and record.driver != gpu.driver:
        wrong.append(f"driver {record.driver or 'not recorded'} (here: {gpu.driver})")
    return wrong


def check_record(plan: Path, record: PlanRecord, tensorrt: str, gpu: Gpu) -> None:
    """Compare where a plan was built with where it is to run.

    Raises:
        ModelError: says what differs and how to build the plan again.
    """
    wrong = differences(record, tensorrt, gpu)
    if wrong:
        raise ModelError(
            f"expected a plan for this machine, got {plan.name}, which was built for "
            f"{' and '.join(wrong)}; plans do not travel: {_again(plan, record.network)}"
        )


def check_bytes(plan: Path, record: PlanRecord, data: bytes) -> None:
    """Compare a plan's bytes with the hash in its record, where there is one.

    Raises:
        ModelError: if they differ.
    """
    got = hashlib.sha256(data).hexdigest()
    if record.plan_sha256 and got != record.plan_sha256:
        raise ModelError(
            f"expected plan {plan} with sha256 {record.plan_sha256[:12]}…, got {got[:12]}…: the "
            f"file is damaged or was changed; delete it and {_again(plan, record.network)}"
        )


def _again(plan: Path, network: str) -> str:
    """Say how to build a plan again: by the command where it belongs to a bundle."""
    bundle = plan.parent.parent
    if plan.parent.name == "plans" and any(
        (bundle / name).is_file() for name in ("bundle.json", "manifest.json")
    ):
        return f"build it again here: `edgetwin engines {bundle}`"
    return (
        f"build it again here from {network}, or open that file with device 'tensorrt', which "
        "builds it"
    )


def replace(file: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.replace(file, data)
    except OSError as error:
        raise OutputError(
            f"expected to write {file}, got {error.strerror}; free space there, or set "
            "EDGETWIN_MODELS to a folder that can be written"
        ) from error


def prune(folder: Path, keep: int = _PLANS_KEPT) -> list[Path]:
    """Delete all but the ``keep`` plans used last, with their records; return their paths."""
    plans = sorted(folder.glob("*.engine"), key=_used, reverse=True)
    for plan in plans[keep:]:
        plan.unlink(missing_ok=True)
        record_path(plan).unlink(missing_ok=True)
    return plans[keep:]


def _used(plan: Path) -> float:
    try:
        return plan.stat().st_mtime
    except FileNotFoundError:  # another process pruned it
        return 0.0
