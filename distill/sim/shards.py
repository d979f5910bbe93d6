"""Pictures rendered ahead: uncompressed memory-mapped arrays and one line of JSON per item.

A folder holds ``rgb.npy`` uint8, ``ids.npy`` uint8 (0 = background), ``depth.npy`` float16
metres, ``objects.jsonl``, ``spec.json`` (what was asked for) and ``progress.json``
({"done": n}: the first n items are complete, so training may begin while rendering goes on).
Rendering again with the same arguments goes on where it stopped.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError, OutputError
from .catalogue import Tier
from .scene import Shot, scene_for
from .things import Thing
from .truth import SIZE
from .worlds import World

__all__ = ["Shards", "open_clips", "open_images", "render_clips", "render_images"]

_CHUNK = 25
_FIELDS: dict[str, tuple[tuple[int, ...], str]] = {
    "rgb": ((SIZE, SIZE, 3), "uint8"),
    "ids": ((SIZE, SIZE), "uint8"),
    "depth": ((SIZE, SIZE), "float16"),
}


@dataclass(frozen=True, slots=True)
class Shards:
    """An opened folder: arrays cut to the items that are done, read-only.

    ``rgb`` (N, [T,] 256, 256, 3), ``ids`` and ``depth`` (N, [T,] 256, 256);
    ``objects[i]`` is the record of item i: seed and objects (for clips: a list per frame).
    """

    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    depth: NDArray[np.float16]
    objects: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.objects)


def render_images(
    directory: str | Path, seeds: Sequence[int], tier: Tier = "cell", processes: int = 1
) -> int:
    """Render stills of ``World.image(seed, tier)``; returns how many are done.

    Raises:
        InputError: if the folder holds a different order.
        OutputError: if it cannot be written.
    """
    return _render(Path(directory), list(seeds), tier, 0, 0.0, processes)


def render_clips(
    directory: str | Path,
    seeds: Sequence[int],
    tier: Tier = "cell",
    frames: int = 8,
    fps: float = 5.0,
    processes: int = 1,
) -> int:
    """Render ``frames`` frames of each ``World(seed, tier)``; see :func:`render_images`.

    A clip begins at a moment of the script at which most happens in it.
    """
    if frames < 1 or fps <= 0:
        raise InputError(f"expected frames >= 1 and fps > 0, got {frames} and {fps}")
    return _render(Path(directory), list(seeds), tier, frames, fps, processes)


def open_images(directory: str | Path) -> Shards:
    """Open a folder of :func:`render_images`, as far as it is done.

    Raises:
        InputError: if it is not such a folder.
    """
    return _open(Path(directory), clips=False)


def open_clips(directory: str | Path) -> Shards:
    """Open a folder of :func:`render_clips`, as far as it is done."""
    return _open(Path(directory), clips=True)


def _open(directory: Path, clips: bool) -> Shards:
    try:
        spec = json.loads((directory / "spec.json").read_text())
        done = json.loads((directory / "progress.json").read_text())["done"]
        lines = (directory / "objects.jsonl").read_text().splitlines()[:done]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"expected a folder written by render_images or render_clips, got {directory}: "
            f"{error}; render it first (edgetwin distill render)"
        ) from error
    if bool(spec["frames"]) != clips:
        kind = "clips" if spec["frames"] else "images"
        raise InputError(f"{directory} holds {kind}; open it with open_{kind}")
    arrays = {name: np.load(directory / f"{name}.npy", mmap_mode="r")[:done] for name in _FIELDS}
    return Shards(arrays["rgb"], arrays["ids"], arrays["depth"], [json.loads(s) for s in lines])


def _render(
    directory: Path, seeds: list[int], tier: Tier, frames: int, fps: float, processes: int
) -> int:
    spec = {"seeds": seeds, "tier": tier, "frames": frames, "fps": fps, "version": 1}
    _prepare(directory, spec)
    done = int(json.loads((directory / "progress.json").read_text())["done"])
    jobs = [
        (str(directory), start, seeds[start : start + _CHUNK], tier, frames, fps)
        for start in range(done, len(seeds), _CHUNK)
    ]
    if processes <= 1 or len(jobs) <= 1:
        _collect(directory, done, map(_chunk, jobs))
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            _collect(directory, done, pool.imap(_chunk, jobs))
    return len(seeds)


def _prepare(directory: Path, spec: dict[str, Any]) -> None:
    """Make the arrays, or check that those there were made for the same order."""
    path = directory / "spec.json"
    try:
        before = json.loads(path.read_text()) if path.exists() else None
        if before == spec:
            return
        if before is not None and not _continues(before, spec):
            raise InputError(
                f"{directory} was rendered with other arguments; "
                "give the same ones to go on, more seeds to add to it, or another folder"
            )
        directory.mkdir(parents=True, exist_ok=True)
        lead = (len(spec["seeds"]), spec["frames"]) if spec["frames"] else (len(spec["seeds"]),)
        for name, (shape, dtype) in _FIELDS.items():
            _make_array(directory / f"{name}.npy", (*lead, *shape), dtype, before is not None)
        if before is None:
            (directory / "objects.jsonl").write_text("")
            _advance(directory, 0)
        part = directory / "spec.json.part"
        part.write_text(json.dumps(spec))
        os.replace(part, path)
    except OSError as error:
        raise OutputError(
            f"cannot write {directory}: {error}; free space or choose another folder"
        ) from error


def _continues(before: dict[str, Any], spec: dict[str, Any]) -> bool:
    """Whether ``spec`` asks for what ``before`` did and more of it at the end."""
    count = len(before["seeds"])
    return before == {**spec, "seeds": spec["seeds"][:count]}


def _make_array(path: Path, shape: tuple[int, ...], dtype: str, keep: bool) -> None:
    """Make an array of zeros, beginning with what ``path`` holds if that is to be kept."""
    part = path.with_suffix(".npy.part")
    array = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
    if keep:
        held = np.load(path, mmap_mode="r")[: len(array)]
        for start in range(0, len(held), 256):
            array[start : min(start + 256, len(held))] = held[start : start + 256]
    array.flush()
    os.replace(part, path)


def _advance(directory: Path, done: int) -> None:
    part = directory / "progress.json.part"
    part.write_text(json.dumps({"done": done}))
    os.replace(part, directory / "progress.json")


def _collect(directory: Path, done: int, chunks: Iterable[list[str]]) -> None:
    """Append the chunks' records in order and move the mark of progress."""
    path = directory / "objects.jsonl"
    kept = path.read_text().splitlines(keepends=True)[:done]  # a killed run may have written more
    path.write_text("".join(kept))
    with path.open("a") as file:
        for lines in chunks:
            file.write("".join(line + "\n" for line in lines))
            file.flush()
            done += len(lines)
            _advance(directory, done)


