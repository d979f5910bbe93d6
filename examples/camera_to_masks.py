"""For video engineers: a camera in; masks as PNG, and the twin as JSON lines, on disk.

    python examples/camera_to_masks.py rtsp://camera/stream out --seconds 60

The source reconnects by itself; frames that perception has no time for are dropped and counted.
Pixels of a mask are object ids (palette PNG), so ``masks/000042.png`` opens in any viewer.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.models import load_models
from edgetwin.deploy.stream.palette import encode_png, palette_index
from edgetwin.twin import FrameTwin, FrameWriter, mask


def picture_of(twin: FrameTwin) -> bytes:
    """Draw the larger objects first, so that what lies on them is seen."""
    index_hw = np.zeros((twin.height, twin.width), np.uint8)
    for obj in sorted(twin.objects.values(), key=lambda obj: -obj.area):
        if obj.mask is not None:
            index_hw[mask.decode(obj.mask)] = palette_index(obj.id)
    return encode_png(index_hw)


def main() -> None:
    """Record for a while, then say what became of the frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="rtsp://…, v4l2:/dev/video0, gst:PIPELINE or a file")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--models", default="embedded")
    given = parser.parse_args()
    masks = given.out / "masks"
    masks.mkdir(parents=True, exist_ok=True)
    with (
        LiveHub(load_models(given.models), folder=given.out / "hub") as hub,
        FrameWriter(given.out / "twin.jsonl") as lines,
    ):
        camera = hub.add(StreamSpec(id="camera", source=given.source, live=True))
        seq, until = 0, time.monotonic() + given.seconds
        while time.monotonic() < until and not camera.source.ended.is_set():
            moment = camera.wait(seq, timeout_s=1.0)  # the newest frame after the last one
            if moment is not None:
                seq = moment.seq
                lines.write(moment.twin)
                (masks / f"{moment.twin.index:06d}.png").write_bytes(picture_of(moment.twin))
        print(camera.status().model_dump_json(indent=1))


if __name__ == "__main__":
    main()
