"""Runs ``edgetwin track`` over odd and damaged variants of clips, and says how each one ended.

    python -m tests.attacks.run_variants --from FOLDER --count 200

A worker process tracks one variant after the other and is watched: a crash, a hang, too much
memory, an error without a type, or an ending that the kind does not allow is *bad*, and the
exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgetwin.deploy.models import Perception, load_perception
from edgetwin.deploy.track import track
from edgetwin.twin.errors import EdgeTwinError

from .video_damage import KINDS
from .video_variants import Variant, load_clip, make_variants

__all__ = ["Outcome", "Worker", "attempt", "judge", "table"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """How one variant ended. ``bad`` says in one line what must not be, or is empty."""

    name: str
    group: str
    status: str
    reason: str
    frames: int
    seconds: float
    peak_mb: float
    bad: str


def attempt(
    path: Path, out: Path, max_frames: int, models: str | Perception = "embedded"
) -> dict[str, Any]:
    """Track one file in this process; a typed error is a status, any other a crash."""
    started = time.perf_counter()
    told: dict[str, Any] = {"status": "crash", "reason": "", "frames": 0}
    try:
        report = track(path, out, models, max_frames=max_frames)
        told |= {"status": report.status, "reason": report.reason}
        told["frames"] = report.frames["processed"]
    except EdgeTwinError as error:
        told |= {"status": "error", "reason": " ".join(str(error).split())}
    except BaseException as error:
        told["reason"] = f"{type(error).__name__}: {error}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**told, "seconds": time.perf_counter() - started, "peak_mb": peak}


def judge(variant: Variant, told: dict[str, Any], limit_mb: float = 2048) -> Outcome:
    """Hold an ending against what the kind allows."""
    bad = ""
    if told["status"] not in variant.kind.may:
        bad = f"{told['status']}, allowed: {', '.join(sorted(variant.kind.may))}"
    elif variant.frames is not None and told["frames"] != variant.frames:
        bad = f"{told['frames']} frames, expected {variant.frames}"
    elif told["status"] != "ok" and not told["reason"]:
        bad = "no reason given"
    elif told["peak_mb"] > limit_mb:
        bad = f"{told['peak_mb']:.0f} MB, allowed: {limit_mb:.0f}"
    return Outcome(
        variant.path.name,
        variant.kind.group,
        told["status"],
        told["reason"],
        told["frames"],
        round(told["seconds"], 2),
        round(told["peak_mb"]),
        bad,
    )


class Worker:
    """A process that tracks files, started anew after a crash or a hang."""

    def __init__(self, timeout_s: float = 60.0) -> None:
        self.timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, path: Path, out: Path, max_frames: int) -> dict[str, Any]:
        """Track one file; a worker that dies or does not answer is a status too."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        job = {"path": str(path), "out": str(out), "max_frames": max_frames}
        started = time.perf_counter()
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self.timeout_s)
        line = process.stdout.readline() if ready else b""
        if line:
            told: dict[str, Any] = json.loads(line)
            return told
        process.kill()
        ended = self._end()
        status, reason = ("crash", f"exit code {ended}") if ready else ("hang", "no end in time")
        took = time.perf_counter() - started
        return {"status": status, "reason": reason, "frames": 0, "seconds": took, "peak_mb": 0.0}

    def close(self) -> None:
        """End the process, after its last file."""
        self._end()

    def _end(self) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [sys.executable, "-m", "tests.attacks.run_variants", "--worker"]
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        return self._process


def table(outcomes: list[Outcome]) -> str:
    """Outcomes by group, then every bad one in a line."""
    columns = ("ok", "partial", "error", "bad")
    lines = [f"{'':22}{'files':>7}" + "".join(f"{c:>9}" for c in columns)]
    for group in [*dict.fromkeys(o.group for o in outcomes), "all"]:
        rows = [o for o in outcomes if group in (o.group, "all")]
        counts = Counter(o.status for o in rows)
        counts["bad"] = sum(bool(o.bad) for o in rows)
        lines.append(f"{group:22}{len(rows):7}" + "".join(f"{counts[c]:9}" for c in columns))
    lines += [f"BAD {o.name}: {o.bad} ({o.reason})" for o in outcomes if o.bad]
    return "\n".join(lines)


def _work() -> None:
    load_perception()  # what every file would pay for is paid before the first
    for line in sys.stdin:
        job = json.loads(line)
        told = attempt(Path(job["path"]), Path(job["out"]), job["max_frames"])
        print(json.dumps(told), flush=True)


def main() -> int:
    """Make, run, print; 1 if any ending is bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--from", dest="clips", type=Path, help="folder of *.mp4 clips")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--frames", type=int, default=8, help="frames taken from each clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per variant")
    parser.add_argument("--json", type=Path, help="file to write every outcome to")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        _work()
        return 0
    clips = [load_clip(path, args.frames) for path in sorted(args.clips.glob("*.mp4"))]
    left_out: list[str] = []
    outcomes: list[Outcome] = []
    worker = Worker(args.timeout)
    with tempfile.TemporaryDirectory() as folder:
        made = make_variants(Path(folder) / "v", clips, KINDS, args.count, args.seed, left_out)
        for variant in made:
            told = worker.run(variant.path, Path(folder) / "out", args.frames + 4)
            outcomes.append(judge(variant, told))
            print(f"{len(outcomes):4} {outcomes[-1].name}: {told['status']} {told['reason']}")
            variant.path.unlink(missing_ok=True)
    worker.close()
    print(table(outcomes))
    for line in left_out:
        print(f"not made here: {line}")
    if args.json:
        args.json.write_text(json.dumps([asdict(o) for o in outcomes], indent=1) + "\n")
    return int(any(o.bad for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
