"""Stdio servers for tests of the transport, as ``python -m``; they say on stderr how they ended.

Without arguments over the hand-made twins; ``hold`` holds questions there; ``hub`` is a real hub
whose language model hangs.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from edgetwin.deploy.agents.backend import Backend
from edgetwin.deploy.agents.hub_backend import HubBackend
from edgetwin.deploy.agents.serving import serve_stdio
from edgetwin.deploy.live.hub import LiveHub
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Reasoner

from ..live.taps import Slow, Taps, spec
from ..scenes import square_models
from .fakes import FakeBackend


class Hanging(ScriptedModel):
    """A language model that does not come back for a minute."""

    def open(self) -> Any:
        time.sleep(60)
        raise AssertionError("nobody waited so long")


def hanging_hub(folder: Path) -> HubBackend:
    """A hub with one stream, cell, of ten frames a second."""
    models = dataclasses.replace(square_models([]), reasoner=Reasoner(Hanging([])))
    openers = {"tap": Taps().opener}
    hub = LiveHub(models, folder=folder, openers=openers, observe=lambda words: Slow())
    hub.add(spec("cell@10"))
    return HubBackend(hub)


def main() -> None:
    """Serve, then say what is left."""
    with tempfile.TemporaryDirectory() as folder:
        backend: Backend
        if "hub" in sys.argv:
            backend = hanging_hub(Path(folder))
        else:
            backend = fake = FakeBackend()
            fake.holding = threading.Event() if "hold" in sys.argv else None
        serve_stdio(backend)
    print("ended", file=sys.stderr, flush=True)
    closed = getattr(backend, "closed", None)
    others = [t for t in threading.enumerate() if t is not threading.main_thread()]
    until = time.monotonic() + 2
    for thread in others:
        thread.join(max(0.0, until - time.monotonic()))
    left = sorted(t.name for t in others if t.is_alive())
    print(f"closed={closed} left={left}", file=sys.stderr)


if __name__ == "__main__":
    main()
