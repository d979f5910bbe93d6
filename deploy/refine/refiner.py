"""Tools that look again, bound to the frames a twin was made of.

A :class:`Refiner` gives a registry in which a plan may, besides everything else, ``detect`` words
that the stream did not look for, ``segment`` a box or point, ``zoom`` in on objects, measure
their depth again (``redepth``), compare them with a text (``similarity``) and, where a
vision-language model is at hand, ``propose`` regions. What they find is written into the window
(:meth:`~edgetwin.twin.window.TwinWindow.amend`): on all its frames, so that spatial and temporal
tools are right on it, under new ids above all old ones, with the call as ``origin``. What words
come in is cleaned as everywhere; what goes out is ids and numbers.

One answer at a time; a second thread is refused. Not covered: refining past frames of a live
stream that the ring has dropped; the stream's own perceiver goes on with its own words.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...perception.bundle import Bundle
from ...perception.perceiver import PerceiverConfig
from ...twin.errors import ToolError
from ...twin.frame import Frame
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.tools import semantic
from ...twin.tools.base import Deadline, Ids, Items, Told
from ...twin.tools.registry import DEFAULT_REGISTRY, ToolRegistry
from ...twin.window import TwinWindow
from ...twin.words import clean
from .amend import Amender
from .budget import Allowance, Meter, RefineBudget, RefineCounts
from .closer import likeness, measured_depth, named_by_mask, zoomed
from .eyes import Eyes
from .follow import Named, Seed, followed, seed_of
from .frames import FrameProvider
from .seek import Seeker

__all__ = ["Proposal", "Proposer", "Refine", "Refiner"]

Refine = Literal["off", "call", "auto"]
TellsIds = Annotated[list[int] | Told, "ids"]
TellsNumbers = Annotated[list[float] | Told, "numbers"]
Box = Annotated[list[float], Items(4, 4)]
Point = Annotated[list[float], Items(2, 2)]

_MAX_PROPOSALS = 16  # regions of one call: each is segmented and followed
_MAX_ASKED = 64  # calls remembered, so that the same one is free
_KNOWN = 0.5  # IoU with a known object's mask at which a region is that object


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A region that somebody with eyes names: a box (pixels of the frame), what it is, how sure.

    ``mask_hw`` (H, W) bool of the frame, or None to segment the box.
    """

    box_xyxy: tuple[float, float, float, float]
    label: str = "object"
    color: str | None = None
    score: float = 0.5
    mask_hw: NDArray[np.bool_] | None = None


Proposer = Callable[[str, Frame], Sequence[Proposal]]


