"""Perception without language: one pass over a source, and the folder it leaves.

The pass is :mod:`~edgetwin.deploy.perceive`'s; the overlay is drawn in it, and ``tracks.json``
sums up every object. Memory stays flat, and whatever stops the pass leaves what was written.

Not covered: answering questions (:mod:`~edgetwin.deploy.run`), live cameras.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..twin.errors import EdgeTwinError, InputError
from ..twin.schema import FrameTwin, ObjectTwin
from ..twin.store import TwinStore
from .models import Perception, load_perception
from .perceive import Progress, Tally, clear_results, ms_since, perceived, twin_files
from .stream.draw import Canvas
from .stream.sinks import OverlaySink, make_folder, write_json
from .stream.source import Source, open_source

if TYPE_CHECKING:
    from ..perception.perceiver import PerceiverConfig

__all__ = ["TrackReport", "Tracks", "parse_words", "perceiver_config", "track"]

TRACKS_VERSION = 1
MAX_TRACKS = 10_000  # summaries kept, about 1 kB each: an endless stream has endless ids
MAX_WORDS = 64  # each word is a query of its own, and of every colour
_OWN_MS = ("decode", "perceive", "write", "draw")  # the pass; what else is timed is inside
_LINES = 20  # objects printed: a terminal's height
Status = Literal["ok", "partial", "interrupted", "error"]


# ---- one summary per object


@dataclass
class _Summary:
    last: ObjectTwin
    anchor: tuple[float, float]
    frames: int = 0
    path_px: float = 0.0
    depth_sum: float = 0.0
    depths: int = 0


class Tracks:
    """Sums up every object that was ever visible; at most ``limit``, the newest ones.

    A path grows by steps of at least ``step_px`` pixels (one part in a hundred of the frame's
    diagonal, but not under 2), so that an object at rest with a trembling mask has none. What
    was not seen of a path, behind something, counts as a straight line.
    """

    def __init__(self, limit: int = MAX_TRACKS) -> None:
        self.limit = limit
        self.dropped = 0  # summaries given up for newer ones
        self._known: dict[int, _Summary] = {}  # the one seen longest ago first

    def add(self, twin: FrameTwin) -> None:
        """Take the next frame."""
        step_px = max(2.0, 0.01 * math.hypot(twin.width, twin.height))
        for obj in twin.objects.values():
            if obj.state != "visible":
                continue
            known = self._known.pop(obj.id, None) or _Summary(obj, obj.centroid)
            self._known[obj.id] = known
            known.last, known.frames = obj, known.frames + 1
            moved = math.dist(known.anchor, obj.centroid)
            if moved >= step_px:
                known.path_px, known.anchor = known.path_px + moved, obj.centroid
            if obj.mean_depth is not None:
                known.depth_sum, known.depths = known.depth_sum + obj.mean_depth, known.depths + 1
        while len(self._known) > self.limit:
            del self._known[next(iter(self._known))]
            self.dropped += 1

    def records(self) -> list[dict[str, Any]]:
        """Return the summaries by rising id, as ``tracks.json`` holds them."""
        return [self._record(self._known[key]) for key in sorted(self._known)]

    def _record(self, known: _Summary) -> dict[str, Any]:
        obj = known.last
        depth = round(known.depth_sum / known.depths, 4) if known.depths else None
        return {
            "id": obj.id,
            "label": obj.semantic_label,
            "color": obj.attributes.get("color"),
            "first_seen": obj.first_seen,
            "last_seen": obj.last_seen,
            "frames_visible": known.frames,
            "mean_depth": depth,
            "depth_unit": obj.depth_stats.unit if obj.depth_stats else None,
            "path_px": round(known.path_px, 1),
        }


# ---- track


@dataclass
class TrackReport:
    """What a track found, as written to ``tracks.json``.

    Attributes:
        out_dir: the folder with the results.
        status: ``ok``; ``partial``, the source lost frames; ``interrupted``; or ``error``.
        reason: one line saying why it is not ``ok``.
        source: id, kind, size and seconds.
        frames: ``in`` = ``processed`` + all of ``dropped`` (by reason) + ``in_flight``.
        tracks: one record per object.
        tracks_dropped: summaries given up because there were more than fit.
        counts: how often the perceiver looked, began an object, dropped one, and so on.
        frames_per_s: of the whole pass, writing and drawing included.
        ms: milliseconds per stage in all: ``load``, ``decode``, ``perceive``, ``write``,
            ``draw``, and the perceiver's own stages.
        models: role -> {"id", "sha256"}.
        words: what was looked for; None is every word of the set.
        warnings: one line each.
    """

    out_dir: Path
    status: Status = "ok"
    reason: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    frames: dict[str, Any] = field(default_factory=dict)
    tracks: list[dict[str, Any]] = field(default_factory=list)
    tracks_dropped: int = 0
    counts: dict[str, Any] = field(default_factory=dict)
    frames_per_s: float = 0.0
    ms: dict[str, float] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    words: list[str] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any]:
        """What ``tracks.json`` holds."""
        values = {key: value for key, value in vars(self).items() if key != "out_dir"}
        return {"version": TRACKS_VERSION, **values}

    def text(self) -> str:
        """Return it in a few lines, with one per object (the first twenty)."""
        seen, frames = self.source, self.frames
        dropped = "".join(f", {count} {why}" for why, count in frames["dropped"].items())
        lines = [
            f"{seen['id']}: {frames['processed']} frames of {seen['width']}x{seen['height']}"
            f"{dropped}, {seen['seconds']:.1f} s: {self.status}"
            + (f" ({self.reason})" if self.reason else "")
        ]
        lines += [_line(record) for record in self.tracks[:_LINES]]
        if len(self.tracks) > _LINES:
            lines.append(f"and {len(self.tracks) - _LINES} more objects in tracks.json")
        if not self.tracks:
            lines.append("no object was seen")
        each = {k: f"{k} {v / max(1, frames['processed']):.1f}" for k, v in self.ms.items()}
        lines.append(f"ms per frame: {' · '.join(each[k] for k in _OWN_MS if k in each)}")
        inside = [text for k, text in each.items() if k not in ("load", *_OWN_MS)]
        if inside:
            lines.append(f"of perceive, some of it at the same time: {' · '.join(inside)}")
        lines.append(f"{self.frames_per_s:.1f} frames/s; loading {self.ms['load']:.0f} ms")
        shown = "overlay.mp4" if (self.out_dir / "overlay.mp4").exists() else "masks.json"
        lines.append(f"look at {self.out_dir / shown}; objects in {self.out_dir / 'tracks.json'}")
        return "\n".join(lines)


def perceiver_config(
    *,
    look_every: int | None = None,
    follow: Literal["auto", "boxes", "memory", "hybrid"] | None = None,
    budget_ms: float | None = None,
    everything: bool = False,
) -> PerceiverConfig:
    """Return the perceiver's own policy with what is not None put in its place."""
    from ..perception.perceiver import PerceiverConfig

    given: dict[str, Any] = {"look_every": look_every, "follow": follow, "budget_ms": budget_ms}
    given["everything"] = everything
    return PerceiverConfig(**{key: value for key, value in given.items() if value is not None})


