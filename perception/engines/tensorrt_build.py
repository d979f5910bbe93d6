"""Builds TensorRT plans from ONNX files, once per network, release, GPU and options.

Building takes minutes on a small board, so plans are kept in a folder (see
:func:`~.tensorrt_plan.plan_folder`) under a key of everything they depend on, and the timings
of kernels in one timing cache beside them. Networks are built strongly typed: TensorRT takes
the types that the file says, which release 11 does always; ``fp16`` converts the file first.

Not covered: quantisation to int8 (a file with Quantize/DequantizeLinear builds as it is),
DLA cores, building on another machine than the plan is for.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...twin.errors import MissingExtraError, ModelError
from ...twin.files import sha256_of
from .base import Port
from .cuda import Cuda, Gpu
from .profiles import Profile
from .profiles import profiles as profiles_of
from .tensorrt import new_logger, require_tensorrt
from .tensorrt_plan import (
    PlanOptions,
    PlanRecord,
    plan_folder,
    plan_key,
    prune,
    read_record,
    record_path,
    replace,
)

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["build_plan", "cached_plan", "half_precision"]

_TIMING_CACHE_MB = 64  # beyond this it starts anew: timings of networks long gone
_ERRORS_SHOWN = 5


def cached_plan(
    onnx_path: str | Path,
    *,
    options: PlanOptions | None = None,
    most: Mapping[str, int] | None = None,
    folder: Path | None = None,
) -> Path:
    """Return the plan of an ONNX file for this machine, building it where there is none.

    ``most`` replaces the largest sizes of free dimensions (see :mod:`.profiles`).

    Raises:
        ModelError: if TensorRT or a GPU is missing, or the file cannot be built.
        OutputError: if the plan cannot be written.
    """
    source, options = Path(onnx_path), options or PlanOptions()
    version = require_tensorrt()
    cuda = Cuda()
    gpu = cuda.gpu
    cuda.close()
    profiles = profiles_of(onnx_ports(source)[0], most)
    key = plan_key(sha256_of(source), version, gpu, options, profiles)
    home = folder or plan_folder()
    plan = home / f"{source.stem}-{key[:16]}.engine"
    record = read_record(plan) if plan.is_file() else None
    if record is not None and record.key == key:
        os.utime(plan)  # the cache keeps what was used last
        return plan
    built = build_plan(
        source, plan, profiles=profiles, options=options, timing_cache=home / "timing.cache"
    )
    prune(home)
    return built


def build_plan(
    onnx_path: str | Path,
    plan_path: str | Path,
    *,
    profiles: tuple[Profile, ...] | None = None,
    options: PlanOptions | None = None,
    timing_cache: Path | None = None,
) -> Path:
    """Build the plan of an ONNX file and write it with its record; returns its path.

    ``profiles`` are maps of input to (smallest, usual, largest) shape, one or several; those
    of :mod:`.profiles` where none are given. Plan and record are each written whole.

    Raises:
        ModelError: if TensorRT or a GPU is missing, or the file cannot be parsed or built;
            names the nodes that TensorRT does not take.
        OutputError: if the plan cannot be written.
    """
    version = require_tensorrt()
    source, plan, options = Path(onnx_path), Path(plan_path), options or PlanOptions()
    cuda = Cuda()
    gpu = cuda.gpu
    cuda.close()
    inputs, outputs = onnx_ports(source)
    profiles = profiles or profiles_of(inputs)
    digest = sha256_of(source)
    key = plan_key(digest, version, gpu, options, profiles)
    model = half_precision(source) if options.fp16 else source.read_bytes()
    data = _built(source, model, profiles, options, timing_cache)
    hashes = {"key": key, "onnx_sha256": digest, "plan_sha256": hashlib.sha256(data).hexdigest()}
    record = _record(hashes, source, version, gpu, options, inputs, outputs)
    replace(record_path(plan), record.model_dump_json(indent=1).encode() + b"\n")
    replace(plan, data)
    return plan


def _built(
    source: Path,
    model: bytes,
    profiles: tuple[Profile, ...],
    options: PlanOptions,
    timing_cache: Path | None,
) -> bytes:
    import tensorrt as trt

    logger, lines = new_logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model, str(source)):
        raise ModelError(
            f"expected operators that TensorRT {trt.__version__} takes in {source.name}, got: "
            f"{_parser_errors(parser)}; see edgetwin.perception.engines.tensorrt_operators"
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb * 2**20)
    config.builder_optimization_level = options.level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    _add_profiles(builder, config, profiles)
    cache = _timing_cache(config, timing_cache)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise ModelError(
            f"expected a plan of {source.name}, got: {' | '.join(list(lines)[-3:])[:800]}; lower "
            "the profiles' largest sizes or raise workspace_mb where memory ran out"
        )
    if cache is not None and timing_cache is not None:
        replace(timing_cache, bytes(cast(Any, cache.serialize())))
    return bytes(cast(Any, built))


def _add_profiles(
    builder: trt.Builder, config: trt.IBuilderConfig, profiles: tuple[Profile, ...]
) -> None:
    import tensorrt as trt

    for sizes in profiles:
        profile = builder.create_optimization_profile()
        for name, (low, usual, high) in sizes.items():
            # Lists: release 10.3 takes no tuples here.
            least, most = trt.Dims(list(low)), trt.Dims(list(high))
            profile.set_shape(name, least, trt.Dims(list(usual)), most)
        config.add_optimization_profile(profile)


def _timing_cache(config: trt.IBuilderConfig, file: Path | None) -> trt.ITimingCache | None:
    """Give the builder the timings of earlier builds; those of another machine are dropped."""
    if file is None:
        return None
    known = b""
    if file.is_file() and file.stat().st_size <= _TIMING_CACHE_MB * 2**20:
        known = file.read_bytes()
    cache = config.create_timing_cache(known)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _parser_errors(parser: trt.OnnxParser) -> str:
    """Return what the parser did not take: node, operator, reason."""
    count = parser.num_errors
    errors = [parser.get_error(index) for index in range(min(count, _ERRORS_SHOWN))]
    shown = [f"{e.node_operator()} {e.node_name()!r}: {e.desc()}" for e in errors]
    if count > len(shown):
        shown.append(f"and {count - len(shown)} more")
    return "; ".join(shown) or "no reason from TensorRT"


def half_precision(onnx_path: Path) -> bytes:
    """Return the ONNX file computing in float16; inputs and outputs keep their types.

    Raises:
        ModelError: if the onnx package is missing, or the file cannot be read.
    """
    try:
        import onnx
        from onnxruntime.transformers import float16, onnx_model
    except ImportError as error:
        raise ModelError(f"{MissingExtraError('onnx', 'export')}, or build without fp16") from error
    try:
        model = onnx.load(str(onnx_path))
    except Exception as error:  # protobuf and onnx raise unrelated classes
        raise ModelError(f"expected an ONNX file at {onnx_path}, got: {error}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one per number that float16 rounds to its limits
        convert: Any = float16.convert_float_to_float16
        converted = convert(model, keep_io_types=True)
    wrap: Any = onnx_model.OnnxModel
    wrap(converted).topological_sort()  # the converter puts its casts at the end
    # What it leaves in float32 (Resize) keeps a note of the other type there.
    del converted.graph.value_info[:]
    return bytes(converted.SerializeToString())


def onnx_ports(path: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Return inputs and outputs of an ONNX file with the names of their free dimensions.

    Raises:
        ModelError: if the file cannot be opened.
    """
    from .ort import OnnxRuntimeEngine

    engine = OnnxRuntimeEngine(path, device="cpu", threads=1, optimize=False)
    try:
        return engine.inputs, engine.outputs
    finally:
        engine.close()


def _record(
    hashes: dict[str, str],
    source: Path,
    version: str,
    gpu: Gpu,
    options: PlanOptions,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
) -> PlanRecord:
    return PlanRecord(
        **hashes,
        network=source.name,
        tensorrt=version,
        gpu=gpu.name,
        compute=gpu.compute,
        driver=gpu.driver,
        version_compatible=options.version_compatible,
        inputs={port.name: port.shape for port in inputs},
        outputs={port.name: port.shape for port in outputs},
    )
