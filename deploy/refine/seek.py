"""Which words were not looked for yet, looking for them, and telling new objects from known ones."""

from __future__ import annotations

from collections.abc import Sequence

from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.window import TwinWindow
from ...twin.words import matches
from .amend import Amender
from .budget import Allowance, RefineCounts
from .eyes import Eyes
from .frames import FrameProvider
from .watch import Look, Watch, between, same_object

__all__ = ["Seeker"]

_MAX_WATCHES = 4  # of one twin: each keeps a tracker; the oldest is dropped


class Seeker:
    """Looks for words over a window; what was looked for is not looked for again."""

    def __init__(
        self, eyes: Eyes, frames: FrameProvider, amender: Amender, counts: RefineCounts
    ) -> None:
        self._eyes = eyes
        self._frames = frames
        self._amender = amender
        self._counts = counts
        self._window: TwinWindow | None = None
        self._watches: list[Watch] = []
        self._tried: dict[str, int] = {}  # noun -> newest frame index it was tried at
        self._also: dict[str, set[int]] = {}  # noun -> known objects it was recognised in

    def due(
        self, window: TwinWindow, words: Sequence[str], *, known_only: bool = False
    ) -> list[str]:
        """Return the nouns of the words that were not looked for in the newest frame.

        ``known_only``: without those that the detector does not know.
        """
        looked = window.vocabulary
        if looked is None or window.last is None:
            return []
        if window is not self._window:
            self._window = window
            self._watches, self._tried, self._also = [], {}, {}
        have = {word.casefold() for word in looked}
        wanted = [noun for word in words if word not in have for noun in self._nouns(word)]
        if known_only:
            unknown = set(self._eyes.detector.unknown(wanted)) if wanted else set()
            wanted = [noun for noun in wanted if noun not in unknown]
        newest = window.last.index
        return [
            noun
            for noun in dict.fromkeys(wanted)
            if noun not in have and self._tried.get(noun) != newest
        ]

    def seek(self, window: TwinWindow, nouns: Sequence[str], allowance: Allowance) -> list[str]:
        """Look for nouns and write what is found into the window; returns notes for people."""
        notes: list[str] = []
        left = set(nouns)
        for watch in [w for w in self._watches if left & set(w.words)]:
            left -= set(watch.words)
            notes += self._pass(window, watch, allowance)
        if left:
            words = tuple(noun for noun in nouns if noun in left)
            apart = len(window) > allowance.frames
            # What the stream looks for is looked for too, at no cost: things hide each other.
            both = (*(window.vocabulary or ()), *words)
            watch = Watch(words, self._eyes.perceiver(both, every_frame=apart))
            self._watches = [*self._watches, watch][-_MAX_WATCHES:]
            notes += self._pass(window, watch, allowance)
        return list(dict.fromkeys(notes))

    def labelled(self, window: TwinWindow, words: Sequence[str]) -> list[int]:
        """Return the ids whose label is one of the words; a colour before a noun counts too."""
        if "object" in words:
            return window.ids()
        plain = set(words)
        found = {i for i in window.ids() if matches(window.latest(i).semantic_label, plain)}
        for word in words:
            color, noun = self._split(word)
            if color is not None:
                found |= {i for i in window.ids() if _is(window.latest(i), color, noun)}
            found |= self._also.get(word, set())
        return sorted(i for i in found if i in window)

    def _nouns(self, word: str) -> list[str]:
        if word == "object":
            return list(self._eyes.detector.nouns)
        return [self._split(word)[1]]

    def _split(self, word: str) -> tuple[str | None, str]:
        first, _, rest = word.partition(" ")
        return (
            (first, rest) if rest and first in self._eyes.detector.config.colors else (None, word)
        )

    def _pass(self, window: TwinWindow, watch: Watch, allowance: Allowance) -> list[str]:
        before = watch.last
        look = watch.look(window, self._frames, allowance, self._counts)
        newest = window.frames[-1].index
        self._tried.update(dict.fromkeys(watch.words, newest))
        if look.twins:
            self._merge(window, watch, look, before)
        notes = []
        if look.held < look.asked:
            notes.append(f"{look.asked - look.held} frames of the window are gone")
        if not look.complete and look.held:
            self._counts.cut += 1
            notes.append(f"time for looking again ended after {len(look.twins)} frames")
        return notes

    def _merge(
        self, window: TwinWindow, watch: Watch, look: Look, before: FrameTwin | None
    ) -> None:
        """Tell new objects from known ones, and write records on all frames passed."""
        labels = _labels_of(look.twins)
        new: list[int] = []
        for local in (i for i in labels if i not in watch.ids):
            same = same_object(window, look.twins, local, window.ids())
            if same is not None:
                watch.ids[local] = same
                if same not in watch.own:
                    watch.known.add(local)
            elif labels[local] in watch.words:
                new.append(local)
        for local, object_id in zip(new, self._amender.new_ids(window, len(new)), strict=True):
            watch.ids[local] = object_id
            watch.own.add(object_id)
        self._counts.added += len(new)
        self._amender.amend(window, _records(window, watch, look.twins, before), watch.words)
        for local in sorted(watch.known):
            self._settle_name(window, watch, local, look.twins)

    def _settle_name(
        self, window: TwinWindow, watch: Watch, local: int, twins: Sequence[FrameTwin]
    ) -> None:
        """A known object is called by the word if that is at least as sure.

        Where the vocabulary is open, two words may both be right: then it answers to both.
        """
        seen = [t.objects[local] for t in twins if local in t.objects]
        object_id = watch.ids[local]
        if not seen or object_id not in window:
            return
        record, old = seen[-1], window.latest(object_id)
        if matches(old.semantic_label, {record.semantic_label.casefold()}):
            return
        if not self._eyes.detector.nouns:
            self._also.setdefault(record.semantic_label.casefold(), set()).add(object_id)
            self._counts.doubles += 1
        elif record.confidence >= old.confidence:
            update = {
                "semantic_label": record.semantic_label,
                "attributes": record.attributes,
                "confidence": record.confidence,
                "origin": watch.origin,
            }
            changes = {
                frame.index: [frame.objects[object_id].model_copy(update=update)]
                for frame in window.frames
                if object_id in frame.objects
            }
            self._amender.amend(window, changes)
            self._counts.doubles += 1
            self._counts.changed += 1


