"""One video, some questions, one folder of results: the whole line in one call.

Two passes over the source. The first perceives every frame and writes the twin
(``twin.sqlite``, ``twin.jsonl``, ``masks.json``); then the questions are answered on that one
twin (``answer.json``); the second pass decodes again and draws (``masks/``, ``overlay.mp4``).
So the answer is drawn from the first frame on, and memory stays flat: no pass keeps a frame.
Whatever stops a run, what was written before stays.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..reasoner.prompts import clean_question
from ..twin.errors import EdgeTwinError, QueryError
from ..twin.store import TwinStore
from ..twin.window import TwinWindow
from .models import Models, load_models
from .perceive import Progress, Tally, clear_results, ms_since, perceived, twin_files
from .stream.draw import Canvas, Caption
from .stream.sinks import (
    MaskPngSink,
    OverlaySink,
    make_folder,
    write_json,
)
from .stream.source import Source, open_source

__all__ = ["RunReport", "answer_text", "run"]

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
    progress: Progress | None = None,
) -> RunReport:
    """Perceive a source once, answer every question on that twin, write all results.

    Args:
        source: a video, a picture or a folder of pictures.
        queries: at least one question.
        out_dir: made if missing; earlier results in it are replaced.
        models: a set's name, a bundle's folder, or models made ready.
        fps: the rate of a folder of pictures.
        progress: called with (stage, done, total or None).

    Raises:
        QueryError: if there is no question, or one is empty or too long.
        SourceError: if the source cannot be read.
        ModelError: if the models cannot be had.
        OutputError, StoreError: if results cannot be written; what was written is kept.
    """
    questions = _checked(queries)
    opened = open_source(source, fps)
    started = time.perf_counter()
    ready = models if isinstance(models, Models) else load_models(models)
    out = Path(out_dir)
    report = RunReport(out, ms={"load": round(ms_since(started), 1)})
    make_folder(out)
    clear_results(out)
    return _Run(opened, out, ready, report, progress or _silent).all(questions)


class _Run:
    """The three steps of one run and what they share."""

    def __init__(
        self, source: Source, out: Path, models: Models, report: RunReport, progress: Progress
    ) -> None:
        self.source = source
        self.out = out
        self.models = models
        self.report = report
        self.progress = progress
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
        for place, question in enumerate(questions):
            self.progress("answer", place, len(questions))
            record = self._answer_one(question)
            self.report.answers.append(record)
            store.record_answer(record)
            write_json(self.out / "answer.json", self.report.document)
        self.progress("answer", len(questions), len(questions))
        self.report.ms["reason"] = round(ms_since(started), 1)

    def _answer_one(self, question: str) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            given = self.models.reasoner.answer(question, self.window).model_dump(mode="json")
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
