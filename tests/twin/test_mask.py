"""Masks: bit for bit what pycocotools writes and reads."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as pycocotools_mask

from edgetwin.twin import mask
from edgetwin.twin.errors import InputError, SchemaError
from edgetwin.twin.schema import Rle

Mask = NDArray[np.bool_]
coco: Any = pycocotools_mask  # it has no types


@st.composite
def masks(draw: st.DrawFn, size: tuple[int, int] | None = None) -> Mask:
    """Noise, rectangles, empty and full masks of any small size."""
    height, width = size or (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "boxes", "empty", "full"]))
    if kind == "noise":
        return rng.random((height, width)) < draw(st.sampled_from([0.02, 0.5, 0.98]))
    picture = np.full((height, width), kind == "full")
    if kind == "boxes":
        for _ in range(draw(st.integers(1, 3))):
            y0, x0 = rng.integers(0, height), rng.integers(0, width)
            y1, x1 = rng.integers(y0, height) + 1, rng.integers(x0, width) + 1
            picture[y0:y1, x0:x1] = True
    return picture


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    size = (draw(st.integers(1, 30)), draw(st.integers(1, 30)))
    return draw(masks(size)), draw(masks(size))


def reference(mask_hw: Mask) -> dict[str, Any]:
    return dict(coco.encode(np.asfortranarray(mask_hw.astype(np.uint8))))


@given(masks())
@settings(max_examples=150, deadline=None)
def test_encoding_is_that_of_pycocotools(mask_hw: Mask) -> None:
    rle, other = mask.encode(mask_hw), reference(mask_hw)
    assert rle.counts.encode() == other["counts"]
    assert list(rle.size) == list(other["size"])
    assert np.array_equal(mask.decode(rle), mask_hw)
    assert mask.area(rle) == int(coco.area(other)) == int(mask_hw.sum())
    x, y, width, height = coco.toBbox(other)
    assert mask.to_box(rle) == (x, y, x + width, y + height)


@given(pairs())
@settings(max_examples=150, deadline=None)
def test_iou_and_union_are_those_of_pycocotools(two: tuple[Mask, Mask]) -> None:
    a, b = (mask.encode(m) for m in two)
    other = [reference(m) for m in two]
    assert mask.iou(a, b) == coco.iou([other[0]], [other[1]], [0])[0][0]
    assert mask.intersection(a, b) == int((two[0] & two[1]).sum())
    assert mask.union([a, b]).counts.encode() == coco.merge(other, intersect=False)["counts"]


def test_a_mask_by_hand() -> None:
    # columns: 0 1 1 | 0 1 0 -> runs 1 2 1 1 1; the fourth is 1-2 = -1, the fifth 1-1 = 0
    picture = np.array([[0, 0], [1, 1], [1, 0]], dtype=bool)
    rle = mask.encode(picture)
    assert mask.counts_of(rle).tolist() == [1, 2, 1, 1, 1]
    assert rle.counts == "".join(chr(48 + c) for c in (1, 2, 1, 31, 0))
    assert mask.to_box(rle) == (0, 1, 2, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (1080, 1920)])
def test_large_and_thin_masks(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random(size) < 0.001
    picture[-1, -1] = True
    rle = mask.encode(picture)
    assert rle.counts.encode() == reference(picture)["counts"]
    assert np.array_equal(mask.decode(rle), picture)


def test_numbers_are_read_as_not_zero() -> None:
    picture = np.array([[0, 2], [-1, 0]])
    assert np.array_equal(mask.decode(mask.encode(picture)), picture != 0)


def test_encoding_is_fast_enough_for_every_frame() -> None:
    yy, xx = np.mgrid[:256, :256]
    picture = (yy - 120) ** 2 + (xx - 90) ** 2 < 50**2
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        mask.encode(picture)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.0003  # seconds, 256 x 256


@pytest.mark.parametrize("shape", [(4,), (0, 4), (2, 2, 2)])
def test_encode_refuses_what_is_no_mask(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected a mask of shape \(H, W\)"):
        mask.encode(np.zeros(shape, dtype=bool))


@pytest.mark.parametrize(
    "counts",
    ["", "é", "5", "\x00", "P", "PPPPPPPPPPPPPPPPPPP0", "4O", "x" * 1000, "o" * 9],
)
def test_a_broken_string_is_a_schema_error(counts: str) -> None:
    with pytest.raises(SchemaError, match="expected"):
        mask.decode(Rle(size=(2, 2), counts=counts))


def test_a_hostile_size_allocates_nothing() -> None:
    with pytest.raises(SchemaError, match=r"at most 2\*\*28 pixels"):
        mask.decode(Rle(size=(10**9, 10**9), counts="0"))


@given(st.text(alphabet=[chr(c) for c in range(40, 120)], max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_string_decodes_or_is_a_schema_error(counts: str) -> None:
    try:
        decoded = mask.decode(Rle(size=(5, 7), counts=counts))
    except SchemaError:
        return
    assert decoded.shape == (5, 7)


def test_two_sizes_are_refused() -> None:
    a, b = mask.encode(np.ones((2, 2), bool)), mask.encode(np.ones((2, 3), bool))
    for call in (
        lambda: mask.iou(a, b),
        lambda: mask.intersection(a, b),
        lambda: mask.union([a, b]),
    ):
        with pytest.raises(InputError, match="one size"):
            call()
    with pytest.raises(InputError, match="at least one mask"):
        mask.union([])


@given(masks(), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_crop_encodes_like_the_whole_picture(
    crop: Mask, left: int, top: int, right: int, bottom: int
) -> None:
    whole = np.pad(crop, ((top, bottom), (left, right)))
    assert mask.encode_crop(crop, left, top, whole.shape) == mask.encode(whole)


def test_crop_outside_its_picture_is_refused() -> None:
    with pytest.raises(InputError, match=r"within 8 x 8 pixels, got 4 x 4 at \(5, 0\)"):
        mask.encode_crop(np.ones((4, 4), np.bool_), 5, 0, (8, 8))
    with pytest.raises(InputError, match="1 to 2"):
        mask.encode_crop(np.ones((4, 4), np.bool_), 0, 0, (0, 8))
