"""The ``trtexec`` line that builds the plan which :mod:`.engines` builds through Python.

For those who profile, or build where Python has no TensorRT. Flags as of trtexec of releases 10
(its ``--help``): sizes of memory pools in MiB by the suffix ``M``, several optimisation profiles
by ``--profile=N`` before their shapes, and shapes for inputs with free dimensions only (it
refuses them for a static network).

A plan of trtexec has no record, so EdgeTwin does not take it: it is for ``--loadEngine``.

Not covered: release 11 is always strongly typed and no longer has ``--fp16``.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ...perception.engines import Port
from ...perception.engines.profiles import Profile
from ...perception.engines.tensorrt_plan import PlanOptions

__all__ = ["JETSON_PATH", "trtexec_line"]

JETSON_PATH = "/usr/src/tensorrt/bin/trtexec"
_SHAPES = ("--minShapes", "--optShapes", "--maxShapes")


def trtexec_line(
    onnx_path: Path,
    plan: Path,
    ports: Sequence[Port],
    profiles: Sequence[Profile],
    options: PlanOptions,
    timing_cache: Path,
) -> str:
    """Return the line, its arguments quoted for a shell.

    ``ports`` are the network's inputs; ``profiles`` give the shapes of those with free
    dimensions (see :mod:`edgetwin.perception.engines.profiles`).
    """
    free = [port.name for port in ports if any(not isinstance(dim, int) for dim in port.shape)]
    arguments = [
        "trtexec",
        f"--onnx={onnx_path}",
        f"--saveEngine={plan}",
        # With --fp16 TensorRT chooses types itself; else it takes those of the file.
        "--fp16" if options.fp16 else "--stronglyTyped",
        f"--memPoolSize=workspace:{options.workspace_mb}M",
        f"--builderOptimizationLevel={options.level}",
        f"--timingCacheFile={timing_cache}",
    ]
    if options.version_compatible:
        arguments.append("--versionCompatible")
    for index, profile in enumerate(profiles if free else ()):
        if len(profiles) > 1:
            arguments.append(f"--profile={index}")
        arguments += [
            f"{flag}={','.join(f'{name}:{_size(profile[name][which])}' for name in free)}"
            for which, flag in enumerate(_SHAPES)
        ]
    return shlex.join([*arguments, "--skipInference"])


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
