"""The soak's parts, briefly: GStreamer's own RTSP server behind the proxy that breaks things."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgetwin.deploy.stream.live import LiveSource
from edgetwin.deploy.stream.spec import parse_address
from edgetwin.tests.fault_proxy import FaultProxy

from .feeds import Sink, source_threads, until
from .soak_rtsp import FPS, KINDS, PYTHON, RETRY, SIZES, GstServer, fault, write_pictures

_GI = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst;"
_GI += "Gst.init(None); assert Gst.ElementFactory.find('x264enc')"


def _missing() -> bool:
    try:
        return subprocess.run([PYTHON, "-c", _GI], capture_output=True, timeout=30).returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        return True


pytestmark = pytest.mark.skipif(_missing(), reason=f"{PYTHON} has no GStreamer RTSP server")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GstServer]:
    write_pictures(tmp_path)
    server = GstServer(tmp_path)
    server.start()
    yield server
    server.kill()


def test_each_fault_of_the_soak_once(server: GstServer) -> None:
    proxy, sink = FaultProxy(server.port), Sink()
    address = parse_address(f"rtsp://127.0.0.1:{proxy.port}/live", fps=FPS)
    source = LiveSource(address, sink, stream_id="gst-rtsp", retry=RETRY)
    source.start()
    assert sink.wait_for(3, 20)
    assert sink.frames[0].image_hw3.shape[1::-1] == SIZES[0]
    for kind in KINDS:
        healed = fault(kind, server, proxy, longer=0)
        assert until(lambda t=healed: sink.arrived[-1] > t, 20), (kind, source.status())
    assert until(lambda: sink.frames[-1].image_hw3.shape[1::-1] == SIZES[1])
    assert source.status().reconnects >= 3  # killed, reset, hole
    assert source.stop()
    proxy.close()
    assert not source_threads("gst-rtsp")
