"""TwinBench figures: perception alone, memory alone, the reasoner alone, and pixels to masks."""

from __future__ import annotations

from .twinbench import SETTINGS, evaluate_twinbench

__all__ = ["SETTINGS", "evaluate_twinbench"]
