"""Memory in the loop, and objects without a word: the shipped networks on an example clip."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from edgetwin.deploy.stream.source import open_source
from edgetwin.perception.bundle import Bundle, embedded_dir, load_bundle
from edgetwin.perception.perceiver import Follow, Perceiver, PerceiverConfig
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import FrameTwin

from .eyes import Eyes, perceiver

CLIP = Path(__file__).parents[2] / "examples" / "affordance.mp4"

pytestmark = pytest.mark.skipif(
    not all((embedded_dir() / f).is_file() for f in ("detector_image.onnx", "depth.onnx")),
    reason="no embedded weights yet",
)


@functools.cache
def shipped() -> Bundle:
    return load_bundle("embedded", device="cpu", threads=1)


@functools.cache
def clip() -> tuple[Frame, ...]:
    return tuple(open_source(CLIP))[:11]


@functools.cache
def looked_at() -> tuple[FrameTwin, ...]:
    """What looking at every frame gives."""
    return tuple(map(Perceiver(shipped()).observe, clip()))


def visible(twin: FrameTwin) -> set[int]:
    return {o.id for o in twin.objects.values() if o.state == "visible"}


def agreement(one: FrameTwin, other: FrameTwin) -> float:
    """Mean mask IoU of the objects of one twin with those of the same id in another."""
    ious = []
    for i in visible(one):
        a, b = one.objects[i].mask, other.objects[i].mask if i in other.objects else None
        ious.append(0.0 if a is None or b is None else rle.iou(a, b))
    return float(np.mean(ious))


@pytest.mark.parametrize("follow", ["memory", "hybrid", "boxes"])
def test_masks_follow_between_looks(follow: Follow) -> None:
    config = PerceiverConfig(look_every=6, follow=follow, memories=3, memories_per_frame=2)
    p = Perceiver(shipped(), config=config)
    twins = [p.observe(frame) for frame in clip()]
    looks = sum(p.counts.looks.values())
    assert looks < 9
    assert p.timings["detector"].runs == looks
    assert p.tracker.counts.created <= 8  # nobody is made anew where detections are missing
    assert min(map(agreement, looked_at()[6:], twins[6:])) > 0.7
    assert ("memory" in p.timings) == (follow != "boxes")


def test_hybrid_renews_few_memories_per_frame() -> None:
    config = PerceiverConfig(look_every=6, follow="hybrid", memories=2, memories_per_frame=1)
    p = Perceiver(shipped(), config=config)
    bank = p._settler._parts.follower.bank
    assert bank is not None
    grown = []
    for frame in clip():
        p.observe(frame)
        grown.append(len(bank))
    assert grown[:4] == [1, 2, 3, 4]  # those without a memory come first
    assert grown[-1] >= 5
    assert all(bank.entries(i)[0] <= 2 for i in bank.ids())


def test_auto_is_memory_only_where_looks_are_apart() -> None:
    def bank(**kwargs: int) -> object:
        return Perceiver(shipped(), config=PerceiverConfig(**kwargs))._settler._parts.follower.bank

    assert bank() is None
    assert bank(look_every=4) is not None


def test_objects_without_a_word_are_found_and_keep_their_ids() -> None:
    words = ["book", "bottle"]
    config = PerceiverConfig(everything=True, everything_s=0.5)
    p, plain = Perceiver(shipped(), words, config=config), Perceiver(shipped(), words)
    twins, few = [], []
    for frame in clip()[:7]:
        twins.append(p.observe(frame))
        few.append(plain.observe(frame))
    assert p.timings["everything"].runs == 7
    assert {o.semantic_label for o in few[-1].objects.values()} == {"book", "bottle"}
    named = set()
    for one in few[-1].objects.values():
        overlaps = {o.id: rle.iou(one.mask, o.mask) for o in twins[-1].objects.values() if o.mask}
        same = max(overlaps, key=lambda i: overlaps[i])
        assert overlaps[same] > 0.8
        assert twins[-1].objects[same].semantic_label == one.semantic_label
        named.add(same)
    others = visible(twins[-1]) - named
    steady = others & visible(twins[2])
    assert len(steady) >= 3
    truth = [o.mask for o in looked_at()[6].objects.values() if o.mask is not None]
    masks = [twins[-1].objects[i].mask for i in steady]
    best = [max(rle.iou(mask, true) for true in truth) for mask in masks if mask is not None]
    assert sum(iou > 0.5 for iou in best) >= 3


def test_foreign_segmenters_can_neither_remember_nor_find_everything() -> None:
    with pytest.raises(InputError, match="to look for everything"):
        perceiver(Eyes(), everything=True)
    with pytest.raises(InputError, match="to follow by memory"):
        perceiver(Eyes(), follow="hybrid")
