"""Questions about a twin, one after the other, while it may still be growing.

An :class:`Asker` holds one feed and one session of the reasoner: follow-up questions see the
earlier ones, the prompt's cache is kept between them, and frames that come in meanwhile are seen
by the next question. Answers are plain records, as ``answer.json`` holds them.

Not covered: printing (:mod:`~edgetwin.deploy.ask_text`) and reading (``ask_loop``), masks and
overlays (:mod:`~edgetwin.deploy.run`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..reasoner.prompts import Mode
from ..reasoner.rollout import History, Reasoner
from ..reasoner.session import Session
from ..reasoner.telling import Heard
from ..twin.errors import EdgeTwinError, InputError
from ..twin.schema import FrameTwin
from ..twin.window import TwinWindow
from .ask_feed import Feed, FileFeed, LiveFeed
from .models import Models, load_models, load_reasoner
from .stream.source import Source, open_source
from .track import parse_words
from .twin_files import TwinFile, is_twin

if TYPE_CHECKING:
    from .refine import Refiner

__all__ = ["ASK_VERSION", "AskOptions", "Asker", "open_asker"]

ASK_VERSION = 1
MAX_HISTORY = 1000  # records kept for /history and /save, about 3 kB each


@dataclass(frozen=True, slots=True)
class AskOptions:
    """What can be chosen before the first question.

    Attributes:
        models: a set's name or a bundle's folder.
        mode: how much the model explains.
        language: another language model than the set's.
        words: what to look for in a source; None is every word of the set.
        refine: whether plans may look again into the pictures.
        pictures: where the pictures of a twin that is there are; None: they are not at hand.
        budget_s: seconds an answer may take; None is the reasoner's own.
        rounds: plans an answer may make; None is the reasoner's own.
        out: where a source's twin is written.
        fps: the rate of a folder of pictures.
    """

    models: str = "embedded"
    mode: Mode = "concise"
    language: str | None = None
    words: str | None = None
    refine: bool = True
    pictures: Path | None = None
    budget_s: float | None = None
    rounds: int | None = None
    out: Path = Path("out")
    fps: float = 10.0


class Asker:
    """One feed, one session.

    Args:
        reasoner: who answers.
        feed: where the twin comes from.
        mode: how much is explained.
        look: makes what looks again into the pictures of a window; None: the twin is all.
        identities: role -> {"id", "sha256"} of the models, for the records.
        keep: records kept in ``history``.

    Attributes:
        mode: of the next question.
        history: the newest answers' records, at most a thousand.
    """

    def __init__(
        self,
        reasoner: Reasoner,
        feed: Feed,
        *,
        mode: Mode = "concise",
        look: Callable[[TwinWindow], Refiner] | None = None,
        identities: dict[str, Any] | None = None,
        keep: int = MAX_HISTORY,
    ) -> None:
        self.reasoner = reasoner
        self.feed = feed
        self.mode: Mode = mode
        self.history: deque[dict[str, Any]] = deque(maxlen=keep)
        self._look = look
        self._identities = identities or {}
        self._refiner: Refiner | None = None
        self._session = self._begin(())

    def _begin(self, history: History) -> Session:
        """A session on the feed's window, which a new recording replaces."""
        registry = None
        if self._look is not None:
            self._refiner = self._look(self.feed.window)
            registry = self._refiner.registry("auto", self.reasoner.registry)
        return self.reasoner.session(self.feed.window, registry, history=history)

    def ask(
        self, question: str, *, alone: bool = False, heard: Heard | None = None
    ) -> dict[str, Any]:
        """Answer one question on what has been seen by now; return its record.

        Whatever goes wrong with the question is in the record: status ``error``, a message.
        ``alone``: it leans on no earlier one; ``heard`` is told what the model does meanwhile
        (:data:`~edgetwin.reasoner.telling.Heard`).

        Raises:
            KeyboardInterrupt: if interrupted; the cache is dropped, twin and history stay.
        """
        warnings = self._refresh()
        looked = self._begin_looking()
        try:
            history: History | None = () if alone else None
            answer = self._session.ask(question, mode=self.mode, history=history, heard=heard)
            given = answer.model_dump(mode="json")
        except EdgeTwinError as error:
            given = {"status": "error", "ids": [], "message": str(error), "mode": self.mode}
        except BaseException:
            self._anew(self._session.history)
            raise
        record = self._record(question, given, warnings)
        self.history.append(record)
        try:
            self.feed.record(record, self._refined(looked))
        except EdgeTwinError as error:  # the disk is full: the answer is given all the same
            record["warnings"].append(str(error))
        return record

    def warm(self) -> None:
        """Read the twin as it is now, so that the next question need not wait for it."""
        with suppress(EdgeTwinError):  # the question will say it
            if self.feed.refresh():
                self._anew(())
            if self.feed.window.last is not None:
                self._session.warm()

    def forget(self) -> None:
        """Begin a new session: what was asked before no longer counts."""
        self._anew(())

    def rest(self) -> None:
        """Free the model's cache; history stays, and the next question reads the twin again."""
        with suppress(EdgeTwinError):
            self._session.close()

    def _anew(self, history: History) -> None:
        with suppress(EdgeTwinError):
            self._session.close()
        self._session = self._begin(history)

    def _begin_looking(self) -> int:
        """Give the answer its whole budget of looks; return how many frames were looked at yet."""
        if self._refiner is None:
            return 0
        self._refiner.begin()
        return self._refiner.counts.frames

    def _refined(self, looked: int) -> list[FrameTwin]:
        """The frames that this answer changed, among those that earlier ones did."""
        if self._refiner is None or self._refiner.counts.frames == looked:
            return []
        return self._refiner.refined(self.feed.window)

    def cache(self) -> dict[str, float]:
        """Return the session's prompt tokens, how many came from the cache, and their share."""
        stats = self._session.stats
        return {
            "prompt": stats.prompt_tokens,
            "reused": stats.reused_tokens,
            "hit_rate": round(stats.hit_rate, 4),
        }

    def close(self) -> None:
        """End the session and the feed; what was perceived stays.

        Raises:
            OutputError, StoreError: if the last frames cannot be written.
        """
        try:
            self._session.close()
        finally:
            self.feed.close()

    def _refresh(self) -> list[str]:
        try:
            if self.feed.refresh():
                self._anew(())  # another recording: nothing of the last one is meant
        except EdgeTwinError as error:
            return [str(error)]
        return []

    def _record(
        self, question: str, given: dict[str, Any], warnings: Sequence[str]
    ) -> dict[str, Any]:
        partial = self.feed.partial()
        if partial:
            given["status"] = "partial" if given["status"] == "ok" else given["status"]
            given["message"] = "; ".join(t for t in (given.get("message"), partial) if t)
        head = {
            "version": ASK_VERSION,
            "question": " ".join(question.encode(errors="replace").decode().split()),
            "status": given["status"],
            "ids": given["ids"],
            "objects": [self._object(key) for key in given["ids"]],
        }
        model = given.get("model") or self._identities.get("reasoner", {})
        tail = {
            "cache": self.cache(),
            "seen": self.feed.seen(),
            "refine": self._refiner.counts.as_dict() if self._refiner is not None else None,
            "models": {**self._identities, "reasoner": model},
            "warnings": list(dict.fromkeys([*warnings, *self.feed.warnings()])),
        }
        middle = {k: v for k, v in given.items() if k not in {*head, *tail, "model"}}
        return {**head, **middle, **tail}

    def _object(self, object_id: int) -> dict[str, Any]:
        obj = self.feed.window.latest(object_id)
        return {
            "id": obj.id,
            "label": obj.semantic_label,
            "attributes": obj.attributes,
            "box_xyxy": list(obj.box_xyxy),
            "last_seen": obj.last_seen,
            "origin": obj.origin,
        }


