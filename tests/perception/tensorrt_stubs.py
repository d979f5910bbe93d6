"""Type stubs of TensorRT's Python API, read off NVIDIA's own binding, without TensorRT or a GPU.

NVIDIA publishes no ``.pyi`` files. Its binding (package ``tensorrt-cu13-bindings``, 2 MB) does
carry every signature, but imports only beside the gigabytes of libraries it calls. So
placeholder libraries that hold nothing but the names of those functions are put in their
place, in a process of its own that only looks at signatures, and mypy's ``stubgen`` writes
them down. Nothing of TensorRT runs here.

    python tests/perception/tensorrt_stubs.py FOLDER

writes ``FOLDER/tensorrt`` and ``FOLDER/tensorrt_bindings`` for MYPYPATH, unless they stand
there already for the installed version. Linux on x86-64 and 64-bit Arm only.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import struct
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

PACKAGE = "tensorrt-cu13-bindings"
_LIBRARIES = ("libnvinfer.so", "libnvinfer_plugin.so", "libnvonnxparser.so")
_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
_MACHINES = {"x86_64": 62, "aarch64": 183}


def why_not() -> str | None:
    """Return why stubs cannot be made here, or None."""
    try:
        metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return f"needs NVIDIA's signatures: pip install {PACKAGE}"
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return f"{PACKAGE} is published for Linux on {' and '.join(_MACHINES)}"
    return None


def write_stubs(folder: Path) -> str:
    """Write both stub packages into ``folder`` and return the version they are of."""
    version = metadata.version(PACKAGE)
    stub = folder / "tensorrt" / "__init__.pyi"
    if stub.is_file() and stub.read_text().startswith(f"# TensorRT {version}\n"):
        return version
    with tempfile.TemporaryDirectory() as name:
        libraries = Path(name)
        for library in _LIBRARIES:
            file = f"{library}.{version.split('.')[0]}"
            (libraries / file).write_bytes(_placeholder(file))
        stubgen = [sys.executable, "-c", "from mypy.stubgen import main; main()", "--quiet"]
        done = subprocess.run(
            [*stubgen, "--inspect-mode", "-m", "tensorrt_bindings.tensorrt", "-o", str(folder)],
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    raw = folder / "tensorrt_bindings" / "tensorrt.pyi"
    if done.returncode or not raw.is_file():
        raise RuntimeError(f"expected stubs of {PACKAGE} {version}, got: {done.stderr[-2000:]}")
    raw.write_text(_repaired(raw.read_text()))
    (raw.parent / "__init__.pyi").write_text("")
    stub.parent.mkdir(exist_ok=True)
    stub.write_text(
        f"# TensorRT {version}\nfrom tensorrt_bindings.tensorrt import *\n__version__: str\n"
    )
    return version


def _repaired(text: str) -> str:
    """Give the stub what mypy needs and the binding's help does not say.

    ``bool`` is also the name of a constant there, some signatures are no Python, and some
    are missing: those two kinds take and return anything.
    """
    lines = ["# mypy: ignore-errors", "import builtins"]
    for line in text.splitlines():
        if not line.startswith("bool:"):
            line = re.sub(r"\bbool\b", "builtins.bool", line)
        found = re.match(r"( *)def (\w+)\((self)?", line)
        if found and (_unparsable(line) or "->" not in line):
            indent, name, bound = found.groups()
            first = "self, " if bound else ""
            line = f"{indent}def {name}({first}*args: typing.Any, **kwargs: typing.Any) -> typing.Any: ..."
        lines.append(line)
    return "\n".join(lines) + "\n"


def _unparsable(line: str) -> bool:
    try:
        ast.parse(line.strip())
    except SyntaxError:
        return True
    return False


def _placeholder(name: str) -> bytes:
    """Return a shared library (ELF64) that defines the functions at address 0 and no code."""
    strings, offsets = b"\0", {}
    for text in (name, *_FUNCTIONS):
        offsets[text] = len(strings)
        strings += text.encode() + b"\0"
    global_function, absolute = 0x12, 0xFFF1
    symbols = bytes(24) + b"".join(
        struct.pack("<IBBHQQ", offsets[f], global_function, 0, absolute, 0, 0) for f in _FUNCTIONS
    )
    count = len(_FUNCTIONS) + 1
    # One bucket: the chain runs through all symbols, each pointing to the next.
    hashes = struct.pack(f"<{3 + count}I", 1, count, 1, 0, *range(2, count), 0)
    start = 64 + 2 * 56
    dynamic_at = start + -start % 8
    symbols_at = dynamic_at + 7 * 16
    hashes_at = symbols_at + len(symbols)
    strings_at = hashes_at + len(hashes)
    size = strings_at + len(strings)
    entries = [(14, offsets[name]), (4, hashes_at), (5, strings_at), (6, symbols_at)]
    entries += [(10, len(strings)), (11, 24), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    machine = _MACHINES[platform.machine()]
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, size, size, 0x10000)
    table = struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, dynamic_at, 0, len(dynamic), len(dynamic), 8)
    body = (header + load + table).ljust(dynamic_at, b"\0")
    return body + dynamic + symbols + hashes + strings


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"no stubs of TensorRT: {reason}")
    else:
        print(f"stubs of TensorRT {write_stubs(Path(sys.argv[1]))} in {sys.argv[1]}")
