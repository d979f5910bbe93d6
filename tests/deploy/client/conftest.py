"""A real server behind a token, on a hub with the embedded models and a looping video."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgetwin.deploy.client import Client
from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.models import load_models
from edgetwin.deploy.serve.config import ServeSettings

from ...test_cli import EMBEDDED
from ..serve.served import Served, serve

ROOT = Path(__file__).parents[3]
TOKEN = "a-token-of-this-test-0123456789"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    if not (EMBEDDED / "manifest.json").is_file():
        pytest.skip("the embedded set is not trained here: run `edgetwin distill embedded` first")
    with LiveHub(load_models("embedded"), folder=tmp_path_factory.mktemp("hub")) as found:
        video = ROOT / "examples" / "affordance.mp4"
        stream = found.add(StreamSpec(id="table", source=str(video), loop=True, live=True))
        assert stream.wait(3, 20) is not None
        assert stream.memory is not None
        deadline = time.monotonic() + 20
        while stream.memory.counts()[0] < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield found


@pytest.fixture(scope="module")
def served(hub: LiveHub) -> Iterator[Served]:
    with serve(hub, ServeSettings(port=0, token=TOKEN)) as found:
        yield found


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url, token=TOKEN) as found:
        yield found
