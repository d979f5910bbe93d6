"""What SAM 2 remembers of tracked objects: bounded, owned by the caller, kept outside graphs.

Per object: the memory of its latest prompted frame, the memories of the most recent tracked
frames, and object pointers. SAM 2 keeps every prompted frame for ever; here a new prompt
replaces the old one, so nothing grows with the stream. Offsets older than the network's
tables reach (after frames without tracking) count as the oldest it knows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError

__all__ = ["MemoryBank", "MemoryGroup"]


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """Objects with equally old memories, stacked for one call of the memory attention.

    ``ids`` (n), ``memories`` (n, M, 64, E, E), ``memory_offsets`` (M,) int64 (0 = prompted),
    ``pointers`` (n, Q, C), ``pointer_offsets`` (Q,) float32 frames into the past.
    """

    ids: tuple[int, ...]
    memories: NDArray[np.float32]
    memory_offsets: NDArray[np.int64]
    pointers: NDArray[np.float32]
    pointer_offsets: NDArray[np.float32]


@dataclass(slots=True)
class _Entry:
    frame: int
    memory: NDArray[np.float32]
    pointer: NDArray[np.float32]


@dataclass(slots=True)
class _Past:
    """One object's past. The deques' lengths are the bound."""

    prompted: _Entry
    recent: deque[_Entry]
    pointers: deque[tuple[int, NDArray[np.float32]]]
    last: int


class MemoryBank:
    """Memories of at most ``max_objects`` objects, ``memories`` and ``pointers`` each.

    One of the ``memories`` is the prompted frame's, the others are the latest tracked ones
    (7 and 16 in the published checkpoints; fewer memories cost less time per frame). Beyond
    ``max_objects`` the object that was remembered longest ago is dropped and counted in
    ``evicted``. The caller moves the clock with :meth:`advance`, once per frame.

    Raises:
        InputError: if a bound is below 1.
    """

    def __init__(self, memories: int = 7, pointers: int = 16, max_objects: int = 64) -> None:
        if min(memories, pointers, max_objects) < 1:
            raise InputError(
                "expected memories, pointers and max_objects of at least 1, "
                f"got {memories}, {pointers} and {max_objects}"
            )
        self.memories, self.pointers, self.max_objects = memories, pointers, max_objects
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

    def forget(self, ids: Iterable[int]) -> None:
        """Drop objects; unknown ids are fine."""
        for key in ids:
            self._past.pop(key, None)

    def clear(self) -> None:
        """Drop all objects (a cut in the video)."""
        self._past.clear()

    def store(
        self, key: int, memory: NDArray[np.float32], pointer: NDArray[np.float32], *, prompted: bool
    ) -> None:
        """Add the current frame's memory (64, E, E) and pointer (C,) of one object.

        An object's first memory counts as prompted. Arrays are copied, so that a view does not
        keep a whole batch alive.
        """
        entry = _Entry(self.frame, memory.copy(), pointer.copy())
        past = self._past.get(key)
        if past is None:
            if len(self._past) >= self.max_objects:
                oldest = min(self._past, key=lambda k: (self._past[k].last, k))
                del self._past[oldest]
                self.evicted += 1
            recent: deque[_Entry] = deque(maxlen=self.memories - 1)
            self._past[key] = _Past(entry, recent, deque(maxlen=self.pointers - 1), self.frame)
            return
        past.last = self.frame
        if prompted:
            past.prompted = entry
        else:
            past.recent.append(entry)
            past.pointers.append((self.frame, entry.pointer))

    def entries(self, key: int) -> tuple[int, int]:
        """Return how many memories and pointers are kept of an object (0, 0 if unknown)."""
        past = self._past.get(key)
        if past is None:
            return 0, 0
        return 1 + len(past.recent), 1 + len(past.pointers)

    def nbytes(self) -> int:
        """Return the size of all arrays kept."""
        total = 0
        for past in self._past.values():
            kept = [past.prompted, *past.recent]
            total += sum(e.memory.nbytes + e.pointer.nbytes for e in kept)
            total += sum(p.nbytes for _, p in past.pointers)
        return total

    def groups(
        self, ids: Sequence[int], *, oldest_memory: int = 6, oldest_pointer: int = 15
    ) -> list[MemoryGroup]:
        """Return the past of ``ids``, grouped by equal ages.

        Raises:
            InputError: if an id is not in the bank.
        """
        missing = sorted(set(ids) - set(self._past))
        if missing:
            raise InputError(f"expected ids of the bank ({self.ids()}), got {missing}")
        members: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
        columns: dict[int, tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]] = {}
        for key in dict.fromkeys(ids):
            past = self._past[key]
            first = past.prompted
            memories, ages = [first.memory], [0]
            pointers = [first.pointer]
            pointer_ages = [min(self.frame - first.frame, oldest_pointer)]
            for entry in past.recent:
                ages.append(int(np.clip(self.frame - entry.frame, 1, oldest_memory)))
                memories.append(entry.memory)
            for frame, pointer in reversed(past.pointers):
                pointer_ages.append(min(self.frame - frame, oldest_pointer))
                pointers.append(pointer)
            columns[key] = memories, pointers
            members.setdefault((tuple(ages), tuple(pointer_ages)), []).append(key)
        return [
            MemoryGroup(
                ids=tuple(keys),
                memories=np.stack([np.stack(columns[k][0]) for k in keys]),
                memory_offsets=np.array(ages, np.int64),
                pointers=np.stack([np.stack(columns[k][1]) for k in keys]),
                pointer_offsets=np.array(pointer_ages, np.float32),
            )
            for (ages, pointer_ages), keys in members.items()
        ]
