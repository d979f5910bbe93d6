"""What SAM 2 and EdgeTAM remember of tracked objects: bounded, owned by the caller.

Per object, as the streaming sessions of transformers read them: the memories of its latest
prompted frames, those of the most recent other frames, and object pointers. Prompted frames
beyond the bound are read like tracked ones while they are recent, then dropped, so nothing
grows with the stream. An object may be stored on some frames only: its past keeps its length
and ages, and offsets beyond the network's tables count as the oldest it knows.

Not covered: tracking backwards in time; pointers of prompted frames that are beyond both
bounds (transformers keeps those for ever).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError

__all__ = ["MemoryBank", "MemoryGroup"]

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """Objects with equally many memories and pointers, stacked for one call of the network.

    ``ids`` (n), ``memories`` (n, M, ...), ``memory_offsets`` (n, M) int64 frames into the past
    (0 = prompted), ``pointers`` (n, Q, C), ``pointer_offsets`` (n, Q) float32 frames into the
    past. An object's prompted memories come first, then the others, oldest first.
    """

    ids: tuple[int, ...]
    memories: Array
    memory_offsets: NDArray[np.int64]
    pointers: Array
    pointer_offsets: Array


@dataclass(frozen=True, slots=True)
class _Light:
    """An object's pointer on one frame; it outlives the memory."""

    frame: int
    pointer: Array


@dataclass(frozen=True, slots=True)
class _Entry(_Light):
    memory: NDArray[Any]
    prompted: bool


@dataclass(slots=True)
class _Past:
    """One object's past. The deques' lengths are the bound; prompted entries are in all."""

    prompts: deque[_Entry]
    recent: deque[_Entry]
    pointers: deque[_Light]
    last: int


