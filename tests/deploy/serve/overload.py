"""More questions than a server can answer: what becomes of those it accepts.

``python -m edgetwin.tests.deploy.serve.overload --clients 16 --seconds 30`` starts a server of its
own as a process, asks it one question after the other, then from many clients at once, and prints
both latencies and what was refused. Clients come back at once, without minding ``Retry-After``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import numpy as np

__all__ = ["Load", "Quiet", "ask_many", "ask_one_by_one", "main"]

VIDEO = Path(__file__).parents[3] / "examples" / "affordance.mp4"
QUESTIONS = (
    "what could I drink from?",
    "which object is left of the book?",
    "what is the largest object?",
    "which objects are orange?",
)
_PAUSE_S = 0.02  # of a client that was refused: fifty times a second and client


@dataclass(frozen=True)
class Quiet:
    """Latencies of questions asked one by one, milliseconds."""

    asked: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Load:
    """The same under load, of accepted ones; and what was refused, with Retry-After or without."""

    clients: int
    seconds: float
    accepted: int
    refused: int
    without_retry_after: int
    others: int
    p50_ms: float
    p99_ms: float
    refusal_p99_ms: float


def _ask(web: httpx2.Client, number: int) -> tuple[float, httpx2.Response]:
    body = {"question": QUESTIONS[number % len(QUESTIONS)]}
    began = time.perf_counter()
    got = web.post("/api/streams/table/questions", json=body)
    return (time.perf_counter() - began) * 1e3, got


def ask_one_by_one(url: str, count: int) -> Quiet:
    """Ask so many questions, each after the last one's answer."""
    times = []
    with httpx2.Client(base_url=url, timeout=60, trust_env=False) as web:
        for number in range(count):
            ms, got = _ask(web, number)
            got.raise_for_status()
            times.append(ms)
    p50, p99 = np.percentile(times, [50, 99])
    return Quiet(count, round(float(p50), 1), round(float(p99), 1))


def ask_many(url: str, clients: int, seconds: float) -> Load:
    """Ask from many clients at once for some seconds."""
    lock = threading.Lock()
    accepted: list[float] = []
    refused: list[float] = []
    wrong = {"retry": 0, "others": 0}
    until = time.monotonic() + seconds

    def client(first: int) -> None:
        number = first
        with httpx2.Client(base_url=url, timeout=60, trust_env=False) as web:
            while time.monotonic() < until:
                ms, got = _ask(web, number)
                number += 1
                with lock:
                    if got.status_code == 200:
                        accepted.append(ms)
                    elif got.status_code in (429, 503):
                        refused.append(ms)
                        wrong["retry"] += int(got.headers.get("retry-after", "0")) < 1
                    else:
                        wrong["others"] += 1
                if got.status_code != 200:
                    time.sleep(_PAUSE_S)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile(accepted or [0.0], [50, 99])
    return Load(
        clients=clients,
        seconds=seconds,
        accepted=len(accepted),
        refused=len(refused),
        without_retry_after=wrong["retry"],
        others=wrong["others"],
        p50_ms=round(float(p50), 1),
        p99_ms=round(float(p99), 1),
        refusal_p99_ms=round(float(np.percentile(refused or [0.0], 99)), 1),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print one JSON record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--questions", type=int, default=200)
    chosen = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgetwin.cli", "serve", f"table={VIDEO}", "--loop"]
        command += ["--live", "--port", "0", "--folder", folder, "--report-s", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip().rstrip("/")
            ask_one_by_one(url, 20)  # warm
            quiet = ask_one_by_one(url, chosen.questions)
            load = ask_many(url, chosen.clients, chosen.seconds)
        finally:
            process.terminate()
            process.wait(30)
    ratio = round(load.p99_ms / quiet.p99_ms, 2)
    print(json.dumps({"quiet": asdict(quiet), "load": asdict(load), "p99_ratio": ratio}, indent=2))


if __name__ == "__main__":
    main()
