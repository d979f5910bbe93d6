"""A small real twin on disk for tests: two squares, one of which moves, perceived from a clip."""

from __future__ import annotations

from pathlib import Path

from edgetwin.deploy.models import Perception
from edgetwin.deploy.track import track

from .scenes import SquareFinder, write_clip


def tracked(folder: Path, frames: int = 8) -> Path:
    """Track a clip of squares into ``folder/twin``; return that folder."""
    clip = write_clip(folder / "squares.mp4", frames)
    out = folder / "twin"
    track(clip, out, Perception("squares", SquareFinder()), overlay=False)
    return out
