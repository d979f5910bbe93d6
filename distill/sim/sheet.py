"""Contact sheets: rendered pictures with their truth drawn on, for people to look at.

:func:`contact_sheet` shows whole pictures, each with boxes and words, and below it its mask
view. :func:`category_sheet` shows one row of crops per category at double size: what a
256-pixel picture really holds of each shape.

Not covered: depth, clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError, OutputError
from .catalogue import Tier, categories_of
from .shards import Shards, open_images, render_images

__all__ = ["category_sheet", "contact_sheet", "pictures", "spread", "write_sheet"]

Image = NDArray[np.uint8]
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MOST = 400  # pictures on a sheet: beyond this the PNG has more than 100 million bytes
_GAP = 4
_PAPER = (250, 250, 250)


@contextmanager
def pictures(
    data: Path | None, tier: Tier = "cell", seed: int = 0, count: int = 24
) -> Iterator[Shards]:
    """Open rendered stills, or render ``count`` from ``seed`` on into a folder that goes away.

    Raises:
        InputError: if ``data`` is no folder of rendered stills.
        MissingExtraError: if it must be rendered and MuJoCo is not installed.
    """
    if data is not None:
        yield open_images(data)
        return
    with TemporaryDirectory(prefix="edgetwin-") as folder:
        render_images(folder, range(seed, seed + count), tier)
        yield open_images(folder)


def spread(length: int, count: int) -> list[int]:
    """Return at most ``count`` rows of ``length``, evenly spread, ascending."""
    return sorted({int(row) for row in np.linspace(0, max(length - 1, 0), min(count, length))})


def contact_sheet(shards: Shards, count: int = 24, columns: int = 6, scale: float = 1.5) -> Image:
    """Return (H, W, 3) RGB: ``count`` pictures spread over the shards, mask views below them.

    Raises:
        InputError: if there is no picture, or the sheet would be too large.
    """
    if not len(shards) or not 1 <= count <= _MOST or columns < 1:
        raise InputError(
            f"expected pictures, 1 to {_MOST} of them and at least one column, got "
            f"{len(shards)} pictures, count {count}, columns {columns}"
        )
    tiles = []
    for row in spread(len(shards), count):
        record = shards.objects[row]
        shown = _labelled(np.array(shards.rgb[row]), record, scale)
        masks = _mask_view(np.asarray(shards.ids[row]), record["objects"], scale)
        tiles.append(np.vstack([shown, _strip(_GAP, shown.shape[1]), masks]))
    return _tiled(tiles, columns)


def category_sheet(
    shards: Shards,
    tier: Tier,
    columns: int = 10,
    window: int = 96,
    *,
    enlarge: int = 2,
    blocks: int = 1,
) -> Image:
    """Return (H, W, 3) RGB: per category a row of its name and crops of ``window`` pixels.

    Only objects of which at least 64 pixels show are taken, one of a category from a picture,
    colours as they come. ``blocks`` of categories stand beside each other.

    Raises:
        InputError: if no category has an object.
    """
    crops: dict[str, list[Image]] = {name: [] for name in categories_of(tier)}
    for row, record in enumerate(shards.objects):
        if all(len(found) >= columns for found in crops.values()):
            break
        for name in {o["category"] for o in record["objects"] if o["area"] >= 64}:
            if len(crops[name]) < columns:
                shown = [o for o in record["objects"] if o["category"] == name]
                thing = max(shown, key=lambda o: int(o["area"]))
                crops[name].append(_crop(np.asarray(shards.rgb[row]), thing, window, enlarge))
    if not any(crops.values()):
        raise InputError("expected pictures with objects to crop, got none: render some more")
    side = enlarge * window
    blank = np.full((side, side, 3), _PAPER, np.uint8)
    rows = []
    for name, found in crops.items():
        tag = np.full((side, 92, 3), _PAPER, np.uint8)
        cv2.putText(tag, name, (6, side // 2 + 6), _FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        rows.append(np.hstack([tag, *found, *[blank] * (columns - len(found))]))
    length = -(-len(rows) // blocks)
    rows += [np.full_like(rows[0], 250)] * (length * blocks - len(rows))
    return np.hstack([np.vstack(rows[k * length : (k + 1) * length]) for k in range(blocks)])


def write_sheet(sheet_hw3: Image, path: str | Path) -> None:
    """Write an RGB sheet as PNG.

    Raises:
        OutputError: if it cannot be written.
    """
    file = Path(path)
    _, encoded = cv2.imencode(".png", sheet_hw3[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded.tobytes())
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error}; choose another folder") from error


def _labelled(rgb_hw3: Image, record: dict[str, Any], scale: float) -> Image:
    """The picture with a box and "colour noun" per object and its seed in the corner."""
    shown = _sized(rgb_hw3, scale, cv2.INTER_CUBIC)
    for thing in record["objects"]:
        x0, y0, x1, y1 = (round(v * scale) for v in thing["box_xyxy"])
        cv2.rectangle(shown, (x0, y0), (x1 - 1, y1 - 1), _hue(thing["id"]), 1)
    texts = [f"{thing['color']} {thing['category']}" for thing in record["objects"]]
    _write_all(shown, record["objects"], texts, scale)
    _write(shown, f"seed {record['seed']}", (3, shown.shape[0] - 4))
    return shown


def _mask_view(ids_hw: Image, objects: Sequence[dict[str, Any]], scale: float) -> Image:
    """Every object's mask in the hue of its box on dark grey, with its id and area."""
    view = np.full((*ids_hw.shape, 3), 40, np.uint8)
    for thing in objects:
        view[ids_hw == thing["id"]] = _hue(thing["id"])
    view = _sized(view, scale, cv2.INTER_NEAREST)
    _write_all(view, objects, [f"{o['id']}: {o['area']} px" for o in objects], scale)
    return view


