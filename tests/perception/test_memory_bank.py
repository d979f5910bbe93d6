"""The memory bank: its whole contents, bounds, ages and rounding, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetwin.perception.memory_bank import MemoryBank
from edgetwin.twin.errors import InputError


def entry(value: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.full((6, 3), value, np.float32), np.full(4, value, np.float32)


def fill(bank: MemoryBank, key: int, frames: int, prompted: tuple[int, ...] = (0,)) -> None:
    for frame in range(frames):
        bank.store(key, *entry(frame), prompted=frame in prompted)
        bank.advance()


def test_stays_bounded_over_100_frames() -> None:
    bank, sizes = MemoryBank(memories=7, pointers=16, max_objects=3), []
    for frame in range(100):
        for key in (1, 2):
            bank.store(key, *entry(frame), prompted=frame % 30 == 0)
        sizes.append(bank.nbytes())
        bank.advance()
    assert bank.entries(1) == bank.entries(2) == (7, 15)
    # At most one prompted and six recent memories, each with its pointer, and nine pointers more.
    assert max(sizes) == 2 * (7 * (72 + 16) + 9 * 16)
    assert sizes[40:70] == sizes[70:]
    (group,) = bank.groups([2, 1])
    assert group.ids == (2, 1)
    # Frame 100 now: prompted at 90; the latest six others are 94 .. 99.
    np.testing.assert_array_equal(group.memory_offsets, [[0, 6, 5, 4, 3, 2, 1]] * 2)
    np.testing.assert_array_equal(group.memories[0, :, 0, 0], [90, 94, 95, 96, 97, 98, 99])
    np.testing.assert_array_equal(group.pointers[1, :4, 0], [90, 99, 98, 97])
    # Of the fifteen frames 85 .. 99, one is the prompted one.
    recent = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15]
    np.testing.assert_array_equal(group.pointer_offsets, [[10, *recent]] * 2)
    for key in (7, 8):
        bank.store(key, *entry(0), prompted=True)
    assert bank.ids() == (2, 7, 8)
    assert bank.evicted == 1
    assert bank.last_stored(2) == 99
    assert bank.last_stored(1) is None
    bank.forget([2, 99])
    assert bank.ids() == (7, 8)


def test_the_object_stored_longest_ago_makes_room() -> None:
    bank = MemoryBank(max_objects=2)
    bank.store(1, *entry(0), prompted=True)
    bank.store(2, *entry(0), prompted=True)
    bank.advance()
    bank.store(1, *entry(1), prompted=False)
    bank.store(3, *entry(1), prompted=True)
    assert bank.ids() == (1, 3)


def test_prompted_frames_are_kept_to_their_bound() -> None:
    """Beyond it they are read like tracked frames while they are recent."""
    bank = MemoryBank(memories=4, pointers=6, prompts=2)
    fill(bank, 1, 8, prompted=(0, 5, 6, 7))
    (group,) = bank.groups([1])
    np.testing.assert_array_equal(group.memories[0, :, 0, 0], [6, 7, 5])
    np.testing.assert_array_equal(group.memory_offsets, [[0, 0, 3]])
    np.testing.assert_array_equal(group.pointers[0, :, 0], [6, 7, 5, 4, 3])
    np.testing.assert_array_equal(group.pointer_offsets, [[2, 1, 3, 4, 5]])


def test_old_prompts_keep_their_age_unless_bounded() -> None:
    bank = MemoryBank(memories=3, pointers=3)
    fill(bank, 1, 40)
    np.testing.assert_array_equal(bank.groups([1])[0].pointer_offsets, [[40, 1, 2]])
    bounded = bank.groups([1], oldest_pointer=15)[0]
    np.testing.assert_array_equal(bounded.pointer_offsets, [[15, 1, 2]])


def test_objects_stored_on_some_frames_only_share_a_group() -> None:
    bank = MemoryBank(memories=3, pointers=4)
    for frame in range(12):
        for key in (1, 2, 3):
            if frame == 0 or frame % 3 == key - 1:
                bank.store(key, *entry(10 * key + frame), prompted=frame == 0)
        bank.advance()
    (group,) = bank.groups([3, 1, 2])
    assert group.ids == (3, 1, 2)
    # Frame 12 now; object 3 was stored on 8 and 11, object 1 on 6 and 9, object 2 on 7 and 10.
    np.testing.assert_array_equal(group.memory_offsets, [[0, 4, 1], [0, 6, 3], [0, 5, 2]])
    np.testing.assert_array_equal(group.memories[1, :, 0, 0], [10, 16, 19])
    np.testing.assert_array_equal(
        group.pointer_offsets, [[12, 1, 4, 7], [12, 3, 6, 9], [12, 2, 5, 8]]
    )
    assert len(bank.groups([1, 2, 3], same_ages=True)) == 3
    clipped = bank.groups([1], oldest_memory=4)[0]
    np.testing.assert_array_equal(clipped.memory_offsets, [[0, 4, 3]])
    bank.store(4, *entry(0), prompted=True)
    assert [g.ids for g in bank.groups(bank.ids())] == [(1, 2, 3), (4,)]


def test_a_second_memory_of_a_frame_replaces_the_first() -> None:
    bank = MemoryBank()
    bank.store(1, *entry(1), prompted=False)  # the first one counts as prompted
    bank.store(1, *entry(2), prompted=False)
    assert bank.entries(1) == (1, 1)
    bank.advance()
    bank.store(1, *entry(3), prompted=False)
    bank.store(1, *entry(4), prompted=True)
    bank.advance()
    (group,) = bank.groups([1])
    np.testing.assert_array_equal(group.memories[0, :, 0, 0], [4, 2])
    np.testing.assert_array_equal(group.memory_offsets, [[0, 2]])
    np.testing.assert_array_equal(group.pointers[0, :, 0], [4, 2])


def test_half_rounds_as_bfloat16() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(500, 3)) * 10.0 ** rng.integers(-20, 20, (500, 1))).astype(
        np.float32
    )
    values[:4, 0] = [1 + 2**-8, 1 + 3 * 2**-8, 0, -0.0]  # ties to even, zeros
    bank = MemoryBank(half=True)
    bank.store(1, values, np.zeros(4, np.float32), prompted=True)
    got = bank.groups([1])[0].memories[0, 0]
    np.testing.assert_array_equal(got, torch.from_numpy(values).bfloat16().float().numpy())
    assert bank.nbytes() == values.nbytes // 2 + 16


def test_arrays_are_copied() -> None:
    bank, (memory, pointer) = MemoryBank(), entry(1)
    bank.store(1, memory, pointer, prompted=True)
    memory[:], pointer[:] = 5, 5
    (group,) = bank.groups([1])
    assert group.memories.max() == group.pointers.max() == 1


def test_errors_say_what_was_expected() -> None:
    bank = MemoryBank()
    bank.store(1, *entry(1), prompted=True)
    with pytest.raises(InputError, match=r"expected ids of the bank \(\(1,\)\), got \[5\]"):
        bank.groups([5])
    with pytest.raises(InputError, match="at least 1"):
        MemoryBank(memories=0)
    with pytest.raises(InputError, match="at least 1"):
        MemoryBank(prompts=0)
