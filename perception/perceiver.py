"""Frames in, twins out: the per-frame loop over detector, segmenter, depth and tracker.

Four steps, each in a file of its own: *prepare* (working size, thumbnail) and *sense* (the
networks that need only the picture), both in :mod:`.sense`; *settle* (tracker, memory, masks,
:mod:`.settle`); *write* (:mod:`.twins`). :mod:`.policy` says when to look and to measure,
:mod:`.pipeline` runs the first two steps ahead of the others. All memory is bounded: nothing
grows with the length of the stream. ::

    from edgetwin import Perceiver, load_bundle, open_source

    perceiver = Perceiver(load_bundle("embedded"), ["mug", "red bowl"])
    for twin in perceiver.stream(open_source("table.mp4")):
        for mug in twin.objects.values():
            print(twin.timestamp_s, mug.id, mug.semantic_label, mug.box_xyxy, mug.mean_depth)

Not covered: several streams at once in one perceiver, frames out of order, pictures that are
already tensors on an accelerator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal

from ..twin.errors import InputError
from ..twin.frame import Frame
from ..twin.schema import FrameTwin
from .bundle import Bundle
from .depth import DepthEstimator
from .detector import Detector
from .domain import DomainWatch
from .following import Follower
from .memory_bank import MemoryBank
from .pipeline import Pipeline
from .policy import Policy, PolicyConfig, PolicyCounts
from .repeats import RepeatLimits
from .segmenter import Segmenter
from .sense import DepthLike, DetectorLike, Preparer, SegmenterLike, Sensed, Senses
from .settle import Parts, Settler
from .timing import StageTime, Timings
from .tracker import Tracker, TrackerConfig
from .twins import DepthHold, frame_twin
from .unnamed import Unnamed

__all__ = [
    "DepthLike",
    "DetectorLike",
    "Perceiver",
    "PerceiverConfig",
    "SegmenterLike",
    "bundle_look_every",
]

Follow = Literal["auto", "memory", "hybrid", "boxes"]

_STAGES = (
    "prepare", "encoder", "detector", "segmenter", "memory", "depth", "tracker",
    "everything", "objects", "write", "total",
)  # fmt: skip
_WORK_SIDE = 640  # pixels of the longer side that masks of small networks still profit from
_LARGE_DETECTOR = 512  # a detector of larger pictures than this costs more than all the rest


@dataclass(frozen=True, slots=True)
class PerceiverConfig:
    """How a perceiver works; the thresholds were chosen on validation worlds.

    Attributes:
        look_every: frames between looks of the detector. None takes the bundle's own (key
            ``look_every`` in the detector's config); a bundle without it gets 1 if its
            detector takes pictures of up to 512 pixels, else 8. Content asks for looks in
            between (:class:`~edgetwin.perception.policy.PolicyConfig`).
        depth_every: frames between depth measurements.
        max_interval: most frames between two looks, whatever the budget.
        budget_ms: mean milliseconds that one frame may take, all stages added up; looks,
            measurements and memories give way. None: no bound, and decisions that depend on
            the pictures alone. With :meth:`Perceiver.stream` stages overlap, and frames take
            less time than this sum.
        follow: how masks follow between looks: ``"boxes"`` prompted where objects should be;
            ``"memory"`` by SAM 2's memory of every live object, at looks too, renewed at every
            frame; ``"hybrid"`` by memory between looks and, at a look, for objects that are
            hidden, touch each other or were overlooked, with few memories renewed per frame; ``"auto"`` is boxes where every
            frame is looked at, else hybrid if the bundle's segmenter says that its memory is
            trained (key ``memory``).
        memories: frames of memory per object (at most what the network was trained for).
        memories_per_frame: objects whose memory is renewed per frame in ``"hybrid"``.
        everything: also look, about once every ``everything_s`` seconds, for objects that no
            word covers (SAM 2's point grid and the detector's objectness); they are called
            ``"object"`` or by a noun that was not asked for.
        everything_s: see there.
        policy: thresholds of the policy; its intervals and budget are replaced by the above.
        detector_score: upper bound on the bundled detector's own threshold, which suits
            single pictures: here a doubtful detection is confirmed by the next frames or
            dropped.
        detector_support: the same for its least support.
        min_mask_score: the segmenter's own estimate (0–1) below which a mask does not count.
        repeats: how much two detections may share.
        max_side: larger frames are worked on at this many pixels of the longer side. None is
            640, or the bundle's largest ``image_size`` where that is more: no network sees
            more, and masks need not be finer.
        tracker: thresholds of the tracker.

    Raises:
        InputError: if an interval is below 1, ``max_side`` below 32 or the budget not positive.
    """

    look_every: int | None = None
    depth_every: int = 4
    max_interval: int = 30
    budget_ms: float | None = None
    follow: Follow = "auto"
    memories: int = 4
    memories_per_frame: int = 2
    everything: bool = False
    everything_s: float = 1.0
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    detector_score: float = 0.3
    detector_support: float = 0.6
    min_mask_score: float = 0.3
    repeats: RepeatLimits = field(default_factory=RepeatLimits)
    max_side: int | None = None
    tracker: TrackerConfig = field(default_factory=TrackerConfig)

    def __post_init__(self) -> None:
        if (self.max_side or 32) < 32 or self.memories < 1 or self.memories_per_frame < 1:
            raise InputError(
                "expected max_side >= 32, memories and memories_per_frame >= 1, got "
                f"{self.max_side}, {self.memories} and {self.memories_per_frame}"
            )
        self.policy_for(self.look_every or 1)

    def policy_for(self, look_every: int) -> PolicyConfig:
        """Return the policy's thresholds with the intervals and budget given here."""
        return replace(
            self.policy,
            look_every=look_every,
            depth_every=self.depth_every,
            max_interval=max(self.max_interval, look_every),
            budget_ms=self.budget_ms,
        )


