"""One video, some questions, one folder of results: the whole line in one call.

Two passes over the source. The first perceives every frame and writes the twin
(``twin.sqlite``, ``twin.jsonl``, ``masks.json``); then the questions are answered on that one
twin (``answer.json``); the second pass decodes again and draws (``masks/``, ``overlay.mp4``).
So the answer is drawn from the first frame on, and memory stays flat: no pass keeps a frame.
A question whose words were not looked for may look again (:mod:`.refine`); what that finds is
amended in the store and in ``masks.json``, and written whole to ``refined.jsonl``. Whatever stops
a run, what was written before stays.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..reasoner.prompts import Mode, clean_question
from ..reasoner.rollout import Reasoner
from ..twin.errors import EdgeTwinError, InputError, QueryError
from ..twin.jsonl import write_frames
from ..twin.store import TwinStore
from ..twin.window import TwinWindow
from .models import Models, load_models
from .perceive import Progress, Tally, clear_results, ms_since, perceived, twin_files
from .stream.draw import Canvas, Caption
from .stream.sinks import (
    MaskPngSink,
    MasksJsonSink,
    OverlaySink,
    make_folder,
    write_json,
)
from .stream.source import Source, open_source
from .track import parse_words

if TYPE_CHECKING:
    from ..twin.tools.registry import ToolRegistry
    from .refine import Refiner

__all__ = ["Policy", "RunReport", "answer_text", "run"]

Policy = Literal["twin", "rsvp", "vlm"]
ANSWER_VERSION = 1


@dataclass
class RunReport:
    """What a run found, as written to ``answer.json``.

    Attributes:
        out_dir: the folder with the results.
        answers: one record per question, in the order asked.
        frames: how many frames were perceived.
        seconds: of video perceived.
        ms: milliseconds per stage; ``load``, ``decode``, ``perceive``, ``reason``, ``draw``
            in all, and the perceiver's own stages.
        warnings: one line each.
    """

    out_dir: Path
    answers: list[dict[str, Any]] = field(default_factory=list)
    frames: int = 0
    seconds: float = 0.0
    ms: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any] | list[dict[str, Any]]:
        """What ``answer.json`` holds: one record, or a list when there are several."""
        return self.answers[0] if len(self.answers) == 1 else self.answers

    @property
    def failed(self) -> bool:
        """Whether any question ended in an error."""
        return any(answer["status"] == "error" for answer in self.answers)


def run(
    source: str | Path,
    queries: Sequence[str],
    out_dir: str | Path,
    models: str | Path | Models = "embedded",
    *,
    fps: float = 10.0,
    words: str | Sequence[str] | None = None,
    mode: Mode = "concise",
    refine: bool = True,
    reasoner: Policy = "twin",
    language: str | Path | None = None,
    vision: str | None = None,
    keyframes: int = 1,
    progress: Progress | None = None,
) -> RunReport:
    """Perceive a source once, answer every question on that twin, write all results.

    Args:
        source: a video, a picture or a folder of pictures.
        queries: at least one question.
        out_dir: made if missing; earlier results in it are replaced.
        models: a set's name, a bundle's folder, or models made ready (then ``words``, ``mode``
            and ``language`` are theirs).
        fps: the rate of a folder of pictures.
        words: what to look for, such as ``"mug, red ball"``; None is every word of the set.
        mode: how much answers explain.
        refine: whether a plan may look again for words that were not looked for; False is the
            static twin.
        reasoner: ``"twin"`` reads the twin; ``"rsvp"`` and ``"vlm"`` ask a vision-language model
            about pictures (see :mod:`.vision`).
        language: another language model for ``"twin"``: a bundle's folder, a GGUF file, a hub id
            or ``http://host/v1#model``.
        vision: the vision-language model for the others: ``http://host/v1#model``, a folder or a
            hub id.
        keyframes: pictures, evenly chosen, that the vision-language model sees.
        progress: called with (stage, done, total or None).

    Raises:
        QueryError: if there is no question, or one is empty or too long.
        InputError: if the set knows none of the words, or a vision-language model is missing.
        SourceError: if the source cannot be read.
        ModelError: if the models cannot be had.
        OutputError, StoreError: if results cannot be written; what was written is kept.
    """
    questions = _checked(queries)
    asked = parse_words(words) if words is not None else None
    opened = open_source(source, fps)
    started = time.perf_counter()
    if isinstance(models, Models):
        ready = models
    elif reasoner == "twin":
        ready = load_models(models, asked, language=language, mode=mode)
    else:
        ready = _seeing(models, questions, reasoner, vision, mode, opened, keyframes)
    out = Path(out_dir)
    report = RunReport(out, ms={"load": round(ms_since(started), 1)})
    make_folder(out)
    clear_results(out)
    return _Run(opened, out, ready, report, progress or _silent, refine).all(questions)


def _seeing(
    models: str | Path,
    questions: Sequence[str],
    reasoner: Policy,
    vision: str | None,
    mode: Mode,
    source: Source,
    keyframes: int,
) -> Models:
    """Return models whose eyes are a vision-language model's."""
    if reasoner not in ("rsvp", "vlm"):
        raise InputError(f"expected the reasoner twin, rsvp or vlm, got {reasoner!r}")
    if vision is None:
        raise InputError(
            f"expected a vision-language model for {reasoner}, got none: name an endpoint with "
            "--vision http://host/v1#model, or a folder or hub id"
        )
    from .vision.opening import open_vision
    from .vision.responder import vision_models

    return vision_models(
        str(models),
        questions,
        reasoner=reasoner,
        model=open_vision(vision),
        mode=mode,
        frames=source.frame_count,
        keyframes=keyframes,
    )