def open_asker(target: str | Path, options: AskOptions) -> Asker:
    """Open a twin, or begin to perceive a source, and make the reasoner ready.

    Raises:
        InputError: if ``target`` is neither, or words are given for a twin that is there.
        SourceError, SchemaError, StoreError: if it cannot be read.
        ModelError: if the models cannot be had.
        OutputError: if the folder for a source's twin cannot be written.
    """
    return _open_twin(target, options) if is_twin(Path(target)) else _open_source(target, options)


def _open_twin(target: str | Path, options: AskOptions) -> Asker:
    if options.words is not None:
        raise InputError(
            f"expected --words with a video, a picture or a folder of frames, got the twin "
            f"{target}, which is perceived already: leave --words out"
        )
    pictures = None
    if options.pictures is not None:
        pictures = open_source(options.pictures, options.fps)
    feed = FileFeed(TwinFile(target))
    look = None
    if options.refine and pictures is not None:
        models = load_models(options.models, language=options.language)
        look, reasoner = _looking(models, pictures), _reasoner_of(models)
    else:  # a saved twin is asked without the networks that see
        reasoner = load_reasoner(options.models, language=options.language)
    identities = {"reasoner": {"id": reasoner.model.name, "sha256": reasoner.model.sha256}}
    reasoner = _limited(reasoner, options)
    return Asker(reasoner, feed, mode=options.mode, look=look, identities=identities)


def _open_source(target: str | Path, options: AskOptions) -> Asker:
    source = open_source(target, options.fps)
    words = None if options.words is None else parse_words(options.words)
    models = load_models(options.models, words, language=options.language)
    reasoner = _limited(_reasoner_of(models), options)
    look = None
    if options.refine:  # a source of its own: the stream is still read from the other one
        again = open_source(options.pictures or target, options.fps)
        look = _looking(models, again, reserving=True)
    feed = LiveFeed(source, models, options.out)
    return Asker(reasoner, feed, mode=options.mode, look=look, identities=models.identities)


def _reasoner_of(models: Models) -> Reasoner:
    assert isinstance(models.reasoner, Reasoner)  # load_models gives no other
    return models.reasoner


def _limited(reasoner: Reasoner, options: AskOptions) -> Reasoner:
    """The reasoner with the budget that was chosen."""
    given = {"seconds": options.budget_s, "rounds": options.rounds}
    chosen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    reasoner.budget = replace(reasoner.budget, **chosen)
    return reasoner


def _looking(
    models: Models, pictures: Source, reserving: bool = False
) -> Callable[[TwinWindow], Refiner] | None:
    """What makes a window's refiner; ids that a running stream will not give are its tracker's."""
    from ..perception.perceiver import Perceiver
    from .refine import Refiner, SourceFrames

    bundle, perceiver = models.bundle, models.perceiver
    if bundle is None:
        return None
    reserve = None
    if reserving and isinstance(perceiver, Perceiver):
        reserve = perceiver.tracker.reserve
    return lambda window: Refiner(bundle, SourceFrames(pictures, window), reserve=reserve)
