"""TwinBench figures: perception alone, the reasoner alone, and pixels to masks."""

from __future__ import annotations

from .twinbench import evaluate_twinbench

__all__ = ["evaluate_twinbench"]