def _is(record: ObjectTwin, color: str, noun: str) -> bool:
    return record.attributes.get("color", "").casefold() == color and matches(
        record.semantic_label, {noun}
    )


def _labels_of(twins: Sequence[FrameTwin]) -> dict[int, str]:
    """Return what each object is called in the newest twin that has it, by rising id."""
    labels = {i: obj.semantic_label for twin in twins for i, obj in twin.objects.items()}
    return dict(sorted(labels.items()))


def _records(
    window: TwinWindow, watch: Watch, twins: Sequence[FrameTwin], before: FrameTwin | None
) -> dict[int, list[ObjectTwin]]:
    """Return a watch's own records by frame: those of the looks, and those on a line between."""
    seen = {twin.index: twin for twin in twins}
    known = ([] if before is None else [before]) + list(twins)
    first = known[0].index
    records: dict[int, list[ObjectTwin]] = {}
    place = 0
    for frame in window.frames:
        if frame.index < first or (before is not None and frame.index == before.index):
            continue
        if frame.index > known[-1].index:
            break
        while known[place + 1 :] and known[place + 1].index <= frame.index:
            place += 1
        if frame.index in seen:
            found = list(seen[frame.index].objects.values())
        else:
            found = _line(known[place], known[place + 1], frame)
        records[frame.index] = [
            record.model_copy(update={"id": watch.ids[record.id], "origin": watch.origin})
            for record in found
            if record.id in watch.ids and record.id not in watch.known
        ]
    return records


def _line(a: FrameTwin, b: FrameTwin, frame: FrameTwin) -> list[ObjectTwin]:
    span = b.timestamp_s - a.timestamp_s
    share = (frame.timestamp_s - a.timestamp_s) / span if span > 0 else 0.5
    records = (between(obj, b.objects.get(key), share, frame) for key, obj in a.objects.items())
    return [record for record in records if record is not None]