class Perceiver:
    """Turns the frames of one stream into twins, one after another.

    Args:
        bundle: a model set from :func:`~edgetwin.perception.bundle.load_bundle`.
        vocabulary: nouns, or colours with nouns, to look for; None: all that the bundle was
            trained on. May be changed between frames (:attr:`vocabulary`).
        look_every: in short for ``PerceiverConfig(look_every=…)``.
        config: everything that can be chosen.
        detector: replaces the bundle's own, as do ``segmenter`` and ``depth``.
        clock: seconds, for timings and the budget.

    Attributes:
        config: as given.
        vocabulary: what is looked for.
        tracker: the identities, with its counts.
        lanes: executors of one thread each for ``encoder``, ``detector`` and ``depth``: then
            :meth:`observe` runs them beside each other, with the same twins; None: one by one.
            Perceivers that share networks must share lanes too.

    Not thread-safe; one perceiver per stream.

    Raises:
        InputError: if the configuration does not fit the networks.
        ModelError: if the bundle lacks a network or its files do not match.
    """

    def __init__(
        self,
        bundle: Bundle,
        vocabulary: Sequence[str] | None = None,
        *,
        look_every: int | None = None,
        config: PerceiverConfig | None = None,
        detector: DetectorLike | None = None,
        segmenter: SegmenterLike | None = None,
        depth: DepthLike | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        config = config or PerceiverConfig()
        self.config = config if look_every is None else replace(config, look_every=look_every)
        self.vocabulary = None if vocabulary is None else tuple(vocabulary)
        self.tracker = Tracker(self.config.tracker)
        self._timings = Timings(*_STAGES, clock=clock)
        self._senses = Senses(
            detector or self._own_detector(bundle),
            segmenter or Segmenter(bundle),
            depth or DepthEstimator(bundle),
            self._timings,
        )
        every = self.config.look_every or bundle_look_every(bundle)
        self._policy = Policy(self.config.policy_for(every), self._timings)
        self._prepare = Preparer(self.config.max_side or _bundle_side(bundle), self._timings)
        self._domain = DomainWatch(bundle.manifest.statistics)
        self._hold = DepthHold()
        self._fov_deg = bundle.fov_deg
        self._settler = self._new_settler(bundle, every)
        self._streaming = False
        self.lanes: dict[str, Executor] | None = None

    @property
    def timings(self) -> dict[str, StageTime]:
        """Milliseconds per stage over the last 256 runs, and runs since the start.

        ``total`` is the sum of a frame's stages. ``objects`` is what depth and the picture's
        statistics cost beyond their networks.
        """
        return self._timings.summary()

    def listen(self, heard: Callable[[str, float], None] | None) -> None:
        """Have every run of a stage told (stage, milliseconds) as it ends; None ends it.

        Stages may run in several threads, each in one at a time.
        """
        self._timings.heard = heard

    @property
    def counts(self) -> PolicyCounts:
        """Frames, looks by reason, measurements, and what the budget put off, since the start."""
        return self._policy.counts

    @property
    def domain_warning(self) -> str | None:
        """One line if the video does not look like the bundle's training data, else None."""
        return self._domain.warning

    @property
    def detector(self) -> DetectorLike:
        """What looks for the vocabulary."""
        return self._senses.detector

    def another(self, bundle: Bundle, vocabulary: Sequence[str] | None = None) -> Perceiver:
        """A perceiver of another stream with this one's networks and bundle, for one thread."""
        senses = self._senses
        return Perceiver(
            bundle,
            vocabulary,
            config=self.config,
            detector=senses.detector,
            segmenter=senses.segmenter,
            depth=senses.depth,
        )

    def unknown(self, vocabulary: Sequence[str]) -> list[str]:
        """Return the entries that the detector has no word for, in order.

        Empty if the detector does not say (one that replaces the bundle's own).
        """
        own = self._senses.detector
        return own.unknown(vocabulary) if isinstance(own, Detector) else []

    def observe(self, frame: Frame) -> FrameTwin:
        """Perceive the next frame and return its twin.

        Masks are run-length encoded at the frame's own size; boxes, centroids and velocities
        are pixels (per second) of the frame; depths metres, or relative if the bundle says so.

        Raises:
            InputError: if its time lies before the last frame's, or a stream is open.
            ModelError: if a network fails.
        """
        self._free()
        sensed = Sensed(self._prepare(frame), self._senses, self.lanes)
        if self.lanes is not None:
            self._begin(sensed)
        return self._finish(sensed)

    def stream(
        self, frames: Iterable[Frame], *, lookahead: int = 2
    ) -> Generator[FrameTwin, None, None]:
        """Perceive frames as they come, networks ahead of the rest; yields one twin per frame.

        The twins equal those of :meth:`observe`, frame by frame (with a budget decisions
        depend on measured time). ``frames`` is read in a thread of its own, at most
        ``lookahead`` frames and one ahead. The iterator may be closed at any time; its threads
        then end, a source that waits for its next frame excepted, which ends with that frame.

        Raises:
            InputError: as :meth:`observe`; the message begins with ``frame N:``.
            ModelError: likewise.
        """
        self._free()
        return self._stream(frames, lookahead)

    # ---- pieces

    def _stream(self, frames: Iterable[Frame], lookahead: int) -> Generator[FrameTwin, None, None]:
        self._free()
        pipeline = Pipeline(
            self._prepare, self._senses, self._policy, lambda: self.vocabulary, lookahead
        )
        self._streaming = True
        try:
            with closing(pipeline.run(frames, self._finish)) as twins:
                yield from twins
        finally:
            self._streaming = False

    def _begin(self, sensed: Sensed) -> None:
        """Start the networks that this frame will probably need, each in its lane."""
        look, depth = self._policy.foresees()
        scene = sensed.view.change > self._policy.config.scene_change
        sensed.begin_encoder()
        if scene or look <= 1:
            sensed.begin_detector(self.vocabulary)
        if scene or depth <= 1:
            sensed.begin_depth()

    def _finish(self, sensed: Sensed) -> FrameTwin:
        """Settle a frame and write its twin."""
        view = sensed.view
        self._settler.settle(sensed, self.vocabulary)
        with self._timings.stage("write", view.spent_ms):
            tracks = self.tracker.reported()
            twin = frame_twin(
                view.frame, tracks, self._hold, view.scale, self._fov_deg, self.vocabulary
            )
        self._timings.add("total", sum(view.spent_ms))
        return twin

    def _free(self) -> None:
        if self._streaming:
            raise InputError(
                "expected a perceiver without an open stream, got one in use; close the iterator "
                "that stream() gave, or use a second perceiver"
            )

    def _own_detector(self, bundle: Bundle) -> Detector:
        own = Detector(bundle)
        own.config = replace(
            own.config,
            score_threshold=min(own.config.score_threshold, self.config.detector_score),
            min_support=min(own.config.min_support, self.config.detector_support),
        )
        return own

    def _new_settler(self, bundle: Bundle, look_every: int) -> Settler:
        segmenter = self._senses.segmenter
        bank = self._new_bank(bundle, look_every)
        least = self.config.min_mask_score
        parts = Parts(
            segmenter=segmenter,
            tracker=self.tracker,
            follower=Follower(
                segmenter, self.tracker, self._timings, bank, least, self.config.follow == "memory"
            ),
            policy=self._policy,
            hold=self._hold,
            domain=self._domain,
            timings=self._timings,
            metric=self._senses.depth.metric,
            unnamed=self._new_unnamed() if self.config.everything else None,
        )
        every = 0 if self.config.follow == "memory" else self.config.memories_per_frame
        return Settler(
            parts,
            min_mask_score=least,
            repeats=self.config.repeats,
            memories_per_frame=every,
        )

    def _new_unnamed(self) -> Unnamed:
        segmenter, detector = self._senses.segmenter, self._senses.detector
        if not isinstance(segmenter, Segmenter):
            raise InputError(
                "expected the bundle's own segmenter to look for everything, got "
                f"{type(segmenter).__name__}; use everything=False"
            )
        return Unnamed(
            segmenter,
            detector if isinstance(detector, Detector) else None,
            self.tracker,
            self._timings,
            self.config.everything_s,
        )

    def _new_bank(self, bundle: Bundle, look_every: int) -> MemoryBank | None:
        """Return a bank if masks follow by memory."""
        follow, segmenter = self.config.follow, self._senses.segmenter
        if follow == "auto":
            entry = bundle.manifest.networks.get("segmenter")
            trained = entry is not None and bool(entry.config.get("memory", False))
            able = trained and isinstance(segmenter, Segmenter) and look_every > 1
            follow = "hybrid" if able else "boxes"
        if follow == "boxes":
            return None
        if not isinstance(segmenter, Segmenter):
            raise InputError(
                "expected the bundle's own segmenter to follow by memory, got "
                f"{type(segmenter).__name__}; use follow='boxes'"
            )
        return segmenter.new_bank(memories=self.config.memories)


def _bundle_side(bundle: Bundle) -> int:
    """Return the longer side that frames are worked on at."""
    sizes = (entry.config.get("image_size", 0) for entry in bundle.manifest.networks.values())
    return max([_WORK_SIDE, *(int(size) for size in sizes)])


def bundle_look_every(bundle: Bundle) -> int:
    """Return a bundle's own interval between looks, in frames."""
    entry = bundle.manifest.networks.get("detector")
    if entry is None:
        return 1
    given = entry.config.get("look_every")
    if isinstance(given, int) and given >= 1:
        return given
    return 8 if int(entry.config.get("image_size", 0)) > _LARGE_DETECTOR else 1
