"""EdgeTwin: a video stream as a live digital twin, questions about it answered with masks."""

__version__ = "0.1.0"
