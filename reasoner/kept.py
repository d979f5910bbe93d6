"""What was made of a twin, kept until the twin changes: its text, its grammars."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import is_not
from typing import Any, TypeVar

from ..twin.schema import FrameTwin
from ..twin.window import TwinWindow

__all__ = ["Kept"]

_T = TypeVar("_T")
_MAX_KEPT = 64  # of one state: a question needs two grammars, a long twin four texts


class Kept:
    """A bounded cache of one state of one window.

    A window changes by frames that come, go or are replaced; records are never changed in place.
    """

    def __init__(self) -> None:
        self._frames: tuple[FrameTwin, ...] = ()
        self._made: dict[Hashable, Any] = {}

    def get(self, window: TwinWindow, key: Hashable, make: Callable[[], _T]) -> _T:
        """What ``make`` gave for this key since the window changed last, or gives now."""
        frames = window.frames
        if len(frames) != len(self._frames) or any(map(is_not, frames, self._frames)):
            self._frames, self._made = frames, {}
        if key not in self._made:
            if len(self._made) >= _MAX_KEPT:
                self._made.clear()
            self._made[key] = make()
        made: _T = self._made[key]
        return made