class Refiner:
    """Perception tools of one twin.

    Args:
        bundle: the networks that look, opened at the first call; or the :class:`Eyes` of another
            refiner, to share them (one thread at a time, as everywhere).
        frames: gives the frames of the window.
        config: the stream's perceiver configuration (eyes have their own).
        budget: frames and seconds per call and per answer.
        propose: what answers ``propose(query)``; None leaves the tool out.
        reserve: for a stream that goes on: gives the first of n ids that its tracker will not
            give (:meth:`~edgetwin.perception.tracker.Tracker.reserve`).

    Attributes:
        counts: what was done since.
    """

    def __init__(
        self,
        bundle: Bundle | Eyes,
        frames: FrameProvider,
        *,
        config: PerceiverConfig | None = None,
        budget: RefineBudget | None = None,
        propose: Proposer | None = None,
        reserve: Callable[[int], int] | None = None,
    ) -> None:
        self._eyes = bundle if isinstance(bundle, Eyes) else Eyes(bundle, config)
        self._frames = frames
        self._meter = Meter(budget or RefineBudget())
        self._propose = propose
        self._amender = Amender(reserve)
        self._seeker = Seeker(self._eyes, frames, self._amender, self._meter.counts)
        self._window: TwinWindow | None = None
        self._placed_before: dict[tuple[Any, ...], list[int]] = {}  # call and frame -> ids
        self._lock = threading.Lock()

    @property
    def eyes(self) -> Eyes:
        """The networks, for another refiner to share."""
        return self._eyes

    @property
    def counts(self) -> RefineCounts:
        """What was done since the start."""
        return self._meter.counts

    def begin(self) -> None:
        """Begin an answer: its budget is whole again. Whoever asks calls it before each question."""
        self._meter.begin()

    def refined(self, window: TwinWindow) -> list[FrameTwin]:
        """Return the frames of the window that calls have changed, as they are now."""
        return self._amender.refined(window)

    def registry(
        self, refine: Refine = "call", base: ToolRegistry = DEFAULT_REGISTRY
    ) -> ToolRegistry:
        """Return the tools that an answer may use.

        ``"off"``: ``base``, the static twin. ``"call"``: also the perception tools, for plans
        that call them. ``"auto"``: besides, ``find`` itself looks for words that were not
        looked for yet, for models that do not plan ``detect``.
        """
        if refine == "off":
            return base
        tools: list[Callable[..., Any]] = [
            self.detect, self.segment, self.zoom, self.redepth, self.similarity,
        ]  # fmt: skip
        if self._propose is not None:
            tools.append(self.propose)
        registry = base
        for tool in tools:
            registry = registry.with_tool(tool, "perception")
        if refine == "auto":
            registry = registry.replacing(self.find, "perception", "find")
        return registry

    # ---- tools: the first line of each is what models read

    def detect(
        self, window: TwinWindow, words: list[str], *, deadline_s: Deadline = None
    ) -> TellsIds:
        """Ids whose label is one of the words, after looking for words not looked for yet."""
        with self._alone("detect"):
            wanted = _cleaned(words)
            unknown = self._eyes.detector.unknown(wanted) if wanted else []
            unknown = [word for word in unknown if word != "object"]
            notes = [_not_known(unknown)] if unknown else []
            due = self._seeker.due(window, [word for word in wanted if word not in unknown])
            if due:
                with self._looking(deadline_s) as allowance:
                    notes += self._seeker.seek(window, due, allowance)
            else:
                self.counts.cached += 1
            return _told(self._seeker.labelled(window, wanted), notes)

    def segment(
        self,
        window: TwinWindow,
        box: Box | None = None,
        point: Point | None = None,
        time: float | None = None,
        *,
        deadline_s: Deadline = None,
    ) -> TellsIds:
        """The object in a box [x0,y0,x1,y1] or at a point [x,y] (pixels), at a time (default now)."""
        with self._alone("segment"):
            if (box is None) == (point is None):
                raise ToolError("segment: expected a box or a point, got both or neither: give one")
            prompt = _prompt(self._eyes, window, box, point)
            frame = self._frame_at(window, time)
            asked = ("segment", tuple(box or point or ()), frame.index)
            if (known := self._asked_before(window, asked)) is not None:
                return known
            with self._looking(deadline_s) as allowance:
                allowance.take()
                seed = seed_of(self._eyes, frame, prompt)
                if seed.crop is None:
                    return Told([], "segment: there is nothing at that place")
                how = "segment(box)" if point is None else "segment(point)"
                found = [self._placed(window, seed, None, how, allowance)]
            self._placed_before[asked] = found
            return found

    def zoom(self, window: TwinWindow, ids: Ids, *, deadline_s: Deadline = None) -> TellsIds:
        """Looks at objects enlarged and corrects their label, colour and mask where surer; ids."""
        with self._alone("zoom"), self._looking(deadline_s) as allowance:
            notes: list[str] = []
            for object_id, frame, record in self._newest(window, ids, allowance, notes):
                seen = zoomed(self._eyes, frame, record)
                changed = self._amender.renamed(window, object_id, seen.named, f"zoom({object_id})")
                if seen.mask_hw is not None:
                    self._amender.reshaped(window, frame.index, object_id, seen.mask_hw)
                self.counts.changed += changed
            return _told(list(ids), notes)

    def redepth(self, window: TwinWindow, ids: Ids, *, deadline_s: Deadline = None) -> TellsIds:
        """Measures the depth of objects anew where they were last seen; gives the ids back."""
        with self._alone("redepth"), self._looking(deadline_s) as allowance:
            notes: list[str] = []
            for object_id, frame, record in self._newest(window, ids, allowance, notes):
                new = measured_depth(self._eyes, frame, record)
                if new is not record:
                    origin = f"redepth({object_id})"
                    self._amender.put(
                        window, frame.index, new.model_copy(update={"origin": origin})
                    )
                    self.counts.changed += 1
            return _told(list(ids), notes)

    def similarity(
        self, window: TwinWindow, ids: Ids, text: str, *, deadline_s: Deadline = None
    ) -> TellsNumbers:
        """How much each object looks like a text, 0 to 1, in the order of the ids."""
        with self._alone("similarity"):
            noun = clean(text).casefold()
            if not noun or self._eyes.detector.unknown([noun]):
                return Told([0.0] * len(ids), _not_known([noun or "nothing"]))
            scores = dict.fromkeys(ids, 0.0)
            notes: list[str] = []
            with self._looking(deadline_s) as allowance:
                for object_id, frame, record in self._newest(window, ids, allowance, notes):
                    scores[object_id] = likeness(self._eyes, frame, [record], noun)[0]
            values = [round(scores[object_id], 3) for object_id in ids]
            return Told(values, "; ".join(notes)) if notes else values

    def propose(self, window: TwinWindow, query: str, *, deadline_s: Deadline = None) -> TellsIds:
        """Objects that a vision-language model points out for a question, in the newest frame."""
        with self._alone("propose"):
            if self._propose is None:
                raise ToolError("propose: expected a vision-language model, got none: add one")
            frame = self._frame_at(window, None)
            asked = ("propose", query, frame.index)
            if (known := self._asked_before(window, asked)) is not None:
                return known
            with self._looking(deadline_s) as allowance:
                allowance.take()
                proposals = list(self._propose(query, frame))[:_MAX_PROPOSALS]
                ids: list[int] = []
                for one in proposals:
                    seed = seed_of(self._eyes, frame, _proposed(self._eyes, one))
                    if seed.crop is not None:
                        name = Named(clean(one.label) or "object", _word(one.color), one.score)
                        ids.append(self._placed(window, seed, name, "propose()", allowance))
            self._placed_before[asked] = list(dict.fromkeys(ids))
            return self._placed_before[asked]

    def find(
        self, window: TwinWindow, words: list[str], *, deadline_s: Deadline = None
    ) -> TellsIds:
        """Ids whose label is one of the words (case ignored); the word object finds everything."""
        named = [word for word in _cleaned(words) if word != "object"]
        if not self._seeker.due(window, named, known_only=True):
            return semantic.find(window, words)
        try:
            found = self.detect(window, named, deadline_s=deadline_s)
        except ToolError as error:  # what is known already is still an answer
            return Told(semantic.find(window, words), str(error))
        ids, message = (found.value, found.message) if isinstance(found, Told) else (found, "")
        both = sorted({*semantic.find(window, words), *ids})  # type: ignore[misc]
        return Told(both, message) if message else both

    # ---- pieces

    @contextmanager
    def _alone(self, tool: str) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise ToolError(
                f"{tool}: expected one answer at a time, got a second one while the first looks; "
                "ask again when it is done"
            )
        try:
            self.counts.calls[tool] += 1
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _looking(self, deadline_s: float | None) -> Iterator[Allowance]:
        self._eyes.open()  # once, and not at the expense of the first call's time
        with self._meter.call(deadline_s) as allowance:
            yield allowance

    def _asked_before(self, window: TwinWindow, asked: tuple[Any, ...]) -> list[int] | None:
        """Return the ids that the same call gave for the same frame, as far as they are here."""
        if window is not self._window or len(self._placed_before) >= _MAX_ASKED:
            self._window = window
            self._placed_before.clear()
        known = self._placed_before.get(asked)
        if known is None:
            return None
        self.counts.cached += 1
        return [object_id for object_id in known if object_id in window]

    def _frame_at(self, window: TwinWindow, time_s: float | None) -> Frame:
        """Return the newest frame that can be had, or the one nearest to a time."""
        held = set(self._frames.held([frame.index for frame in window.frames]))
        frames = [frame for frame in window.frames if frame.index in held]
        if not frames:
            raise ToolError(
                "expected a frame of the window that can still be had, got none: ask while the "
                "stream runs, or keep more frames"
            )
        if time_s is None:
            return self._frames.frame_at(frames[-1].index)
        nearest = min(frames, key=lambda frame: abs(frame.timestamp_s - time_s))
        return self._frames.frame_at(nearest.index)

    def _newest(
        self, window: TwinWindow, ids: Sequence[int], allowance: Allowance, notes: list[str]
    ) -> Iterator[tuple[int, Frame, ObjectTwin]]:
        """Yield each object with the newest frame that shows it and can be had."""
        held = set(self._frames.held([frame.index for frame in window.frames]))
        skipped = []
        for object_id in ids:
            shown = [
                frame.index
                for frame in window.frames
                if frame.index in held
                and (record := frame.objects.get(object_id)) is not None
                and record.state == "visible"
            ]
            if not shown or not allowance.take():
                skipped.append(str(object_id))
                continue
            frame = self._frames.frame_at(shown[-1])
            yield object_id, frame, self._amender.record(window, shown[-1], object_id)
        if skipped:
            notes.append(f"not looked at again: {', '.join(skipped)}")

    def _placed(
        self,
        window: TwinWindow,
        seed: Seed,
        named: Named | None,
        origin: str,
        allowance: Allowance,
    ) -> int:
        """Return the id of a region: a known object's, or a new one's that is followed."""
        known = self._amender.known_at(window, seed, _KNOWN)
        if known is not None:
            self.counts.doubles += 1
            return known
        name = named or named_by_mask(self._eyes.detector, seed.frame, seed.masks)
        (object_id,) = self._amender.new_ids(window, 1)
        indexes = self._frames.held([frame.index for frame in window.frames])
        records = followed(self._eyes, seed, name, self._frames, indexes, allowance, object_id)
        self._amender.add(window, records, origin)
        self.counts.added += 1
        return object_id