def _hue(number: int) -> tuple[int, int, int]:
    """A hue of an object's own."""
    hue = int(number * 0.618034 % 1 * 180)
    tone = cv2.cvtColor(np.array([[[hue, 170, 230]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0]
    red, green, blue = (int(v) for v in tone)
    return red, green, blue


def _write_all(
    image: Image, objects: Sequence[dict[str, Any]], texts: Sequence[str], scale: float
) -> None:
    """Write a text above each box, moved down where another text is."""
    taken: list[tuple[int, int]] = []
    for thing, text in zip(objects, texts, strict=True):
        x, y = round(thing["box_xyxy"][0] * scale), max(round(thing["box_xyxy"][1] * scale) - 3, 10)
        while any(abs(y - other) < 12 and abs(x - at) < 90 for at, other in taken):
            y += 12
        taken.append((x, y))
        _write(image, text, (x, y))


def _crop(rgb_hw3: Image, thing: dict[str, Any], window: int, enlarge: int) -> Image:
    """``window`` pixels around an object, kept inside the picture, every pixel enlarged."""
    side = min(window, *rgb_hw3.shape[:2])
    x0, y0, x1, y1 = thing["box_xyxy"]
    left = int(np.clip((x0 + x1 - side) // 2, 0, rgb_hw3.shape[1] - side))
    top = int(np.clip((y0 + y1 - side) // 2, 0, rgb_hw3.shape[0] - side))
    crop = rgb_hw3[top : top + side, left : left + side]
    large = cv2.resize(crop, (enlarge * window,) * 2, interpolation=cv2.INTER_NEAREST)
    large[:1], large[:, :1] = 255, 255
    return np.asarray(large, np.uint8)


def _write(image: Image, text: str, place: tuple[int, int]) -> None:
    """White text on a dark plate, kept inside the picture."""
    width = cv2.getTextSize(text, _FONT, 0.36, 1)[0][0]
    x, y = max(0, min(place[0], image.shape[1] - width - 2)), min(place[1], image.shape[0] - 3)
    plate = image[max(0, y - 9) : y + 3, x : x + width + 2]
    plate[:] = (plate * 0.35).astype(np.uint8)
    cv2.putText(image, text, (x + 1, y), _FONT, 0.36, (255, 255, 255), 1, cv2.LINE_AA)


def _sized(image: Image, scale: float, how: int) -> Image:
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=how))


def _strip(height: int, width: int) -> Image:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _tiled(tiles: Sequence[Image], columns: int) -> Image:
    height, width = tiles[0].shape[:2]
    blank = _strip(height, width)
    rows = []
    for start in range(0, len(tiles), columns):
        line = [*tiles[start : start + columns]]
        line += [blank] * (min(columns, len(tiles)) - len(line))
        parts = [part for tile in line for part in (tile, _strip_v(height))][:-1]
        rows += [np.hstack(parts), _strip(2 * _GAP, sum(p.shape[1] for p in parts))]
    return np.vstack(rows[:-1])


def _strip_v(height: int) -> Image:
    return np.full((height, _GAP, 3), _PAPER, np.uint8)
