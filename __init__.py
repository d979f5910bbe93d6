"""EdgeTwin: a video stream as a live digital twin, questions about it answered with masks.

The names below are the public interface; each is imported when it is first used, so that
``import edgetwin`` costs nothing and never loads torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# ONNX Runtime's wheels (1.31, GenAI 0.18) write a device id and events into ~/.cache/Microsoft and
# carry a client that can send them. Nothing here tells anything unasked; 0 allows it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from .deploy.models import Models, load_models
    from .deploy.run import RunReport, run
    from .deploy.stream.source import Source, open_source
    from .deploy.track import TrackReport, track
    from .perception.bundle import load_bundle
    from .perception.perceiver import Perceiver, PerceiverConfig
    from .reasoner.answer import Answer
    from .reasoner.models.opening import open_model
    from .reasoner.rollout import Reasoner
    from .reasoner.session import Session
    from .twin.errors import (
        EdgeTwinError,
        InputError,
        MissingExtraError,
        ModelError,
        OutputError,
        ProtocolError,
        QueryError,
        SchemaError,
        SourceError,
        StoreError,
        ToolError,
    )
    from .twin.frame import Frame
    from .twin.schema import FrameTwin, ObjectTwin, Rle
    from .twin.store import TwinStore
    from .twin.window import TwinWindow

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "EdgeTwinError",
    "Frame",
    "FrameTwin",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "Models",
    "ObjectTwin",
    "OutputError",
    "Perceiver",
    "PerceiverConfig",
    "ProtocolError",
    "QueryError",
    "Reasoner",
    "Rle",
    "RunReport",
    "SchemaError",
    "Session",
    "Source",
    "SourceError",
    "StoreError",
    "ToolError",
    "TrackReport",
    "TwinStore",
    "TwinWindow",
    "load_bundle",
    "load_models",
    "open_model",
    "open_source",
    "run",
    "track",
]

_HOMES = {
    "deploy.models": ("Models", "load_models"),
    "deploy.run": ("RunReport", "run"),
    "deploy.stream.source": ("Source", "open_source"),
    "deploy.track": ("TrackReport", "track"),
    "perception.bundle": ("load_bundle",),
    "perception.perceiver": ("Perceiver", "PerceiverConfig"),
    "reasoner.answer": ("Answer",),
    "reasoner.models.opening": ("open_model",),
    "reasoner.rollout": ("Reasoner",),
    "reasoner.session": ("Session",),
    "twin.frame": ("Frame",),
    "twin.schema": ("FrameTwin", "ObjectTwin", "Rle"),
    "twin.store": ("TwinStore",),
    "twin.window": ("TwinWindow",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF.get(name, 'twin.errors')}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