def _cleaned(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(word for raw in words if (word := clean(raw).casefold())))


def _word(text: str | None) -> str | None:
    return (clean(text) or None) if text else None


def _not_known(words: Sequence[str]) -> str:
    return f"this model set does not know: {', '.join(words[:6])}"


def _told(ids: list[int], notes: Sequence[str]) -> list[int] | Told:
    message = "; ".join(note for note in notes if note)
    return Told(ids, message) if message else ids


def _prompt(
    eyes: Eyes, window: TwinWindow, box: Box | None, point: Point | None
) -> Callable[[Any, float], Any]:
    """Return what makes a mask of a box or point, given in pixels of the frame."""
    last = window.last
    if last is None:
        raise ToolError("segment: expected a twin with frames, got an empty one")
    limit = np.array([last.width, last.height], np.float32)
    if box is not None:
        corners = np.clip(np.array(box, np.float32).reshape(2, 2), 0, limit)
        if not (corners[1] > corners[0]).all():
            raise ToolError(
                f"segment: expected a box [x0,y0,x1,y1] with an area within {last.width}x"
                f"{last.height}, got {[round(float(v)) for v in box]}"
            )
        return lambda features, scale: eyes.segmenter.from_boxes(
            features, corners.reshape(1, 4) / scale
        )
    where = np.array(point, np.float32)
    if not ((where >= 0) & (where < limit)).all():
        raise ToolError(
            f"segment: expected a point within {last.width}x{last.height}, got "
            f"{[round(float(v)) for v in where]}"
        )
    return lambda features, scale: eyes.segmenter.from_points(features, where[None] / scale)


def _proposed(eyes: Eyes, one: Proposal) -> Callable[[Any, float], Any]:
    """Return what makes a proposal's mask: its own, or that of its box."""
    box = np.array([one.box_xyxy], np.float32)

    def prompt(features: Any, scale: float) -> Any:
        limit = np.array([features.width, features.height] * 2, np.float32)
        masks = eyes.segmenter.from_boxes(features, np.clip(box / scale, 0, limit))
        if one.mask_hw is None:
            return masks
        return masks.with_masks(_fitted(one.mask_hw, masks.masks_nhw.shape[1:])[None])

    return prompt


def _fitted(mask_hw: NDArray[np.bool_], size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    import cv2

    if mask_hw.shape == size_hw:
        return mask_hw
    shape = (size_hw[1], size_hw[0])
    return np.asarray(cv2.resize(mask_hw.astype(np.float32), shape) >= 0.5, np.bool_)
