"""Meshes: closed, outward, of the right volume; shapes: sized and standing on the table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgetwin.distill.sim.catalogue import CATEGORIES, WILD
from edgetwin.distill.sim.meshes import Mesh, arc, box, cylinder, ellipsoid, lathe, merge, tube
from edgetwin.distill.sim.shapes import shape, shape_set


def volume(mesh: Mesh) -> float:
    """Signed volume by the divergence theorem: positive when faces look outward."""
    a, b, c = (mesh.vertices_n3[mesh.faces_m3[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def test_volumes_of_solids_are_those_of_geometry() -> None:
    assert volume(box(1, 2, 3)) == pytest.approx(6)
    assert volume(cylinder(1, 2, n=200)) == pytest.approx(2 * math.pi, rel=1e-3)
    assert volume(cylinder(1, 3, n=200, top=0)) == pytest.approx(math.pi, rel=1e-3)
    assert volume(ellipsoid(1, 2, 0.5, n=60)) == pytest.approx(4 / 3 * math.pi, rel=0.05)
    straight = tube(np.array([[0.0, 0, 0], [0, 1, 0], [0, 2, 0]]), 0.5, n=100)
    assert volume(straight) == pytest.approx(math.pi / 2, rel=1e-3)
    ring = tube(arc(2, 0, 355, 72), 0.25, n=60, closed=True)
    assert volume(ring) == pytest.approx(2 * math.pi**2 * 2 * 0.0625, rel=1e-2)


def test_a_hollow_lathe_loses_the_volume_of_its_inside() -> None:
    cup = lathe([(0, 0), (1, 0), (1, 1), (0.5, 1), (0.5, 0.5), (0, 0.5)], n=200)
    assert volume(cup) == pytest.approx(math.pi - math.pi * 0.25 * 0.5, rel=1e-3)


def test_moving_and_turning_keep_volume_and_scaling_multiplies_it() -> None:
    block = box(1, 2, 3)
    assert volume(block.turned("x", 33).moved(1, 2, 3)) == pytest.approx(6)
    assert volume(block.scaled(2, 1, 0.5)) == pytest.approx(6)
    assert volume(merge(block, block.moved(x=5))) == pytest.approx(12)


@pytest.mark.parametrize("category", WILD)
def test_shapes_stand_on_the_table_in_their_size_range(category: str) -> None:
    low, high = CATEGORIES[category].size_m
    for variant in range(8):
        made = shape(category, 3, variant)
        extent = [b - a for a, b in zip(made.low, made.high, strict=True)]
        assert low <= max(extent) <= high + 1e-9
        assert made.low[2] == pytest.approx(0)
        every = np.concatenate([p.mesh.vertices_n3 for p in made.parts])
        hull = np.concatenate(made.hulls)
        assert np.allclose(every.min(0), made.low)
        assert np.abs(hull.min(0) - every.min(0)).max() < 0.004
        assert np.abs(hull.max(0) - every.max(0)).max() < 0.004
        body = sum(abs(volume(p.mesh)) for p in made.parts if p.role == "body")
        assert body > 0


def test_variants_differ_and_splits_share_no_set() -> None:
    assert shape("mug", 0, 0).high != shape("mug", 0, 1).high
    assert shape("mug", 0, 0).high != shape("mug", 100, 0).high
    sets = [
        {shape_set(first + k) for k in range(0, 20_000, 100)} for first in (0, 10**6, 2 * 10**6)
    ]
    assert not sets[0] & sets[1]
    assert not sets[1] & sets[2]