def track(
    source: str | Path,
    out_dir: str | Path,
    models: str | Path | Perception = "embedded",
    *,
    words: str | Sequence[str] | None = None,
    config: PerceiverConfig | None = None,
    networks: Mapping[str, str] | None = None,
    device: str = "auto",
    overlay: bool = True,
    max_frames: int | None = None,
    fps: float = 10.0,
    progress: Progress | None = None,
) -> TrackReport:
    """Perceive a source and write what was seen, without any language model.

    Args:
        source: a video, a picture or a folder of pictures.
        out_dir: made if missing; earlier results in it are replaced.
        models: a set's name, a bundle's folder, or a perceiver made ready (which then has its
            own words and config).
        words: what to look for, ``"mug, red ball"`` or a list; None is all that the set knows.
        config: how the perceiver works.
        networks: role -> hub checkpoint, in place of a named set's own.
        device: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
        overlay: whether to draw ``overlay.mp4``.
        max_frames: stop after so many frames.
        fps: the rate of a folder of pictures.
        progress: called with ("track", done, total or None).

    Raises:
        InputError: if the set knows none of the words, or ``max_frames`` is below 1, or the
            device is unknown.
        SourceError: if the source cannot be read.
        ModelError: if the models cannot be had or a network fails.
        OutputError, StoreError: if results cannot be written; what was written is kept.
    """
    if max_frames is not None and max_frames < 1:
        raise InputError(f"expected max_frames of at least 1, got {max_frames}")
    asked = None if words is None else parse_words(words)
    opened = open_source(source, fps)
    started = time.perf_counter()
    if isinstance(models, Perception):
        ready = models
    else:
        ready = load_perception(models, asked, config, networks=networks, device=device)
    out = Path(out_dir)
    report = TrackReport(out, ms={"load": ms_since(started)}, models=ready.identities)
    report.words = None if asked is None else list(asked)
    make_folder(out)
    clear_results(out)
    return _Track(opened, ready, report, progress).all(overlay, max_frames)


