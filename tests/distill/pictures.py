"""Coloured rectangles and discs in the format of the simulator's picture shards."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgetwin.distill.sim.catalogue import CELL

PAINT = {
    "red": (210, 40, 40),
    "green": (50, 170, 60),
    "blue": (50, 80, 210),
    "white": (240, 240, 240),
}


class ShapePictures:
    """N pictures of 256 × 256 with up to three shapes: a category is a size and a form."""

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.rgb = np.full((count, 256, 256, 3), 120, np.uint8)
        self.rgb += rng.integers(0, 12, self.rgb.shape, dtype=np.uint8)
        self.ids = np.zeros((count, 256, 256), np.uint8)
        plane = np.linspace(1.1, 0.6, 256, dtype=np.float32)[:, None].repeat(256, 1)
        self.depth = np.broadcast_to(plane, (count, 256, 256)).astype(np.float16).copy()
        self.objects: list[dict[str, Any]] = []
        yy, xx = np.mgrid[:256, :256]
        for i in range(count):
            found = []
            for k in range(1, int(rng.integers(2, 4))):
                kind = int(rng.integers(4))
                color = str(rng.choice(list(PAINT)))
                cx, cy = rng.integers(40, 216, 2)
                size = (18, 30)[kind % 2]
                near = (
                    np.maximum(abs(xx - cx), abs(yy - cy))
                    if kind < 2
                    else np.hypot(xx - cx, yy - cy)
                )
                mask = (near < size) & (self.ids[i] == 0)
                if mask.sum() < 300:
                    continue
                self.ids[i][mask] = k
                self.rgb[i][mask] = PAINT[color]
                self.depth[i][mask] -= np.float16(0.05)
                found.append({"id": k, "category": CELL[kind], "color": color})
            self.objects.append({"seed": i, "objects": found})

    def __len__(self) -> int:
        return len(self.rgb)
