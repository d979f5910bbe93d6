"""A stdio server over the hand-made twins, for tests of the transport; ``hold`` holds questions."""

from __future__ import annotations

import sys
import threading

from edgetwin.deploy.agents.serving import serve_stdio

from .fakes import FakeBackend

if __name__ == "__main__":
    backend = FakeBackend()
    if "hold" in sys.argv:
        backend.holding = threading.Event()
    serve_stdio(backend)
    others = [t for t in threading.enumerate() if t is not threading.main_thread()]
    for thread in others:
        thread.join(2)
    left = [t.name for t in others if t.is_alive()]
    print(f"closed={backend.closed} left={left}", file=sys.stderr)
