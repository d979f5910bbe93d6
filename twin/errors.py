"""The error tree of EdgeTwin.

::

    EdgeTwinError
    ├── InputError        what the caller gave cannot be used (exit code 2)
    │   ├── SourceError   a video, image or folder that cannot be opened or read
    │   └── QueryError    an empty or over-long question
    ├── SchemaError       a record that breaks the twin's schema or its version
    ├── StoreError        the twin's database cannot be opened, read or written
    ├── ToolError         a tool call with a wrong name, argument or reference
    │   └── StepError     a step of a sound plan that could not be computed, or came too late
    ├── ProtocolError     a transcript that breaks the reason/plan/answer protocol
    ├── ModelError        weights or bundles that are missing, tampered or unusable
    ├── OutputError       a result that cannot be written (full disk, no permission)
    ├── TrainingError     a training that cannot go on: a loss or gradient that is not finite
    └── MissingExtraError an optional dependency that is not installed

Every message says what was expected, what came, and what to do next.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "EdgeTwinError",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "OutputError",
    "ProtocolError",
    "QueryError",
    "SchemaError",
    "SourceError",
    "StepError",
    "StoreError",
    "ToolError",
    "TrainingError",
]


class EdgeTwinError(Exception):
    """Base of every error that EdgeTwin raises on purpose."""


class InputError(EdgeTwinError):
    """Something the caller gave cannot be used."""


class SourceError(InputError):
    """A video, image or folder cannot be opened or read."""


class QueryError(InputError):
    """A question is empty, too long or not text."""


class SchemaError(EdgeTwinError):
    """A record breaks the twin's schema or carries an unknown version."""


class StoreError(EdgeTwinError):
    """The twin's database cannot be opened, read or written."""


class ToolError(EdgeTwinError):
    """A tool call has a wrong name, argument or reference."""


class StepError(ToolError):
    """A step of a plan that was found sound could not be computed, or its time was over.

    ``results`` are those of the steps before it (``StepResult`` of ``twin.tools``), which hold.
    """

    def __init__(self, message: str, results: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.results = results


class ProtocolError(EdgeTwinError):
    """A transcript breaks the reason/plan/results/answer protocol."""


class ModelError(EdgeTwinError):
    """Weights or a bundle are missing, tampered with or unusable."""


class OutputError(EdgeTwinError):
    """A result cannot be written."""


class TrainingError(EdgeTwinError):
    """A training cannot go on, such as after a loss that is not a number."""


class MissingExtraError(EdgeTwinError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is needed for this and is not installed: pip install 'edgetwin[{extra}]'"
        )
        self.package = package
        self.extra = extra
