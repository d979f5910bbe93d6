"""The embedded set on aarch64: the real wheels in a Debian arm64 root, under emulation.

    make arm64                      or: python -m tests.arm64.smoke [--frames 8] [--fresh]

A few frames of a clip and one question go through the ordinary ``edgetwin run`` twice: with this
environment's Python, and with Debian's arm64 Python and the aarch64 wheels of the same versions
under QEMU's user mode. Both runs read one copy of the sources. The answers must be the same to the
letter and the masks within a bound; the log ends with the verdict. Exit codes: 0 the same, 1 they
differ, 2 a step could not be done (the line says what to do next).

Needed: Debian (apt-get, dpkg-deb), a package index for pip, about 1.5 GB; no root, nothing is
installed. All of it lies under runs/arm64 and is used again; ``--fresh`` starts anew.

Not covered: speed (an emulator says nothing of it), memory, CUDA and TensorRT, the instructions
that an emulated Cortex-A76 lacks (SVE, i8mm, bf16), and the kernel and drivers of a board.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

from .machine import ROOT, Emulated, SmokeError, build, foreign_libraries
from .verdict import Verdict, compare

RUNS = ROOT / "runs" / "arm64"
CLIP = ROOT / "examples" / "spatial.mp4"
QUESTION = "What is left of the blue glass?"
ROOMS = ("twin", "perception", "reasoner", "deploy", "distill")
SHOWN = (
    "numpy",
    "opencv-python-headless",
    "av",
    "onnxruntime",
    "onnxruntime-genai",
    "llguidance",
    "pydantic-core",
)
# Writes what runs it, then is `edgetwin`: argv[1] is the facts' file, the rest is for edgetwin.
# An answer may take ten minutes in place of ten seconds: emulation is slow, and slower beside
# other work, and what is tried is the answer.
PROGRAM = f"""
import json, platform, sys
from functools import partial
from importlib import metadata
import edgetwin
from edgetwin.reasoner import rollout
rollout.Budget = partial(rollout.Budget, seconds=600.0)
facts = {{"machine": platform.machine(), "python": platform.python_version(),
         "libc": " ".join(platform.libc_ver()), "edgetwin": edgetwin.__file__,
         "packages": {{name: metadata.version(name) for name in {SHOWN!r}}}}}
open(sys.argv.pop(1), "w").write(json.dumps(facts))
from edgetwin.cli import main
main()
"""


class Log:
    """Lines on the screen and in a file, each with the seconds since the start."""

    def __init__(self, path: Path) -> None:
        self._start = time.monotonic()
        self._file = path.open("w", encoding="utf-8", buffering=1)

    def __call__(self, line: str) -> None:
        """Print one line."""
        text = f"[{time.monotonic() - self._start:7.1f} s] {line}"
        print(text, flush=True)
        self._file.write(text + "\n")


def cut(source: Path, target: Path, frames: int) -> int:
    """The first packets of a clip as they are, so that decoding is tried too: frames held."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        kept = 0
        for packet in reader.demux(stream):
            if packet.dts is not None and kept < frames:
                packet.stream = copy
                writer.mux(packet)
                kept += 1
    return kept


def copy_sources(target: Path) -> None:
    """The package as it stands now, so that both machines run the same lines."""
    shutil.rmtree(target, ignore_errors=True)
    skip = shutil.ignore_patterns("__pycache__", "*.onnx.data")
    for room in ROOMS:
        shutil.copytree(ROOT / room, target / "edgetwin" / room, ignore=skip)
    for name in ("__init__.py", "cli.py", "py.typed"):
        shutil.copy2(ROOT / name, target / "edgetwin" / name)


