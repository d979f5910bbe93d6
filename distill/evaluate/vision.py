"""RSVP and the direct policy with a model that says the truth: what perception makes of its words.

No vision-language model is small enough to ship, so the model's part is not measured here. A
stand-in answers from the true twin, exactly or as wrong as stated (seeded), in the form that the
policies ask for, and their prompts, parsing, detector and segmenter run as they are. The IoU with
the true mask of one object per question is what a right answer is worth, and how it falls where
answers are imprecise: the paper's figures are model and perception together.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track

from ...deploy.console import ModelsOption, TierOption, needs_extra, print_json
from ...deploy.models import bundle_identities
from ...deploy.vision.base import Proposer
from ...deploy.vision.pictures import FAMILIES
from ...deploy.vision.rsvp import Rsvp, RsvpConfig
from ...deploy.vision.sight import Sight
from ...deploy.vision.vlm import Vlm, VlmConfig
from ...perception.bundle import load_bundle
from ...perception.detector import Detector
from ...perception.segmenter import Segmenter
from ...reasoner.models.endpoint import Message, Reply, Sampling, Usage
from ...twin import mask as rle
from ...twin.schema import ObjectTwin
from ..sim.catalogue import Tier
from ..twinbench import SEEDS
from .report import Table, document, show, write_json
from .worlds import rendered_world

__all__ = ["CASES", "Case", "Truthful", "evaluate_vision", "register"]

_CACHE = Path("runs/twinbench")
_LEAST = 40  # pixels of a true mask that is asked for
_SIZE = 256  # of the worlds' frames


@dataclass(frozen=True)
class Case:
    """One row: policy, how the object is called, and how wrong the answer is.

    ``words``: the object is called by its colour and noun; else only ``thing``. ``strips``: each
    end of the regions is off by up to that many strips; ``jitter``: each side of the box by up to
    that part of it; ``point``: whether a point comes with the box.
    """

    name: str
    policy: str
    words: bool = True
    strips: int = 0
    jitter: float = 0.0
    point: bool = True


CASES = (
    Case("RSVP, true regions", "rsvp"),
    Case("RSVP, regions off by up to one strip", "rsvp", strips=1),
    Case("RSVP, true regions, no known word", "rsvp", words=False),
    Case("RSVP, regions off by up to one strip, no known word", "rsvp", words=False, strips=1),
    Case("box and point, true", "vlm"),
    Case("box, true", "vlm", point=False),
    Case("box off by up to a quarter, and point", "vlm", jitter=0.25),
    Case("box off by up to a quarter", "vlm", jitter=0.25, point=False),
    Case("box off by up to a half, and point", "vlm", jitter=0.5),
    Case("box off by up to a half", "vlm", jitter=0.5, point=False),
)


class Truthful:
    """A stand-in for a vision-language model that knows one object; see :class:`Case`."""

    name, sha256 = "truthful", ""

    def __init__(self) -> None:
        self.case, self.noise = CASES[0], random.Random(0)
        self.object: ObjectTwin | None = None

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling | None = None,
        deadline_s: float | None = None,
    ) -> Reply:
        """Say where the object is, in the form that the case's policy asks for."""
        assert self.object is not None
        entry = self._regions() if self.case.policy == "rsvp" else self._box()
        text = f"<think>there</think><answer>{json.dumps({'objects': [entry]})}</answer>"
        return Reply(text, "stop", Usage())

    def _regions(self) -> dict[str, Any]:
        assert self.object is not None
        x0, y0, x1, y1 = self.object.box_xyxy
        color = self.object.attributes.get("color", "")
        noun = self.object.semantic_label
        name, text = (noun, f"a {color} {noun}") if self.case.words else ("thing", "a thing")
        rows, columns = self._between(y0, y1), self._between(x0, x1)
        return {"object": name, "description": text, "horizontal": rows, "vertical": columns}

    def _between(self, low: float, high: float) -> list[int]:
        off = self.case.strips
        first = int(low * 9 / _SIZE) + 1 + self.noise.randint(-off, off)
        last = math.ceil(high * 9 / _SIZE) + self.noise.randint(-off, off)
        first = min(max(first, 1), 9)
        return list(range(first, max(min(last, 9), first) + 1))

    def _box(self) -> dict[str, Any]:
        assert self.object is not None
        assert self.object.mask is not None
        x0, y0, x1, y1 = self.object.box_xyxy
        sides = (x1 - x0, y1 - y0, x1 - x0, y1 - y0)
        off = [self.noise.uniform(-self.case.jitter, self.case.jitter) * side for side in sides]
        box = [v + d for v, d in zip((x0, y0, x1, y1), off, strict=True)]
        entry: dict[str, Any] = {"bbox_2d": [round(v * 1000 / _SIZE) for v in box]}
        if self.case.point:
            ys, xs = np.nonzero(rle.decode(self.object.mask))
            nearest = int(((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2).argmin())
            spot = (float(xs[nearest]) + 0.5, float(ys[nearest]) + 0.5)
            entry["point_2d"] = [round(v * 1000 / _SIZE) for v in spot]
        return entry


def evaluate_vision(
    tier: Tier = "cell", *, models: str = "embedded", limit: int | None = None
) -> tuple[Table, dict[str, Any]]:
    """Ask for every visible object of the first frame of TwinBench's validation worlds.

    Returns the table and ``{"objects": n, "identities": ...}``.
    """
    bundle = load_bundle(models)
    model, sight = Truthful(), Sight(Detector(bundle), Segmenter(bundle))
    policies: dict[str, Proposer] = {
        "rsvp": Rsvp(model, sight, RsvpConfig()),
        "vlm": Vlm(model, sight, VlmConfig(family=FAMILIES["thousand"])),
    }
    overlaps: dict[str, list[float]] = {case.name: [] for case in CASES}
    by_words = dict.fromkeys((case.name for case in CASES if case.policy == "rsvp"), 0)
    for seed in track(SEEDS["val", tier][:limit], description="worlds"):
        world = rendered_world(seed, tier, _CACHE)
        image = world.rgb_thw3[0]
        for thing in world.window.frames[0].objects.values():
            if thing.state != "visible" or thing.mask is None or thing.area < _LEAST:
                continue
            true = rle.decode(thing.mask)
            for case in CASES:
                model.case, model.object = case, thing
                model.noise = random.Random(f"{seed}/{thing.id}/{case.strips}/{case.jitter}")
                found = policies[case.policy].propose(image, "what is asked for")
                mask = found.masks_nhw[0] if len(found) else np.zeros_like(true)
                overlaps[case.name].append(float((mask & true).sum() / (mask | true).sum()))
                if case.policy == "rsvp":
                    by_words[case.name] += found.trace["objects"][0]["found_by"].startswith("words")
    count = len(overlaps[CASES[0].name])
    rows = tuple(
        (
            name,
            round(float(np.mean(values)), 3),
            round(float(np.mean(np.array(values) > 0.5)), 3),
            round(by_words[name] / max(count, 1), 3) if name in by_words else None,
        )
        for name, values in overlaps.items()
    )
    title = (
        f"What a right answer of a vision-language model is worth, {count} objects, {models} set"
    )
    columns = ("answer", "IoU", "above .5", "found by its words")
    return Table(title, columns, rows), {"objects": count, "identities": bundle_identities(bundle)}


def register(app: typer.Typer) -> None:
    """Add ``vision`` to the commands that measure."""

    @app.command("vision")
    def eval_vision(
        tier: TierOption = "cell",
        models: ModelsOption = "embedded",
        limit: Annotated[int | None, typer.Option(min=1, help="Only the first worlds.")] = None,
        out: Annotated[Path | None, typer.Option("-o", "--out", help="JSON file to write.")] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print JSON on stdout, nothing else.")
        ] = False,
    ) -> None:
        """Measure what detector and segmenter make of a vision-language model's right answers."""
        with needs_extra("sim"):
            table, figures = evaluate_vision(tier, models=models, limit=limit)
        context = {"tier": tier, "models": models, **figures}
        if as_json:
            print_json(document([table], **context))
        else:
            show([table])
        if out is not None:
            write_json([table], out, **context)
