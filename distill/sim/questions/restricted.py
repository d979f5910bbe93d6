"""Twins of a detector that was asked for some nouns only, and plans that ask for the others.

The objects of the other nouns are in the scene, not in the twin: :func:`restricted` gives the
twin as it is shown and the scene as it would be found, in which they come under ids above the
known ones. A step that looks for words of which not all were looked for is ``detect`` instead
of ``find`` (:func:`with_detect`).

Not covered: the pixels of a real ``detect``, which are ``deploy/refine``'s; here it finds what is
in the scene.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ....twin.schema import FrameTwin
from ....twin.tools import DEFAULT_REGISTRY, Ids
from ....twin.tools.semantic import find
from ....twin.window import TwinWindow
from .programs import EVERYTHING, Plan

__all__ = ["TRAINED", "Restricted", "restricted", "with_detect"]


def detect(window: TwinWindow, words: list[str]) -> Ids:
    """Ids with these labels, looked for now if they were not before."""
    return find(window, words)


TRAINED = DEFAULT_REGISTRY.with_tool(detect, "perception")
"""The tools that the reference plans are made of."""


@dataclass(frozen=True, slots=True)
class Restricted:
    """A window as it is shown, the same with everything in it, and the words looked for."""

    shown: TwinWindow
    whole: TwinWindow
    words: tuple[str, ...]


def restricted(window: TwinWindow, rng: random.Random, nouns: Sequence[str]) -> Restricted | None:
    """A random part of ``nouns`` looked for; None if the window would be shown empty."""
    labels = {i: window.latest(i).semantic_label for i in window.ids()}
    present = sorted(set(labels.values()))
    kept = {word for word in present if rng.random() < rng.uniform(0.3, 1.0)}
    absent = [word for word in nouns if word not in present]
    kept |= set(rng.sample(absent, rng.randint(0, len(absent))))
    known = [i for i in window.ids() if labels[i] in kept]
    if not known:
        return None
    unknown = [i for i in window.ids() if labels[i] not in kept]
    new = dict(zip(unknown, range(max(known) + 1, max(known) + 1 + len(unknown)), strict=True))
    names = {**{i: i for i in known}, **new}
    words = tuple(sorted(kept))
    shown = [_part(frame, {i: i for i in known}, words) for frame in window.frames]
    whole = [_part(frame, names, words) for frame in window.frames]
    most = window.max_frames
    return Restricted(TwinWindow(shown, most), TwinWindow(whole, most), words)


def _part(frame: FrameTwin, names: dict[int, int], words: tuple[str, ...]) -> FrameTwin:
    """The objects of a frame that have a name, under it."""
    objects = {
        names[i]: obj if names[i] == i else obj.model_copy(update={"id": names[i]})
        for i, obj in frame.objects.items()
        if i in names
    }
    return frame.model_copy(update={"objects": objects, "vocabulary": words})


def with_detect(plan: Plan, words: Collection[str]) -> Plan:
    """The plan for a twin in which only ``words`` were looked for."""
    return [
        {**step, "tool": "detect"}
        if step["tool"] == "find" and not set(step["words"]) <= {*words, EVERYTHING}
        else step
        for step in plan
    ]
