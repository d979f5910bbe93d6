"""What perception got wrong when a question's own program fails on the perceived twin.

The perceived twin is mended step by step with the truth until the program gives the right
objects; the step that does it names the cause:

* ``names``: objects get their true nouns and colours.
* ``objects``: what is no object goes, what was missed comes in, every object gets its true id.
* ``depth``: objects get their true depths in the frames in which both twins show them.
* ``places and times``: what is left, such as boxes, paths, hiding and what was first.

Not covered: several faults of which each alone would do; the first step that helps is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.window import TwinWindow
from ..sim.questions import Question
from .reasoner import program_ids

__all__ = ["CAUSES", "Cause", "cause", "with_names", "with_objects", "with_true_depth"]

Cause = Literal["names", "objects", "depth", "places and times"]
CAUSES: tuple[Cause, ...] = ("names", "objects", "depth", "places and times")

_DEPTHS = ("depth_stats", "mean_depth", "centroid_m", "extent_m")


def cause(
    question: Question, perceived: TwinWindow, truth: TwinWindow, same: Mapping[int, int]
) -> Cause:
    """Name what has to be mended; ``same`` is perceived id -> true id."""
    true = set(question.ids)
    named = with_names(perceived, truth, same)
    ids = program_ids(question, named)
    if ids is not None and {same.get(i) for i in ids} == true:
        return "names"
    whole = with_objects(named, truth, same)
    ids = program_ids(question, whole)
    if ids is not None and set(ids) == true:
        return "objects"
    ids = program_ids(question, with_true_depth(whole, truth))
    return "depth" if ids is not None and set(ids) == true else "places and times"


def with_names(perceived: TwinWindow, truth: TwinWindow, same: Mapping[int, int]) -> TwinWindow:
    """The perceived twin with true nouns and colours."""
    names = {
        mine: {"semantic_label": true.semantic_label, "attributes": true.attributes}
        for mine, other in same.items()
        for true in [truth.latest(other)]
    }
    return _changed(
        perceived,
        lambda frame, _: {
            i: obj.model_copy(update=names.get(i, {})) for i, obj in frame.objects.items()
        },
    )


def with_objects(perceived: TwinWindow, truth: TwinWindow, same: Mapping[int, int]) -> TwinWindow:
    """The perceived twin with the true objects and no others, under their true ids."""
    missed = set(truth.ids()) - set(same.values())

    def objects(frame: FrameTwin, index: int) -> dict[int, ObjectTwin]:
        kept = {
            same[i]: obj.model_copy(update={"id": same[i]})
            for i, obj in frame.objects.items()
            if i in same
        }
        known = truth.frames[index].objects
        return kept | {i: obj for i, obj in known.items() if i in missed}

    return _changed(perceived, objects)


def with_true_depth(whole: TwinWindow, truth: TwinWindow) -> TwinWindow:
    """The twin of :func:`with_objects` with true depths and metres."""

    def objects(frame: FrameTwin, index: int) -> dict[int, ObjectTwin]:
        known = truth.frames[index].objects
        return {
            i: obj.model_copy(update={name: getattr(known[i], name) for name in _DEPTHS})
            if i in known and known[i].state == obj.state == "visible"
            else obj
            for i, obj in frame.objects.items()
        }

    return _changed(whole, objects)


def _changed(window: TwinWindow, objects: Any) -> TwinWindow:
    frames = [
        frame.model_copy(update={"objects": objects(frame, index)})
        for index, frame in enumerate(window.frames)
    ]
    return TwinWindow(frames, max_frames=window.max_frames)