def answer(
    python: Sequence[str], paths: Sequence[Path], out: Path, clip: Path, minutes: float
) -> dict[str, Any]:
    """One ``edgetwin run`` into ``out``: what ran it, and its seconds (by the clock, of the CPU).

    Raises:
        SmokeError: it failed or took longer than ``minutes``.
    """
    shutil.rmtree(out, ignore_errors=True)
    (out / "home").mkdir(parents=True)
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(out / "home"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONNOUSERSITE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    told = out / "output.txt"
    command = [*python, "-c", PROGRAM, str(out / "facts.json"), "run", str(clip)]
    command += ["-q", QUESTION, "-o", str(out / "run")]
    start, used = time.monotonic(), _children_s()
    try:
        with told.open("w") as sink:
            code = subprocess.run(
                command, env=env, cwd=out, stdout=sink, stderr=sink, timeout=minutes * 60
            ).returncode
    except subprocess.TimeoutExpired as error:
        raise SmokeError(
            f"no answer within {minutes:g} minutes ({told} holds its words); "
            "give it more with --minutes, or fewer frames with --frames"
        ) from error
    if code:
        last = "\n".join(told.read_text(errors="replace").splitlines()[-8:])
        raise SmokeError(f"edgetwin run ended with {code}; its last words, all in {told}:\n{last}")
    facts: dict[str, Any] = json.loads((out / "facts.json").read_text())
    return {**facts, "seconds": time.monotonic() - start, "cpu_s": _children_s() - used}


def _children_s() -> float:
    """CPU seconds of every program that was started and has ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _check(facts: dict[str, Any], machine: str, source: Path) -> None:
    if facts["machine"] != machine:
        raise SmokeError(f"expected a Python of {machine}, got {facts['machine']}; try --fresh")
    if not Path(facts["edgetwin"]).is_relative_to(source):
        raise SmokeError(f"expected edgetwin from {source}, got {facts['edgetwin']}")


def _tell_machine(log: Log, emulated: Emulated) -> None:
    total, wrong = foreign_libraries(emulated.site)
    log(f"emulator: {emulated.emulator}")
    log(f"root: Debian {emulated.debian}")
    native = [name for name in emulated.wheels if "aarch64" in name]
    log(f"wheels: {len(emulated.wheels)}, of them {len(native)} for aarch64; {total} libraries")
    for name in native:
        log(f"  {name}")
    if wrong or not total:
        raise SmokeError(f"expected aarch64 libraries only, got {wrong or 'none'}; try --fresh")


def _tell_run(log: Log, facts: dict[str, Any], out: Path) -> None:
    document = json.loads((out / "run" / "answer.json").read_text())
    objects = ", ".join(f"{o['id']} {o['label']}" for o in document["objects"])
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    log(f"{facts['machine']}: Python {facts['python']}, {facts['libc']}; {packages}")
    log(
        f"{facts['machine']}: {document['status']}, objects: {objects}; "
        f"plan {json.dumps(document['plan'])}; "
        f"{facts['seconds']:.1f} s, of the CPU {facts['cpu_s']:.1f} s"
    )


def smoke(options: argparse.Namespace, log: Log) -> Verdict:
    """All steps; see the file's head.

    Raises:
        SmokeError: a step could not be done.
    """
    emulated = build(RUNS, options.mirror)
    _tell_machine(log, emulated)
    source, clip = RUNS / "source", RUNS / "clip.mp4"
    copy_sources(source)
    held = cut(options.clip, clip, options.frames)
    log(f"{options.clip.name}: first {held} frames; {QUESTION!r}")
    here, there = RUNS / "here", RUNS / "aarch64"
    facts = answer([sys.executable, "-s"], [source], here, clip, options.minutes)
    _check(facts, os.uname().machine, source)
    _tell_run(log, facts, here)
    log(f"now under emulation, at most {options.minutes:g} minutes")
    facts = answer([*emulated.command, "-s"], [source, emulated.site], there, clip, options.minutes)
    _check(facts, "aarch64", source)
    _tell_run(log, facts, there)
    return compare(here / "run", there / "run", lowest_iou=options.iou, box_px=options.box_px)


def main() -> int:
    """Parse, run, tell; the exit code."""
    head = (__doc__ or "").strip().splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m tests.arm64.smoke", description=head)
    parser.add_argument(
        "--clip", type=Path, default=CLIP, help="a video; its first frames are used"
    )
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--iou", type=float, default=0.99, help="lowest IoU of any mask")
    parser.add_argument("--box-px", type=float, default=1.0, help="most that boxes may be apart")
    parser.add_argument("--minutes", type=float, default=60, help="most for either run")
    parser.add_argument("--mirror", help="Debian's archive; as apt has it if left out")
    parser.add_argument("--fresh", action="store_true", help="fetch and unpack everything anew")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a fallen emulator leaves gigabytes
    log = Log(RUNS / "smoke.log")
    try:
        verdict = smoke(options, log)
    except SmokeError as error:
        log(f"error: {error}")
        return 2
    log(
        f"{verdict.frames} frames, {verdict.masks} masks: lowest IoU {verdict.lowest_iou:.4f}, "
        f"mean {verdict.mean_iou:.4f}; boxes of the answer {verdict.box_px:g} px apart"
    )
    for fault in verdict.faults:
        log(f"differs: {fault}")
    log("verdict: same answer on both" if verdict.same else "verdict: THEY DIFFER")
    return 0 if verdict.same else 1


if __name__ == "__main__":
    sys.exit(main())
