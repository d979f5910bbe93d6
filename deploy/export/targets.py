"""What bundles are made for, and in which number formats."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["PRECISIONS", "TARGETS", "Precision", "Target"]

Target = Literal[
    "cpu", "cuda", "jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "jetson-thor"
]
TARGETS: tuple[Target, ...] = get_args(Target)
Precision = Literal["fp32", "fp16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
