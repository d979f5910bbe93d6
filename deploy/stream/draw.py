"""Drawing the twin and the answers onto frames, for people to look at.

Every visible object gets a faint tint, a thin outline and its id and label; an answer's
objects get the question's own colour, strongly, and everything else steps back. Questions
and answers stand in a panel below the picture. Small frames are enlarged first, so that the
text stays legible.

Not covered: scripts beyond ASCII in the drawn text (``answer.json`` has the question as asked).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ...twin import mask as rle
from ...twin.schema import FrameTwin, ObjectTwin

__all__ = ["Canvas", "Caption", "ascii_text", "free_plate", "wrap_text"]

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
Plate = tuple[int, int, int, int]

MIN_SHORT_SIDE = 512  # below this, 13-pixel letters would cover the objects
MAX_LONG_SIDE = 1920  # above this, encoding costs more than perception
MAX_CAPTIONS = 6  # as many as have a colour of their own; further ones are counted in a line
ACCENTS: tuple[Colour, ...] = (
    (40, 230, 90),
    (255, 150, 20),
    (30, 200, 255),
    (255, 80, 200),
    (250, 230, 40),
    (170, 140, 255),
)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PANEL: Colour = (24, 24, 28)
_TEXT: Colour = (235, 235, 235)


@dataclass(frozen=True)
class Caption:
    """One question with its answer as drawn; ``ids`` are the objects it names."""

    question: str
    answer: str
    ids: tuple[int, ...] = ()


class Canvas:
    """Draws frames of one source at one size.

    Args:
        width: of the source's frames, pixels.
        height: of the source's frames, pixels.
        captions: questions in the order asked.

    Attributes:
        size: (width, height) of what :meth:`draw` returns; both even.
    """

    def __init__(self, width: int, height: int, captions: list[Caption]) -> None:
        scale = max(1.0, MIN_SHORT_SIDE / min(width, height))
        scale = min(scale, MAX_LONG_SIDE / max(width, height))
        self._picture = (max(2, round(width * scale)), max(2, round(height * scale)))
        self._captions = captions[:MAX_CAPTIONS]
        self._unit = max(0.45, min(self._picture) / 1100)  # letter scale
        self._accent = {
            object_id: ACCENTS[place]
            for place, caption in reversed(list(enumerate(self._captions)))
            for object_id in caption.ids
        }
        panel_width = max(self._picture[0], 320)
        self._panel = self._draw_panel(panel_width, len(captions) - len(self._captions))
        self.size = (_even(panel_width), _even(self._picture[1] + self._panel.shape[0]))

    def draw(self, image_hw3: Image, twin: FrameTwin | None) -> Image:
        """Return the picture with the twin drawn on it and the panel below, (H', W', 3) RGB."""
        width, height = self._picture
        canvas = np.empty((self.size[1], self.size[0], 3), np.uint8)
        canvas[:height, width:] = _PANEL
        canvas[height:] = _PANEL
        picture = canvas[:height, :width]
        if image_hw3.shape[:2] == (height, width):
            picture[:] = image_hw3
        else:
            how = cv2.INTER_CUBIC if width > image_hw3.shape[1] else cv2.INTER_AREA
            picture[:] = cv2.resize(image_hw3, self._picture, interpolation=how)
        if twin is not None:
            self._draw_objects(picture, twin)
        canvas[height : height + self._panel.shape[0], : self._panel.shape[1]] = self._panel
        return canvas

    def _draw_objects(self, picture: Image, twin: FrameTwin) -> None:
        shown = [o for o in twin.objects.values() if o.state == "visible" and o.mask is not None]
        shown.sort(key=lambda o: (o.id in self._accent, -o.area))  # the answer on top
        patches = [(o, *self._patch(o, twin)) for o in shown]
        for obj, left, top, mask_hw in patches:
            strength = 0.45 if obj.id in self._accent else 0.18
            patch = picture[top : top + mask_hw.shape[0], left : left + mask_hw.shape[1]]
            colour = strength * np.array(self._colour(obj.id), np.float32)
            patch[mask_hw] = ((1 - strength) * patch[mask_hw] + colour).astype(np.uint8)
        for obj, left, top, mask_hw in patches:
            self._outline(picture, obj, (left, top), mask_hw)
        taken: list[Plate] = []
        for obj in reversed(shown):  # the answer's labels get their place first
            taken.append(self._label(picture, obj, twin, taken))

    def _patch(self, obj: ObjectTwin, twin: FrameTwin) -> tuple[int, int, NDArray[np.bool_]]:
        """Return left, top and the mask of the object's surroundings, in drawn pixels."""
        assert obj.mask is not None
        mask_hw = rle.decode(obj.mask)
        x0, y0, x1, y1 = (int(v) for v in rle.to_box(obj.mask))
        x0, y0, x1, y1 = max(0, x0 - 2), max(0, y0 - 2), min(twin.width, x1 + 2), y1 + 2
        y1 = min(twin.height, y1)
        scale_x, scale_y = self._picture[0] / twin.width, self._picture[1] / twin.height
        left, top = round(x0 * scale_x), round(y0 * scale_y)
        size = max(1, round(x1 * scale_x) - left), max(1, round(y1 * scale_y) - top)
        crop = np.ascontiguousarray(mask_hw[y0:y1, x0:x1]).astype(np.float32)
        large = cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR)
        return left, top, np.asarray(large > 0.5)

    def _colour(self, object_id: int) -> Colour:
        if object_id in self._accent:
            return self._accent[object_id]
        hue = int(object_id * 0.618034 % 1 * 180)
        red, green, blue = cv2.cvtColor(
            np.array([[[hue, 130, 235]]], np.uint8), cv2.COLOR_HSV2RGB
        ).flatten()
        return int(red), int(green), int(blue)

    def _outline(
        self,
        picture: Image,
        obj: ObjectTwin,
        offset: tuple[int, int],
        mask_hw: NDArray[np.bool_],
    ) -> None:
        contours, _ = cv2.findContours(
            mask_hw.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=offset
        )
        if obj.id in self._accent:
            cv2.drawContours(picture, contours, -1, (0, 0, 0), 6, cv2.LINE_AA)
            cv2.drawContours(picture, contours, -1, self._colour(obj.id), 3, cv2.LINE_AA)
        else:
            cv2.drawContours(picture, contours, -1, self._colour(obj.id), 1, cv2.LINE_AA)

    def _label(self, picture: Image, obj: ObjectTwin, twin: FrameTwin, taken: list[Plate]) -> Plate:
        """Write id and label above the box, or where there is room; return the place taken."""
        answered = obj.id in self._accent
        name = ascii_text(f"{obj.id} {obj.attributes.get('color', '')} {obj.semantic_label}")
        name = " ".join(name.split())
        unit = self._unit * (1.0 if answered else 0.8)
        (width, height), base = cv2.getTextSize(name, _FONT, unit, 1)
        size = (width + 6, height + base + 4)
        scale_x, scale_y = picture.shape[1] / twin.width, picture.shape[0] / twin.height
        x0, y0, _, y1 = obj.box_xyxy
        wanted = [(x0 * scale_x, y0 * scale_y - size[1] - 2), (x0 * scale_x, y1 * scale_y + 2)]
        left, top, right, bottom = place = free_plate(picture.shape[:2], size, wanted, taken)
        colour = self._colour(obj.id)
        plate = picture[top:bottom, left:right]
        plate[:] = colour if answered else (plate * 0.35).astype(np.uint8)
        ink = (0, 0, 0) if answered else colour
        cv2.putText(picture, name, (left + 3, top + height + 2), _FONT, unit, ink, 1, cv2.LINE_AA)
        return place

    def _draw_panel(self, width: int, unshown: int) -> Image:
        lines: list[tuple[str, Colour]] = []
        for place, caption in enumerate(self._captions):
            room = width - 24
            lines += [(t, _TEXT) for t in wrap_text(f"Q: {caption.question}", room, self._unit)]
            lines += [
                (t, ACCENTS[place]) for t in wrap_text(f"A: {caption.answer}", room, self._unit)
            ]
        if unshown > 0:
            lines.append((f"and {unshown} more in answer.json", _TEXT))
        step = round(34 * self._unit) + 4
        panel = np.full((step * len(lines) + (16 if lines else 0), width, 3), _PANEL, np.uint8)
        for row, (text, colour) in enumerate(lines):
            where = (12, 8 + step * (row + 1) - step // 4)
            cv2.putText(panel, text, where, _FONT, self._unit, colour, 1, cv2.LINE_AA)
        return panel


def ascii_text(text: str) -> str:
    """Return text that the drawn font has: accents dropped, other letters as ``?``."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return "".join(c if 32 <= ord(c) < 127 else " " if c.isspace() else "?" for c in plain)


def wrap_text(text: str, width: int, unit: float, max_lines: int = 4) -> list[str]:
    """Break text into lines of at most ``width`` pixels; what is beyond ``max_lines`` becomes ``...``."""
    lines: list[str] = []
    line = ""
    for word in ascii_text(text).split():
        while _text_width(word, unit) > width and len(word) > 1:  # a word longer than a line
            cut = next(
                n for n in range(len(word), 0, -1) if n == 1 or _text_width(word[:n], unit) <= width
            )
            lines, line = [*lines, *([line] if line else []), word[:cut]], ""
            word = word[cut:]
        longer = f"{line} {word}".strip()
        if line and _text_width(longer, unit) > width:
            lines, line = [*lines, line], word
        else:
            line = longer
    lines = [*lines, line] if line else lines
    if len(lines) > max_lines:
        last = lines[max_lines - 1]
        while last and _text_width(last + "...", unit) > width:
            last = last[:-1]
        lines = [*lines[: max_lines - 1], last + "..."]
    return lines


def free_plate(
    shape_hw: tuple[int, ...],
    size: tuple[int, int],
    wanted: list[tuple[float, float]],
    taken: list[Plate],
) -> Plate:
    """Return a plate of ``size`` (width, height) inside the picture, off the others if it can."""
    places: list[Plate] = []
    for x, y in [*wanted, *((wanted[0][0], wanted[0][1] + k * size[1]) for k in (-1, 1, 2, 3))]:
        left = int(min(max(0, x), max(0, shape_hw[1] - size[0])))
        top = int(min(max(0, y), max(0, shape_hw[0] - size[1])))
        places.append((left, top, left + size[0], top + size[1]))
    for a in places:
        if not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in taken):
            return a
    return places[0]


def _text_width(text: str, unit: float) -> int:
    return int(cv2.getTextSize(text, _FONT, unit, 1)[0][0])


def _even(value: int) -> int:
    return value + value % 2