def _chunk(job: tuple[str, int, list[int], Tier, int, float]) -> list[str]:
    """Render one chunk into the arrays; returns its records."""
    directory, start, seeds, tier, frames, fps = job
    arrays = {
        name: np.lib.format.open_memmap(Path(directory) / f"{name}.npy", mode="r+")
        for name in _FIELDS
    }
    lines = []
    for offset, seed in enumerate(seeds):
        world = World(seed, tier) if frames else World.image(seed, tier)
        scene = scene_for(tier, world.set_index, SIZE, SIZE)
        times = _times(world, frames, fps)
        shots = [scene.render(world, t) for t in times]
        for name in _FIELDS:
            data = np.stack(
                [getattr(s, f"{name}_hw3" if name == "rgb" else f"{name}_hw") for s in shots]
            )
            arrays[name][start + offset] = data if frames else data[0]
        listed = [_objects(world, shot, t) for shot, t in zip(shots, times, strict=True)]
        record: dict[str, Any] = {
            "seed": seed,
            "tier": tier,
            "objects": listed if frames else listed[0],
        }
        if frames:
            record["times_s"] = times
        lines.append(json.dumps(record, separators=(",", ":")))
    for array in arrays.values():
        array.flush()
    return lines


def _times(world: World, frames: int, fps: float) -> list[float]:
    """When to look: stills once; clips so that the events' middle lies in the clip."""
    if not frames:
        return [0.0]
    length = (frames - 1) / fps
    middle = 0.5 * (world.events[0].start_s + world.events[0].end_s) if world.events else 0.0
    first = min(max(middle - length / 2, 0.0), max(world.seconds - length, 0.0))
    return [round(first + k / fps, 4) for k in range(frames)]


def _lift(world: World, thing: Thing, t: float) -> float:
    """How far above the table an object hangs, in metres; 0 for one that rests on another."""
    if thing.parent is not None:
        return 0.0
    return max(0.0, thing.centre_at(world.when(t))[2] - thing.half_z)


def _objects(world: World, shot: Shot, t: float) -> list[dict[str, Any]]:
    """Records of what can be seen in a shot (at least one pixel)."""
    records = []
    for thing in world.objects:
        mask = shot.ids_hw == thing.id
        area = int(np.count_nonzero(mask))
        if not area:
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        records.append(
            {
                "id": thing.id,
                "category": thing.category,
                "color": thing.color,
                "box_xyxy": [
                    int(columns[0]),
                    int(rows[0]),
                    int(columns[-1]) + 1,
                    int(rows[-1]) + 1,
                ],
                "area": area,
                "depth_m": round(float(np.median(shot.depth_hw[mask])), 4),
                "lift_m": round(_lift(world, thing, t), 4),
            }
        )
    return records
