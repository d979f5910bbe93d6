"""Questions on the twin with their programs, English wordings and reference chains."""

from __future__ import annotations

from .families import Split
from .generate import Maker, Question, questions
from .noise import PERCEPTION, Noise, noisy_window
from .programs import Category, Node, Plan

__all__ = [
    "PERCEPTION",
    "Category",
    "Maker",
    "Node",
    "Noise",
    "Plan",
    "Question",
    "Split",
    "noisy_window",
    "questions",
]