class _Run:
    """The three steps of one run and what they share."""

    def __init__(
        self,
        source: Source,
        out: Path,
        models: Models,
        report: RunReport,
        progress: Progress,
        refine: bool,
    ) -> None:
        self.source = source
        self.out = out
        self.models = models
        self.report = report
        self.progress = progress
        self.refine = refine
        self.window = TwinWindow()

    def all(self, questions: list[str]) -> RunReport:
        with TwinStore(self.out / "twin.sqlite") as store:
            self.perceive(store)
            self.answer(questions, store)
            self.draw(store)
        return self.report

    def perceive(self, store: TwinStore) -> None:
        """First pass: frames to twins, written as they come."""
        report, tally = self.report, Tally()
        with twin_files(self.out, store) as write:
            for _, twin in perceived(self.source, self.models.perceiver, tally):
                write(twin)
                self.window.append(twin)
                report.frames, report.seconds = tally.processed, tally.seconds
                self.progress("perceive", report.frames, self.source.frame_count)
        report.ms |= {"decode": round(tally.decode_ms, 1)}
        report.ms |= {"perceive": round(tally.perceive_ms, 1)}
        report.ms |= {name: round(ms, 1) for name, ms in self.models.stage_ms().items()}
        report.warnings += self.models.warnings()
        if report.frames > len(self.window):
            report.warnings.append(
                f"questions see the last {len(self.window)} of {report.frames} frames"
            )
        if self.source.status == "partial":
            report.warnings.append(self.source.reason)

    def answer(self, questions: list[str], store: TwinStore) -> None:
        """Answer every question on the one window; each answer is written at once."""
        started = time.perf_counter()
        refiner = self._refiner()
        for place, question in enumerate(questions):
            self.progress("answer", place, len(questions))
            record = self._answer_one(question, refiner)
            self.report.answers.append(record)
            store.record_answer(record)
            write_json(self.out / "answer.json", self.report.document)
        self.progress("answer", len(questions), len(questions))
        self.report.ms["reason"] = round(ms_since(started), 1)
        if refiner is not None:
            self._keep_refined(refiner, store)

    def _refiner(self) -> Refiner | None:
        """Return what looks again, where answers may and there is somebody who would ask."""
        from .refine import Refiner, SourceFrames

        models = self.models
        if not self.refine or models.bundle is None or not isinstance(models.reasoner, Reasoner):
            return None
        return Refiner(models.bundle, SourceFrames(self.source, self.window))

    def _keep_refined(self, refiner: Refiner, store: TwinStore) -> None:
        """Write what looking again found into the store and the files."""
        changed = refiner.refined(self.window)
        if not changed:
            return
        store.amend(changed)
        write_frames(self.out / "refined.jsonl", changed)
        with closing(MasksJsonSink(self.out / "masks.json")) as masks:
            for twin in store.frames():
                masks.write(twin)

    def _given(self, question: str, refiner: Refiner | None) -> dict[str, Any]:
        reasoner = self.models.reasoner
        if refiner is None or not isinstance(reasoner, Reasoner):
            return reasoner.answer(question, self.window).model_dump(mode="json")
        refiner.begin()
        tools: ToolRegistry = refiner.registry("auto", reasoner.registry)
        answer = reasoner.answer(question, self.window, registry=tools)
        return {**answer.model_dump(mode="json"), "refine": refiner.counts.as_dict()}

    def _answer_one(self, question: str, refiner: Refiner | None) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            given = self._given(question, refiner)
        except EdgeTwinError as error:
            given = {"status": "error", "ids": [], "message": str(error)}
        partial = self.source.status == "partial"
        if partial and given["status"] == "ok":
            given["status"] = "partial"
        if partial:
            given["message"] = "; ".join(t for t in (given.get("message"), self.source.reason) if t)
        parts = {f"reason_{k}": v for k, v in given.get("ms", {}).items() if k != "total"}
        stages = {**self.report.ms, "reason": round(ms_since(started), 1), **parts}
        model = given.get("model") or self.models.identities.get("reasoner", {})
        head = {
            "version": ANSWER_VERSION,
            "question": question,
            "status": given["status"],
            "ids": given["ids"],
            "objects": [self._object(object_id) for object_id in given["ids"]],
        }
        tail = {
            "ms": stages,
            "models": {**self.models.identities, "reasoner": model},
            "source": self._source_record(),
            "warnings": list(self.report.warnings),
        }
        middle = {k: v for k, v in given.items() if k not in {*head, *tail, "model", "query"}}
        return {**head, **middle, **tail}

    def _object(self, object_id: int) -> dict[str, Any]:
        obj = self.window.latest(object_id)
        return {
            "id": obj.id,
            "label": obj.semantic_label,
            "attributes": obj.attributes,
            "box_xyxy": list(obj.box_xyxy),
            "last_seen": obj.last_seen,
        }

    def _source_record(self) -> dict[str, Any]:
        last = self.window.last
        return {
            "id": self.source.source_id,
            "kind": self.source.kind,
            "frames": self.report.frames,
            "seconds": round(self.report.seconds, 3),
            "width": last.width if last else 0,
            "height": last.height if last else 0,
            "status": self.source.status,
            "reason": self.source.reason,
        }

    def draw(self, store: TwinStore) -> None:
        """Second pass: mask pictures and the overlay, with the answers known."""
        started = time.perf_counter()
        last = self.window.last
        if last is None:
            return
        answers = self.report.answers
        captions = [Caption(a["question"], answer_text(a), tuple(a["ids"])) for a in answers]
        named = [set(a["ids"]) for a in answers]
        folders = [MaskPngSink(self.out / "masks", set[int]().union(*named))]
        if len(answers) > 1:
            folders += [
                MaskPngSink(self.out / "masks" / f"q{place}", ids)
                for place, ids in enumerate(named, 1)
            ]
        canvas = Canvas(last.width, last.height, captions)
        with closing(OverlaySink(self.out / "overlay.mp4", canvas, self.source.fps)) as overlay:
            for frame, twin in zip(self.source, store.frames(), strict=False):
                for folder in folders:
                    folder.write(twin)
                overlay.write(frame.image_hw3, twin)
                self.progress("draw", twin.index + 1, self.report.frames)
        self.report.ms["draw"] = round(ms_since(started), 1)
        for answer in answers:
            answer["ms"]["draw"] = self.report.ms["draw"]
        write_json(self.out / "answer.json", self.report.document)


def answer_text(answer: dict[str, Any]) -> str:
    """Return an answer record as one short line, such as ``#3 red mug, #7 book``."""
    if answer["status"] == "error":
        return f"error: {answer.get('message', '')}"
    names = [
        " ".join(f"#{o['id']} {o['attributes'].get('color', '')} {o['label']}".split())
        for o in answer["objects"]
    ]
    if not names and answer["status"] == "partial":
        return f"no answer: {answer.get('message', '')}"
    return ", ".join(names) if names else "nothing that was seen fits"


def _checked(queries: Sequence[str]) -> list[str]:
    if not queries:
        raise QueryError('expected at least one question, got none: add -q "what is the mug near?"')
    for query in queries:
        clean_question(query)
    # A terminal may hand over bytes that are no UTF-8; they cannot be written to JSON.
    return [" ".join(query.encode(errors="replace").decode().split()) for query in queries]


def _silent(stage: str, done: int, total: int | None) -> None:
    """Report nothing."""
