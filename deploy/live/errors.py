"""What a hub refuses: ids that are not there, and more than it can do at once."""

from __future__ import annotations

from ...twin.errors import EdgeTwinError, InputError

__all__ = ["BusyError", "UnknownError"]


class UnknownError(InputError):
    """A stream, session, standing question or event that is not there (any more)."""


class BusyError(EdgeTwinError):
    """A bound is reached, or the hub is closing: the same may be asked again later.

    ``retry_after_s`` is when that may help, in seconds; ``closing``: the hub will not come back.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0, *, closing: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.closing = closing