class _Track:
    """One pass and what is told about it, however it ends."""

    def __init__(
        self, source: Source, models: Perception, report: TrackReport, progress: Progress | None
    ) -> None:
        self.source = source
        self.models = models
        self.report = report
        self.progress = progress
        self.tally = Tally()
        self.tracks = Tracks()
        self.write_ms = self.draw_ms = 0.0

    def all(self, overlay: bool, max_frames: int | None) -> TrackReport:
        started = time.perf_counter()
        try:
            self.perceive(overlay, max_frames)
        except BaseException as error:
            self.report.status, self.report.reason = _ending(error)
            self.tell(started)
            try:
                write_json(self.report.out_dir / "tracks.json", self.report.document)
            except EdgeTwinError as second:  # the disk is full, or the folder is gone
                error.add_note(str(second))
            raise
        if self.source.status == "partial":
            self.report.status, self.report.reason = "partial", self.source.reason
        self.tell(started)
        write_json(self.report.out_dir / "tracks.json", self.report.document)
        return self.report

    def perceive(self, overlay: bool, max_frames: int | None) -> None:
        total = self.source.frame_count
        if max_frames is not None and (total is None or total > max_frames):
            total = max_frames
        out = self.report.out_dir
        with (
            TwinStore(out / "twin.sqlite") as store,
            twin_files(out, store) as write,
            ExitStack() as stack,
        ):
            drawn: OverlaySink | None = None
            for frame, twin in perceived(
                self.source, self.models.perceiver, self.tally, max_frames
            ):
                started = time.perf_counter()
                write(twin)
                self.tracks.add(twin)
                self.write_ms += ms_since(started)
                started = time.perf_counter()
                if overlay and drawn is None:
                    canvas = Canvas(twin.width, twin.height, [])
                    drawn = OverlaySink(out / "overlay.mp4", canvas, self.source.fps)
                    stack.enter_context(closing(drawn))
                if drawn is not None:
                    drawn.write(frame.image_hw3, twin)
                self.draw_ms += ms_since(started)
                if self.progress is not None:
                    self.progress("track", self.tally.processed, total)

    def tell(self, started: float) -> None:
        """Fill in the report from what was counted."""
        tally, report = self.tally, self.report
        took = time.perf_counter() - started
        report.source = {
            "id": self.source.source_id,
            "kind": self.source.kind,
            "width": tally.width,
            "height": tally.height,
            "seconds": round(tally.seconds, 3),
        }
        report.frames = {
            "in": tally.read + sum(self.source.dropped.values()),
            "processed": tally.processed,
            "dropped": dict(self.source.dropped),
            "in_flight": tally.read - tally.processed,
        }
        report.tracks, report.tracks_dropped = self.tracks.records(), self.tracks.dropped
        report.counts = self.models.counts()
        report.frames_per_s = round(tally.processed / took, 2) if took > 0 else 0.0
        report.ms |= {"decode": tally.decode_ms, "perceive": tally.perceive_ms}
        report.ms |= {"write": self.write_ms, "draw": self.draw_ms}
        report.ms |= self.models.stage_ms()
        report.ms = {name: round(ms, 1) for name, ms in report.ms.items()}
        report.warnings = self.models.warnings()


def parse_words(words: str | Sequence[str]) -> tuple[str, ...]:
    """Return the words of ``"mug, red ball"``, or of a list, in small letters, each once.

    Raises:
        InputError: if there is none, more than 64, or one of more than 64 letters.
    """
    entries = words.split(",") if isinstance(words, str) else words
    cleaned = (" ".join(entry.lower().split()) for entry in entries)
    found = tuple(dict.fromkeys(entry for entry in cleaned if entry))
    if not 1 <= len(found) <= MAX_WORDS:
        raise InputError(
            f'expected 1 to {MAX_WORDS} words with commas between them, such as "mug, red ball", '
            f"got {len(found)}"
        )
    longest = max(found, key=len)
    if len(longest) > 64:
        raise InputError(f"expected words of at most 64 letters, got {longest[:40]!r}…")
    return found


def _line(record: dict[str, Any]) -> str:
    """Return an object's summary as one line."""
    name = " ".join(f"#{record['id']} {record['color'] or ''} {record['label']}".split())
    depth = ""
    if record["mean_depth"] is not None:
        unit = " m" if record["depth_unit"] == "m" else " (relative)"
        depth = f", {record['mean_depth']:.2f}{unit} away"
    return (
        f"{name}: {record['first_seen']:.1f} to {record['last_seen']:.1f} s, "
        f"{record['frames_visible']} frames{depth}, moved {record['path_px']:.0f} px"
    )


def _ending(error: BaseException) -> tuple[Status, str]:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "stopped by the user; what was perceived until then is kept"
    return "error", " ".join(str(error).split()) or type(error).__name__