class MemoryBank:
    """Memories of at most ``max_objects`` objects.

    Of each: the memories of its latest ``prompts`` prompted frames, of the latest
    ``memories`` - 1 frames it was stored on, and of ``pointers`` - 1 of those the pointers
    (7 and 16 in the published checkpoints; fewer memories cost less time per frame).
    ``half`` keeps memories in bfloat16, as transformers keeps SAM 2's. Beyond ``max_objects``
    the object that was stored longest ago is dropped and counted in ``evicted``. The caller
    moves the clock with :meth:`advance`, once per frame.

    Raises:
        InputError: if a bound is below 1.
    """

    def __init__(
        self,
        memories: int = 7,
        pointers: int = 16,
        max_objects: int = 64,
        *,
        prompts: int = 1,
        half: bool = False,
    ) -> None:
        if min(memories, pointers, max_objects, prompts) < 1:
            raise InputError(
                "expected memories, pointers, max_objects and prompts of at least 1, "
                f"got {memories}, {pointers}, {max_objects} and {prompts}"
            )
        self.memories, self.pointers, self.max_objects = memories, pointers, max_objects
        self.prompts, self.half = prompts, half
        self.frame = 0
        self.evicted = 0
        self._past: dict[int, _Past] = {}

    def __len__(self) -> int:
        return len(self._past)

    def advance(self) -> int:
        """Go to the next frame and return its number."""
        self.frame += 1
        return self.frame

    def ids(self) -> tuple[int, ...]:
        """Return the objects that can be propagated, ascending."""
        return tuple(sorted(self._past))

    def last_stored(self, key: int) -> int | None:
        """Return the number of the frame an object was last stored on, None if unknown."""
        past = self._past.get(key)
        return None if past is None else past.last

    def forget(self, ids: Iterable[int]) -> None:
        """Drop objects; unknown ids are fine."""
        for key in ids:
            self._past.pop(key, None)

    def clear(self) -> None:
        """Drop all objects (a cut in the video)."""
        self._past.clear()

    def store(self, key: int, memory: Array, pointer: Array, *, prompted: bool) -> None:
        """Add the current frame's memory (any shape) and pointer (C,) of one object.

        An object's first memory counts as prompted; a second one for the same frame replaces
        the first. Arrays are copied, so that a view does not keep a whole batch alive.
        """
        past = self._past.get(key)
        kept = _to_bfloat16(memory) if self.half else memory.copy()
        entry = _Entry(self.frame, pointer.copy(), kept, prompted or past is None)
        if past is None:
            self._make_room()
            past = _Past(
                deque(maxlen=self.prompts),
                deque(maxlen=self.memories - 1),
                deque(maxlen=self.pointers - 1),
                self.frame,
            )
            self._past[key] = past
        elif past.last == self.frame:
            kept_before: tuple[deque[Any], ...] = (past.prompts, past.recent, past.pointers)
            for entries in kept_before:
                if entries and entries[-1].frame == self.frame:
                    entries.pop()
            # What was a prompt, or would leave the object without one, stays a prompt.
            entry = _Entry(self.frame, entry.pointer, kept, prompted or not past.prompts)
        past.last = self.frame
        past.recent.append(entry)
        past.pointers.append(_Light(self.frame, entry.pointer))
        if entry.prompted:
            past.prompts.append(entry)

    def _make_room(self) -> None:
        if len(self._past) >= self.max_objects:
            oldest = min(self._past, key=lambda k: (self._past[k].last, k))
            del self._past[oldest]
            self.evicted += 1

    def entries(self, key: int) -> tuple[int, int]:
        """Return how many memories and pointers are read of an object (0, 0 if unknown)."""
        past = self._past.get(key)
        if past is None:
            return 0, 0
        others, pointers = _others(past)
        return len(past.prompts) + len(others), len(past.prompts) + len(pointers)

    def nbytes(self) -> int:
        """Return the size of all arrays kept."""
        total = 0
        for past in self._past.values():
            arrays = [e.memory for e in (*past.prompts, *past.recent)]
            arrays += [e.pointer for e in (*past.prompts, *past.recent, *past.pointers)]
            total += sum(a.nbytes for a in {id(a): a for a in arrays}.values())
        return total

    def groups(
        self,
        ids: Sequence[int],
        *,
        oldest_memory: int = 6,
        oldest_pointer: int | None = None,
        same_ages: bool = False,
    ) -> list[MemoryGroup]:
        """Return the past of ``ids``, in as few groups as their numbers of memories allow.

        ``oldest_memory`` and ``oldest_pointer`` bound the offsets (None: no bound, as
        transformers counts). ``same_ages`` groups objects of equal offsets only, for networks
        that take one row of offsets for all.

        Raises:
            InputError: if an id is not in the bank.
        """
        missing = sorted(set(ids) - set(self._past))
        if missing:
            raise InputError(f"expected ids of the bank ({self.ids()}), got {missing}")
        members: dict[Any, list[tuple[int, _Read]]] = {}
        for key in dict.fromkeys(ids):
            read = self._read(self._past[key], oldest_memory, oldest_pointer)
            ages = (tuple(read.ages), tuple(read.pointer_ages))
            same = ages if same_ages else (len(ages[0]), len(ages[1]))
            members.setdefault(same, []).append((key, read))
        return [self._stack(rows) for rows in members.values()]

    def _read(self, past: _Past, oldest_memory: int, oldest_pointer: int | None) -> _Read:
        others, pointers = _others(past)
        ages = [0] * len(past.prompts)
        ages += [min(max(self.frame - e.frame, 1), oldest_memory) for e in others]
        lights: list[_Light] = [*past.prompts, *pointers]
        pointer_ages = [self.frame - light.frame for light in lights]
        if oldest_pointer is not None:
            pointer_ages = [min(age, oldest_pointer) for age in pointer_ages]
        return _Read(
            [e.memory for e in (*past.prompts, *others)],
            ages,
            [light.pointer for light in lights],
            pointer_ages,
        )

    def _stack(self, rows: list[tuple[int, _Read]]) -> MemoryGroup:
        first = rows[0][1].memories
        shape = (len(rows), len(first), *first[0].shape)
        memories = np.empty(shape, np.uint32 if self.half else np.float32)
        for target, (_, read) in zip(memories, rows, strict=True):
            for slot, memory in zip(target, read.memories, strict=True):
                slot[...] = memory
        if self.half:
            memories <<= 16
        return MemoryGroup(
            ids=tuple(key for key, _ in rows),
            memories=memories.view(np.float32),
            memory_offsets=np.array([read.ages for _, read in rows], np.int64),
            pointers=np.stack([np.stack(read.pointers) for _, read in rows]),
            pointer_offsets=np.array([read.pointer_ages for _, read in rows], np.float32),
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """What is read of one object at one frame."""

    memories: list[NDArray[Any]]
    ages: list[int]
    pointers: list[Array]
    pointer_ages: list[int]


def _others(past: _Past) -> tuple[list[_Entry], list[_Light]]:
    """Return recent entries (oldest first) and pointers (newest first) that are no prompts."""
    prompts = {entry.frame for entry in past.prompts}
    entries = [entry for entry in past.recent if entry.frame not in prompts]
    lights = [light for light in reversed(past.pointers) if light.frame not in prompts]
    return entries, lights


def _to_bfloat16(values: Array) -> NDArray[np.uint16]:
    """Return the upper halves of float32 numbers, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))
    return (rounded >> 16).astype(np.uint16)
