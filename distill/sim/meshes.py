"""Small triangle meshes from formulas: lathes, tubes, extrusions (numpy only).

Faces run counter-clockwise seen from outside; lengths are metres once a shape is scaled.
Not covered: textures, holes in outlines, self-intersecting tubes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Mesh",
    "arc",
    "box",
    "cylinder",
    "ellipsoid",
    "extrude",
    "lathe",
    "merge",
    "rotation",
    "tube",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mesh:
    """``vertices_n3`` float64 and ``faces_m3`` int."""

    vertices_n3: Array
    faces_m3: NDArray[np.int64]

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
        """The mesh translated."""
        return Mesh(self.vertices_n3 + np.array([x, y, z]), self.faces_m3)

    def turned(self, axis: str, degrees: float) -> Mesh:
        """The mesh rotated about a coordinate axis through the origin."""
        return Mesh(self.vertices_n3 @ rotation(axis, math.radians(degrees)).T, self.faces_m3)

    def scaled(self, x: float, y: float | None = None, z: float | None = None) -> Mesh:
        """The mesh stretched by positive factors; one factor scales all axes."""
        factors = np.array([x, x if y is None else y, x if z is None else z])
        return Mesh(self.vertices_n3 * factors, self.faces_m3)


def rotation(axis: str, radians: float) -> Array:
    """Rotation matrix about ``"x"``, ``"y"`` or ``"z"``."""
    c, s = math.cos(radians), math.sin(radians)
    if axis == "x":
        return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    if axis == "y":
        return np.array([[c, 0, s], [0, 1.0, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def merge(*meshes: Mesh) -> Mesh:
    """One mesh out of several."""
    offset, faces = 0, []
    for mesh in meshes:
        faces.append(mesh.faces_m3 + offset)
        offset += len(mesh.vertices_n3)
    return Mesh(np.concatenate([m.vertices_n3 for m in meshes]), np.concatenate(faces))


def _stitch(rings: int, n: int, closed: bool) -> NDArray[np.int64]:
    """Faces between consecutive rings of ``n`` vertices each."""
    faces = []
    for i in range(rings if closed else rings - 1):
        for j in range(n):
            a, b = i * n + j, i * n + (j + 1) % n
            k = (i + 1) % rings
            d, c = k * n + j, k * n + (j + 1) % n
            faces += [(a, b, c), (a, c, d)]
    return np.array(faces, dtype=np.int64)


def _clean(mesh: Mesh) -> Mesh:
    """Without triangles of no area."""
    a, b, c = (mesh.vertices_n3[mesh.faces_m3[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return Mesh(mesh.vertices_n3, mesh.faces_m3[area > 1e-10])


def lathe(profile: Sequence[tuple[float, float]], n: int = 22) -> Mesh:
    """Surface of revolution about z.

    ``profile`` is (radius, z) from the axis at the bottom, up the outside, and back to the
    axis (down the inside for a hollow one).
    """
    angles = np.linspace(0.0, 2 * math.pi, n, endpoint=False)
    rings = [
        np.stack([r * np.cos(angles), r * np.sin(angles), np.full(n, z)], 1) for r, z in profile
    ]
    return _clean(Mesh(np.concatenate(rings), _stitch(len(profile), n, closed=False)))


def cylinder(radius: float, height: float, n: int = 22, top: float | None = None) -> Mesh:
    """A cylinder (or cone frustum with radius ``top``) standing on z = 0."""
    upper = radius if top is None else top
    return lathe([(0, 0), (radius, 0), (upper, height), (0, height)], n)


def ellipsoid(rx: float, ry: float, rz: float, n: int = 22) -> Mesh:
    """An ellipsoid around the origin."""
    angles = np.linspace(-math.pi / 2, math.pi / 2, 11)
    profile = [(max(math.cos(a), 0.0) if abs(a) < 1.57 else 0.0, math.sin(a)) for a in angles]
    return lathe(profile, n).scaled(rx, ry, rz)


def box(x: float, y: float, z: float) -> Mesh:
    """A cuboid of the given full sizes, centred in x and y, standing on z = 0."""
    return extrude([(-x / 2, -y / 2), (x / 2, -y / 2), (x / 2, y / 2), (-x / 2, y / 2)], 0.0, z)


def extrude(outline: Sequence[tuple[float, float]], z0: float, z1: float) -> Mesh:
    """A prism over a counter-clockwise outline that its mean point sees all of.

    Walls have their own vertices so that edges stay sharp.
    """
    xy = np.array(outline, dtype=np.float64)
    k = len(xy)
    low, high = (np.column_stack([xy, np.full(k, z)]) for z in (z0, z1))
    centre = xy.mean(axis=0)
    vertices = [low, high, np.array([[*centre, z0], [*centre, z1]])]
    faces: list[tuple[int, int, int]] = []
    for j in range(k):
        following = (j + 1) % k
        faces += [(2 * k, following, j), (2 * k + 1, k + j, k + following)]
        first = 2 * k + 2 + 4 * j
        vertices.append(np.stack([low[j], low[following], high[following], high[j]]))
        faces += [(first, first + 1, first + 2), (first, first + 2, first + 3)]
    return Mesh(np.concatenate(vertices), np.array(faces, dtype=np.int64))


def arc(radius: float, start: float, stop: float, n: int = 12, squash: float = 1.0) -> Array:
    """Points of a circular arc in the x-y plane, degrees, shape (n, 3)."""
    angles = np.radians(np.linspace(start, stop, n))
    return np.column_stack([radius * np.cos(angles), squash * radius * np.sin(angles), 0 * angles])


def tube(
    path_k3: Array, radius: float | Sequence[float], n: int = 10, closed: bool = False
) -> Mesh:
    """A round tube along a path, by parallel transport; open ends are capped."""
    path = np.asarray(path_k3, dtype=np.float64)
    radii = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(path),))
    around = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    tangent: Array = around if closed else np.gradient(path, axis=0)
    tangent = tangent / np.linalg.norm(tangent, axis=1, keepdims=True)
    helper = np.array([0.0, 0.0, 1.0]) if abs(tangent[0, 2]) < 0.9 else np.array([1.0, 0, 0])
    side = np.cross(tangent[0], helper)
    angles = np.linspace(0, 2 * math.pi, n, endpoint=False)
    rings = []
    for point, along, r in zip(path, tangent, radii, strict=True):
        side = side - along * float(side @ along)
        side = side / np.linalg.norm(side)
        up = np.cross(along, side)
        rings.append(point + r * (np.outer(np.cos(angles), side) + np.outer(np.sin(angles), up)))
    mesh = Mesh(np.concatenate(rings), _stitch(len(path), n, closed))
    return mesh if closed else _capped(mesh, n, path)


def _capped(mesh: Mesh, n: int, path: Array) -> Mesh:
    total = len(mesh.vertices_n3)
    last = total - n
    vertices = np.concatenate([mesh.vertices_n3, path[:1], path[-1:]])
    caps = [(total, (j + 1) % n, j) for j in range(n)]
    caps += [(total + 1, last + j, last + (j + 1) % n) for j in range(n)]
    return Mesh(vertices, np.concatenate([mesh.faces_m3, np.array(caps, dtype=np.int64)]))
