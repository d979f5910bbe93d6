"""Events of standing questions on simulated streams with truth: precision, recall, delay.

Every wish (:mod:`.standing_worlds`) is watched four times with the code that serves watch with
(:class:`~...deploy.live.watches.Watch`): the plan that it means or the one that the reasoner made,
on the true twins or on those that perception made of the pictures. The first of the four is the
truth. An event is right if it is about the same object (perceived boxes stand for the true object
that they overlap most) within two seconds of a true one; each true event counts once.

A true event that is missed, or one raised that is none, is the *compilation*'s where the made plan
errs on the true twins too, else *perception*'s.

Not covered: queues and threads of a running hub (its events carry ``delay_ms``), several events
of one object within two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...deploy.live.compiling import NoPlanError, Rule, scene_of, stand
from ...deploy.live.lookback import Lookback
from ...deploy.live.watches import Watch, WatchLimits
from ...perception.boxes import box_iou
from ...twin.frame import Frame
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.window import TwinWindow
from .standing_worlds import (
    FPS,
    SECONDS,
    SEEDS,
    TUNING,
    StandingClip,
    Wish,
    standing_clip,
    wishes_of,
)

__all__ = ["CREATED_S", "SETTINGS", "Raised", "Watched", "evaluate_standing", "watch_wish"]

CREATED_S = 1.0
_MIN_IOU = 0.3
SETTINGS = ("made plan, true twins", "true plan, seen twins", "made plan, seen twins")

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Raised:
    """One event: the stream's seconds at which it was raised, and the true object (0: a number,
    negative: no object that there is)."""

    at_s: float
    key: int


@dataclass
class Watched:
    """A wish with the events of the truth and of the three settings."""

    wish: Wish
    seed: int
    plan: list[dict[str, Any]]
    exact: bool
    compiled: int
    truth: list[Raised]
    events: dict[str, list[Raised]] = field(default_factory=dict)


def watch_wish(
    wish: Wish,
    frames: Sequence[FrameTwin],
    reasoner: Any = None,
    *,
    limits: WatchLimits | None = None,
    window_s: float = 4.0,
) -> tuple[list[tuple[float, int]], Watch]:
    """(seconds, id or 0) of every event on the frames, and the watch as it is at the end.

    With a reasoner the wish's words are compiled by it, on all that was seen until then, when the
    watch asks for it; without one the wish's own plan is watched.
    """
    now = 0.0
    watch = Watch("s1", "sim", wish.text, created_s=CREATED_S, limits=limits, clock=lambda: now)
    lookback = Lookback(window_s, FPS)
    found: list[tuple[float, int]] = []
    for place, frame in enumerate(frames):
        now = frame.timestamp_s
        lookback.add(frame)
        if now < CREATED_S:
            continue
        window = lookback.window()
        if reasoner is None and watch.rule is None:
            watch.take(wish.rule)
        elif reasoner is not None and watch.wish(window):
            _compile(watch, TwinWindow(frames[: place + 1]), reasoner)
        seen = watch.look(window, lookback, frame)
        found += [(now, key) for key in (seen[1] if seen is not None else ())]
    return found, watch


def _compile(watch: Watch, window: TwinWindow, reasoner: Any) -> None:
    scene = scene_of(window)
    watch.compiled += 1
    try:
        record = reasoner.answer(watch.wanted.asked, window).model_dump(mode="json")
        watch.take(stand(watch.wanted, record, scene))
    except NoPlanError as error:
        watch.refuse(error, scene)


def evaluate_standing(
    models: str = "embedded",
    *,
    tuning: bool = False,
    limit: int | None = None,
    cache: Path = Path("runs/twinbench"),
    progress: Progress | None = None,
    watch_limits: WatchLimits | None = None,
    window_s: float = 4.0,
    seconds: float = SECONDS,
) -> list[Watched]:
    """Watch every wish of the worlds, from pixels; see the head of this file.

    Args:
        models: the set that sees and answers.
        tuning: the worlds for choosing limits, not the reported ones.
        limit: only the first worlds.
        cache: for rendered worlds (24 MB each).
        progress: told (what, done, all).
        watch_limits, window_s: as a desk's.
        seconds: of each world; another length is another world.
    """
    from ...deploy.models import load_perception, load_reasoner

    seeds = list(TUNING if tuning else SEEDS)[:limit]
    reasoner = load_reasoner(models)
    found = []
    for place, seed in enumerate(seeds):
        if progress is not None:
            progress("standing", place, len(seeds))
        clip = standing_clip(seed, cache, seconds)
        seen = _perceive(load_perception(models).perceiver, clip)
        for wish in wishes_of(clip):
            found.append(_watched(wish, clip, seen, reasoner, watch_limits, window_s))
    if progress is not None:
        progress("standing", len(seeds), len(seeds))
    return found


def _perceive(perceiver: Any, clip: StandingClip) -> list[FrameTwin]:
    return [
        perceiver.observe(Frame(true.index, true.timestamp_s, picture, "sim"))
        for true, picture in zip(clip.frames, clip.rgb_thw3, strict=True)
    ]


def _watched(
    wish: Wish,
    clip: StandingClip,
    seen: Sequence[FrameTwin],
    reasoner: Any,
    limits: WatchLimits | None,
    window_s: float,
) -> Watched:
    def run(frames: Sequence[FrameTwin], mind: Any) -> tuple[list[tuple[float, int]], Watch]:
        return watch_wish(wish, frames, mind, limits=limits, window_s=window_s)

    truth, _ = run(clip.frames, None)
    made, watch = run(clip.frames, reasoner)
    true_seen, _ = run(seen, None)
    made_seen, seeing = run(seen, reasoner)
    rule: Rule | None = seeing.rule
    true = [Raised(at, key) for at, key in truth]
    return Watched(
        wish=wish,
        seed=clip.world.seed,
        plan=rule.plan if rule is not None else [],
        exact=rule is not None and _same(rule, wish.rule),
        compiled=watch.compiled,
        truth=true,
        events={
            SETTINGS[0]: [Raised(at, key) for at, key in made],
            SETTINGS[1]: _true_keys(true_seen, seen, clip.frames),
            SETTINGS[2]: _true_keys(made_seen, seen, clip.frames),
        },
    )


def _same(made: Rule, meant: Rule) -> bool:
    return made.plan == meant.plan and made.condition == meant.condition


def _true_keys(
    events: Iterable[tuple[float, int]], seen: Sequence[FrameTwin], true: Sequence[FrameTwin]
) -> list[Raised]:
    """Events with the true object in place of the perceived one."""
    found = []
    for at, key in events:
        place = next(k for k, frame in enumerate(seen) if frame.timestamp_s == at)
        found.append(Raised(at, _true_id(key, seen[: place + 1], true) if key else 0))
    return found


def _true_id(key: int, seen: Sequence[FrameTwin], true: Sequence[FrameTwin]) -> int:
    """The true object that a perceived one lay on when it was last visible; ``-key`` if none."""
    for place in range(len(seen) - 1, -1, -1):
        obj = seen[place].objects.get(key)
        if obj is None or obj.state != "visible":
            continue
        there = [o for o in true[place].objects.values() if o.state == "visible"]
        best = _best(obj, there)
        return best if best is not None else -key
    return -key


def _best(obj: ObjectTwin, others: Sequence[ObjectTwin]) -> int | None:
    if not others:
        return None
    boxes = np.array([o.box_xyxy for o in others], np.float32)
    shared = box_iou(np.array([obj.box_xyxy], np.float32), boxes)[0]
    place = int(np.argmax(shared))
    return others[place].id if shared[place] >= _MIN_IOU else None
