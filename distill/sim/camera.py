"""The simulated pinhole camera: looks at the table, projects points, casts rays to the table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FOVY_DEG", "Camera", "Light", "focal_px"]

FOVY_DEG = 45.0
Floats = NDArray[np.float64]


def focal_px(height: int) -> float:
    """Focal length in pixels of a picture of that height (square pixels)."""
    return height / 2 / math.tan(math.radians(FOVY_DEG / 2))


@dataclass(frozen=True, slots=True)
class Light:
    """A key light with shadows, a fill light without, and ambient light."""

    key_dir: tuple[float, float, float]
    fill_dir: tuple[float, float, float]
    key: float
    fill: float
    ambient: float


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera on a sphere around ``target``; angles in radians, lengths in metres.

    ``drift`` (radians per second) turns the azimuth with time for a moving camera.
    """

    elevation: float
    azimuth: float
    distance: float
    target: tuple[float, float, float]
    drift: float = 0.0

    def pose(self, t: float) -> tuple[Floats, Floats]:
        """Eye position (3,) and frame (3, 3) with columns right, down, forward."""
        turn = self.azimuth + self.drift * t
        flat = math.cos(self.elevation)
        away = np.array([math.sin(turn) * flat, -math.cos(turn) * flat, math.sin(self.elevation)])
        right = np.array([math.cos(turn), math.sin(turn), 0.0])
        forward = -away
        frame = np.stack([right, np.cross(forward, right), forward], axis=1)
        return np.array(self.target) + self.distance * away, frame

    def project(self, points_n3: Floats, t: float, width: int, height: int) -> Floats:
        """(x px, y px, z metres) of world points, shape (n, 3)."""
        eye, frame = self.pose(t)
        local = (points_n3 - eye) @ frame
        z = np.maximum(local[:, 2], 1e-3)
        focal = focal_px(height)
        return np.stack(
            [
                local[:, 0] / z * focal + width / 2,
                local[:, 1] / z * focal + height / 2,
                local[:, 2],
            ],
            axis=1,
        )

    def on_plane(
        self, x: float, y: float, level: float = 0.0, t: float = 0.0, size: int = 256
    ) -> tuple[float, float]:
        """World (x, y) where the ray of a pixel meets the plane z = ``level``."""
        eye, frame = self.pose(t)
        focal = focal_px(size)
        ray = frame @ np.array([(x - size / 2) / focal, (y - size / 2) / focal, 1.0])
        scale = (level - eye[2]) / min(ray[2], -1e-6)
        return float(eye[0] + scale * ray[0]), float(eye[1] + scale * ray[1])
