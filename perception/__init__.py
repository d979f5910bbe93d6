"""Perception: frames in, twins out, by OWLv2, SAM 2 and Depth Anything V2 on any engine.

Nothing here imports torch; :mod:`.graphs` holds the modules that are exported and does.
"""

from .bundle import Bundle, load_bundle
from .depth import DepthEstimator
from .detector import Detector
from .everything import EverythingConfig, EverythingFinder
from .perceiver import Perceiver, PerceiverConfig
from .records import Detections, Masks
from .segmenter import Segmenter
from .tracker import Tracker

__all__ = [
    "Bundle",
    "DepthEstimator",
    "Detections",
    "Detector",
    "EverythingConfig",
    "EverythingFinder",
    "Masks",
    "Perceiver",
    "PerceiverConfig",
    "Segmenter",
    "Tracker",
    "load_bundle",
]
