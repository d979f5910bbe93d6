"""For robotics engineers: ask which object, get its id, its mask and where it is in space.

    edgetwin serve table=rtsp://camera/stream &
    python examples/which_object.py http://127.0.0.1:8300 table "what could I drink from?"

Prints one line of JSON per object. ``position_m`` is in metres in camera axes (x right, y down,
z forward), None where depth is relative; ``age_ms`` says how old the frame is: do not grasp after
something that is no longer there. The exit code is 1 when no object answers the question.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import numpy as np

from edgetwin.deploy.client import Client


def main() -> None:
    """Ask once and print what can be acted on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server")
    parser.add_argument("stream")
    parser.add_argument("question")
    parser.add_argument("--masks", help="write the masks here, as ID (H, W) arrays of an .npz")
    given = parser.parse_args()
    with Client(given.server, token=os.environ.get("EDGETWIN_TOKEN")) as client:
        answer = client.ask(given.stream, given.question)
        masks = answer.masks_hw()
        for object_id in answer.ids:
            found = client.object(given.stream, object_id)
            mask_hw = masks.get(object_id)
            told = {
                "id": object_id,
                "label": found.object.semantic_label,
                "attributes": found.object.attributes,
                "state": found.object.state,
                "box_xyxy": found.object.box_xyxy,
                "mask_pixels": None if mask_hw is None else int(mask_hw.sum()),
                "position_m": found.object.centroid_m,
                "extent_m": found.object.extent_m,
                "age_ms": found.age_ms,
            }
            print(json.dumps(told))
    if given.masks:
        arrays: dict[str, Any] = {str(key): mask_hw for key, mask_hw in masks.items()}
        np.savez_compressed(given.masks, **arrays)
    raise SystemExit(0 if answer.ids else 1)


if __name__ == "__main__":
    main()
