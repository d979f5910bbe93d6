"""Inputs of every graph, recorded from real runs over clips: they set int8's ranges and judge it.

The perceiver runs over the clips as on a device, with memory for every object, and each graph's
inputs are kept: of the first three quarters of every clip to calibrate, of the last quarter to
judge. Of more inputs than are kept a fair sample remains. They lie in files and are read one at
a time, so memory does not grow with them.

A graph that the clips do not reach (random weights find no object) is driven directly: boxes on
a grid, followed by memory. Such graphs are named in :attr:`Calibration.driven`.

Not covered: live checkpoints on torch (export them first), clips in parallel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ...perception.bundle import Bundle
from ...perception.engines import Engine, Port
from ...perception.perceiver import Perceiver, PerceiverConfig
from ...perception.segmenter import Segmenter
from ...twin.errors import InputError
from ...twin.files import sha256_of
from ...twin.frame import Frame
from ..stream.source import open_source
from .graphs import Feeds

__all__ = ["Calibration", "Recorder", "Recording", "StoredFeeds", "calibrate", "example_clips"]

_WORDS = ("cup", "bottle", "bowl", "book", "box", "chair", "person", "phone")
_HELD_OUT = 4  # every clip's last part in this many judges
_GRID = ((0.1, 0.1, 0.4, 0.4), (0.6, 0.1, 0.9, 0.4), (0.1, 0.6, 0.4, 0.9), (0.5, 0.5, 0.9, 0.9))
_LENGTH_UNKNOWN = 64  # frames taken from the beginning of a clip that does not say its length


class StoredFeeds(Sequence[Mapping[str, NDArray[Any]]]):
    """Inputs of one graph in ``.npz`` files; reads one at a time."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, NDArray[Any]]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, NDArray[Any]]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return StoredFeeds(self._files[index])
        with np.load(self._files[index], allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was recorded.

    Attributes:
        feeds: graph's file name -> inputs to calibrate with.
        held_out: the same from later moments, to judge with.
        clips: name -> SHA-256.
        frames: frames that the perceiver saw.
        driven: graphs that the clips did not reach and that got boxes on a grid.
        shared: graphs judged on the inputs that calibrate them, since there were no others
            (a closed vocabulary is read once).
    """

    feeds: dict[str, Feeds]
    held_out: dict[str, Feeds]
    clips: dict[str, str]
    frames: int
    driven: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


class Recorder:
    """An engine that keeps a fair sample of the inputs it is given, in files.

    ``part`` says where to: inputs to calibrate with, or to judge with.
    """

    def __init__(self, engine: Engine, folder: Path, most: int) -> None:
        self._engine, self._folder, self._most = engine, folder, most
        self._seen = {"feeds": 0, "held_out": 0}
        self._random = np.random.default_rng(0)
        self.part = "feeds"

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Of the engine."""
        return self._engine.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """Of the engine."""
        return self._engine.outputs

    @property
    def device(self) -> str:
        """Of the engine."""
        return self._engine.device

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the engine; every input ever given has the same chance to be among those kept."""
        seen = self._seen[self.part]
        slot = seen if seen < self._most else int(self._random.integers(seen + 1))
        if slot < self._most:
            place = self._folder / self.part
            place.mkdir(parents=True, exist_ok=True)
            arrays: dict[str, Any] = dict(inputs)
            np.savez(place / f"{slot:04d}.npz", **arrays)
        self._seen[self.part] += 1
        return self._engine.run(inputs)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def kept(self, part: str) -> StoredFeeds:
        """What was kept so far."""
        return StoredFeeds(sorted((self._folder / part).glob("*.npz")))


class Recording(Bundle):
    """A bundle whose engines record under ``folder``; each graph is opened once."""

    def __init__(self, bundle: Bundle, folder: Path, most: int) -> None:
        super().__init__(bundle.directory, bundle.manifest, device="cpu", threads=bundle.threads)
        self._folder, self._most = folder, most
        self.recorders: dict[str, Recorder] = {}

    def engine(self, filename: str) -> Engine:
        """Open a graph that records."""
        if filename not in self.recorders:
            own = super().engine(filename)
            self.recorders[filename] = Recorder(own, self._folder / filename, self._most)
        return self.recorders[filename]

    def part(self, name: str) -> None:
        """Record into ``feeds`` or ``held_out`` from now on."""
        for recorder in self.recorders.values():
            recorder.part = name

    def kept(self, part: str) -> dict[str, Feeds]:
        """Inputs by graph, of those that have any."""
        found = {name: recorder.kept(part) for name, recorder in self.recorders.items()}
        return {name: feeds for name, feeds in found.items() if len(feeds)}


def example_clips() -> list[Path]:
    """The clips of the repository: simulated tables, 256 x 256.

    Raises:
        InputError: in an installation without them.
    """
    folder = Path(__file__).parents[2] / "examples"
    clips = sorted(folder.glob("*.mp4"))
    if not clips:
        raise InputError(
            f"expected clips to calibrate with, got none in {folder}; give videos of the place "
            "where the device will stand"
        )
    return clips


def calibrate(
    bundle: Bundle,
    clips: Sequence[Path],
    folder: Path,
    frames: int = 64,
    *,
    words: Sequence[str] | None = None,
    most: int = 48,
) -> Calibration:
    """Run the perceiver over clips and record every graph's inputs under ``folder``.

    Args:
        bundle: an exported set, float32.
        clips: videos, pictures or folders of pictures; ``example_clips()`` where there is
            nothing better. Clips of the place where the device will stand are better.
        folder: where the inputs lie; the caller removes it when the bundle is made.
        frames: in all, spread evenly over the clips.
        words: what to look for where the set knows any word; None: a few everyday nouns.
        most: inputs kept per graph and part.

    Raises:
        InputError: without clips, with fewer frames than two per clip, or ``most`` below 1.
        SourceError: if a clip cannot be read.
    """
    if not clips or frames < 2 * len(clips) or most < 1:
        raise InputError(
            f"expected clips, at least two frames of each and most >= 1, got {len(clips)} clips, "
            f"{frames} frames and most={most}"
        )
    watched = Recording(bundle, folder, most)
    vocabulary = words if words is not None or bundle.words.nouns else _WORDS
    seen = 0
    for clip in clips:
        pictures = list(_spread(clip, frames // len(clips)))
        _perceive(watched, pictures, vocabulary)
        seen += len(pictures)
    every = {file for entry in bundle.manifest.networks.values() for file in entry.files}
    graphs = {name for name in every if name.endswith(".onnx")}
    driven = sorted(graphs - watched.kept("feeds").keys())
    if driven:
        for clip in clips:
            _drive(watched, list(_spread(clip, frames // len(clips))))
    feeds, held_out = watched.kept("feeds"), watched.kept("held_out")
    shared = sorted(feeds.keys() - held_out.keys())
    held_out |= {name: feeds[name] for name in shared}
    return Calibration(
        feeds,
        held_out,
        {clip.name: _hash(clip) for clip in clips},
        seen,
        tuple(name for name in driven if name in feeds),
        tuple(shared),
    )


def _perceive(
    watched: Recording, pictures: Sequence[Frame], vocabulary: Sequence[str] | None
) -> None:
    config = PerceiverConfig(look_every=1, depth_every=1, follow="memory")
    perceiver = Perceiver(watched, vocabulary, config=config)
    for index, frame in enumerate(pictures):
        watched.part(_part(index, len(pictures)))
        perceiver.observe(frame)


def _drive(watched: Recording, pictures: Sequence[Frame]) -> None:
    """Segment boxes on a grid and follow them, whatever they show."""
    segmenter = Segmenter(watched)
    bank = segmenter.new_bank()
    for index, frame in enumerate(pictures):
        watched.part(_part(index, len(pictures)))
        features = segmenter.encode(frame.image_hw3)
        if index:
            bank.advance()
            known = bank.ids()
            masks = segmenter.propagate(features, bank, known)
            segmenter.remember(features, masks, bank, known)
        boxes = np.array(_GRID) * ([frame.image_hw3.shape[1], frame.image_hw3.shape[0]] * 2)
        masks = segmenter.from_boxes(features, boxes)
        if not index:
            segmenter.remember(features, masks, bank)
    watched.part("feeds")


def _part(index: int, count: int) -> str:
    return "held_out" if index >= count - max(1, count // _HELD_OUT) else "feeds"


def _spread(clip: Path, count: int) -> Iterator[Frame]:
    """``count`` frames of a clip, evenly spaced."""
    source = open_source(clip)
    length = source.frame_count or _LENGTH_UNKNOWN
    step = max(1, length // count)
    return islice(iter(source), 0, step * count, step)


def _hash(clip: Path) -> str:
    """SHA-256 of a file, or of the hashes of a folder's files."""
    if clip.is_file():
        return sha256_of(clip)
    import hashlib

    whole = hashlib.sha256()
    for file in sorted(clip.iterdir()):
        whole.update(f"{file.name} {sha256_of(file)}\n".encode())
    return whole.hexdigest()
