"""One hub with the embedded models and a looping video, for all of a file that only look at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.models import Models, load_models
from edgetwin.deploy.serve.config import ServeSettings

from ...test_cli import EMBEDDED
from .served import Served, serve

ROOT = Path(__file__).parents[3]
VIDEO = ROOT / "examples" / "affordance.mp4"
TOKEN = "a-token-of-this-test-0123456789"


@pytest.fixture(scope="session")
def models() -> Models:
    if not (EMBEDDED / "manifest.json").is_file():
        pytest.skip("the embedded set is not trained here: run `edgetwin distill embedded` first")
    return load_models("embedded")


@pytest.fixture(scope="module")
def hub(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    with LiveHub(models, folder=tmp_path_factory.mktemp("hub")) as found:
        stream = found.add(StreamSpec(id="table", source=str(VIDEO), loop=True, live=True))
        assert stream.wait(3, 20) is not None
        yield found


@pytest.fixture(scope="module")
def served(hub: LiveHub) -> Iterator[Served]:
    with serve(hub) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(hub: LiveHub) -> Iterator[Served]:
    """The same hub behind a token."""
    with serve(hub, ServeSettings(port=0, token=TOKEN)) as found:
        yield found


@pytest.fixture(scope="module")
def web(served: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served.url, timeout=20, trust_env=False) as client:
        yield client
