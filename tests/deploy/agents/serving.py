"""A real ``edgetwin serve`` process over the project's own clips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parents[3]
LAST = 31  # index of the last frame of every example


@contextmanager
def served(folder: Path, *sources: str, **options: str) -> Iterator[str]:
    """Serve ``examples/SOURCE.mp4`` under their names, read to the end; yields the address.

    Options are those of the command line, such as ``token_file=…``.
    """
    arguments = [sys.executable, "-m", "edgetwin.cli", "serve", "--port", "0", "--report-s", "0"]
    arguments += ["--folder", str(folder / "live")]
    arguments += [f"{name}={ROOT}/examples/{name}.mp4" for name in sources]
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=env) as child:
        try:
            assert child.stdout is not None
            url = child.stdout.readline().strip().rstrip("/")
            assert url.startswith("http://127.0.0.1:"), url
            token = Path(options["token_file"]).read_text() if "token_file" in options else ""
            for name in sources:
                _over(url, name, token)
            yield url
        finally:
            child.terminate()
            assert child.wait(timeout=20) == 0


def _over(url: str, stream: str, token: str) -> None:
    """Wait until a clip was seen to its end."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    until = time.monotonic() + 60
    while time.monotonic() < until:
        answer = httpx2.get(f"{url}/api/streams/{stream}", headers=headers, timeout=10)
        assert answer.status_code == 200, answer.text
        if answer.json()["frame_index"] == LAST:
            return
        time.sleep(0.05)
    raise AssertionError(f"{stream} was not seen to its end")


def truth(stream: str, category: str, when: str = "last_frame") -> dict[str, Any]:
    """Where an object of a clip really is at its beginning or end."""
    document = json.loads((ROOT / f"examples/{stream}.truth.json").read_text())
    (found,) = [o["id"] for o in document["objects"] if o["category"] == category]
    return dict(document[when][str(found)])
