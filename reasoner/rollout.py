"""Answer a question about a twin: fit the prompt, converse, say what came of it.

Every way to fail ends in an :class:`~.answer.Answer` whose status and message say what happened,
and whose ``ended_by`` names the budget that ended it; only a question that is not a question
raises.

Not covered: several questions at once, sampling, self-consistency votes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, get_args

from ..twin.errors import EdgeTwinError, ModelError, QueryError
from ..twin.tools.base import MAX_STEPS, Kind
from ..twin.tools.registry import DEFAULT_REGISTRY, ToolRegistry
from ..twin.window import TwinWindow
from ..twin.words import clean, words_of
from . import prompts
from .answer import Answer, Status
from .conversation import Budget, Conversation, Run, elapsed_ms
from .fitting import Fitter
from .grammar import Grammar, build_grammar
from .kept import Kept
from .models.base import Context, LanguageModel
from .prompts import Mode
from .resolving import ANSWERABLE, Resolved, last_ids
from .telling import Heard
from .words import says_nothing_known, unknown_words

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Budget", "History", "Reasoner", "Warm"]

History = Sequence[tuple[str, Sequence[int]]]

_MAX_GAP_S = 0.5  # two sightings this close belong to one interval
_INSERTED = 128  # tokens kept free for results, besides those that may be generated
_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")


class Reasoner:
    """A language model with the tools that it may call.

    Args:
        model: the language model.
        registry: the tools; :meth:`answer` and :meth:`session` may be given others.
        vocabulary: words that ``find`` may be given besides the twin's own labels, such as the
            detector's nouns.
        budget: where an answer stops.
        tolerant: mend slips of models that decode without the grammar, and tell them once per
            question what was wrong.
        mode: how much the model explains, unless :meth:`answer` says otherwise. A mode that the
            model was not trained for is replaced by the first that it was, and the answer's
            message says so.
        guided: False decodes without the grammar even where the model obeys one.
    """

    def __init__(
        self,
        model: LanguageModel,
        registry: ToolRegistry = DEFAULT_REGISTRY,
        *,
        vocabulary: Iterable[str] = (),
        budget: Budget | None = None,
        tolerant: bool = True,
        mode: Mode = "concise",
        guided: bool = True,
    ) -> None:
        self.model = model
        self.registry = registry
        self.vocabulary = tuple(sorted({w for text in vocabulary if (w := clean(text).casefold())}))
        self.budget = budget or Budget()
        self.tolerant = tolerant
        self.mode: Mode = _known_mode(mode)
        self.guided = guided
        self._grammars = Kept()
        self._offered: tuple[ToolRegistry, ToolRegistry] | None = None  # the last one, filtered
        self._warm = Warm()  # the context of the last answer; one twin's text and a question

    def answer(
        self,
        query: str,
        window: TwinWindow,
        *,
        mode: Mode | None = None,
        history: History = (),
        registry: ToolRegistry | None = None,
    ) -> Answer:
        """The ids that answer the question, with the trace.

        The last prompt's cache is kept: another question on the same twin reads only what is
        new. ``history`` are earlier (question, ids); the model sees the last ``model.turns``.

        Raises:
            QueryError: if the question is empty, too long or not text, or the mode unknown.
        """
        return self.ask_in(self._warm, query, window, mode, history, registry)

    def session(
        self, window: TwinWindow, registry: ToolRegistry | None = None, *, history: History = ()
    ) -> Session:
        """A conversation about one twin that goes on growing; see :class:`~.session.Session`."""
        from .session import Session

        return Session(self, window, registry, history=history)

    def forget(self) -> None:
        """Drop what is kept: the next answer writes and reads its prompt from the beginning."""
        self._warm.drop()
        self._warm = Warm()

    def tools_for(self, registry: ToolRegistry | None = None) -> ToolRegistry:
        """The tools that the model may call: those it was trained with."""
        given, known = registry or self.registry, self.model.tools
        if known is None or all(name in known for name in given):
            return given
        if self._offered is None or self._offered[0] is not given:
            usable = ToolRegistry(tool for tool in given.values() if tool.name in known)
            self._offered = (given, usable)
        return self._offered[1]

    def reserve(self) -> int:
        """Tokens that a prompt leaves free for what is generated and inserted."""
        return min(self.budget.tokens + _INSERTED, self.model.max_tokens // 2)

    def grammar(
        self, window: TwinWindow, run: Run | None = None, registry: ToolRegistry | None = None
    ) -> Grammar:
        """What the next turn of a question is held to, for this twin."""
        run, tools = run or Run(), self.tools_for(registry)
        kinds = tuple(result.kind for result in run.results)
        plan = run.rounds < self.budget.rounds and len(kinds) < MAX_STEPS
        key = (id(tools), run.mode, kinds, plan, self.vocabulary)
        # The registry is kept with the grammar, so that its id stays its own.
        made = self._grammars.get(
            window, key, lambda: (self._build(window, run.mode, kinds, plan, tools), tools)
        )
        return made[0]

    def _build(
        self,
        window: TwinWindow,
        mode: Mode,
        kinds: tuple[Kind, ...],
        plan: bool,
        tools: ToolRegistry,
    ) -> Grammar:
        names = {key for i in window.ids() for key in window.latest(i).attributes}
        values = {v for i in window.ids() for v in window.latest(i).attributes.values()}
        words = {*self.vocabulary, *self.model.plan_words, *words_of(window), "object"}
        known = {"color", *_COLOURS}
        return build_grammar(
            tools.json_schemas(),
            window.ids(),
            words,
            {text for text in names | values | known if text and text.isprintable()},
            mode=mode,
            max_steps=MAX_STEPS,
            plan=plan,
            references=tuple(k for k, kind in enumerate(kinds, 1) if kind in ANSWERABLE),
            kinds={tool.name: tool.returns for tool in tools.values()},
            first_step=len(kinds) + 1,
            earlier=tuple(k for k, kind in enumerate(kinds, 1) if kind == "ids"),
        )

    def ask_in(
        self,
        warm: Warm,
        query: str,
        window: TwinWindow,
        mode: Mode | None,
        history: History,
        registry: ToolRegistry | None,
        notes: Sequence[str] = (),
        heard: Heard | None = None,
    ) -> Answer:
        """As :meth:`answer`, in a context of the caller's, with notes for its message.

        ``heard`` is told what the model does meanwhile, see :mod:`.telling`.
        """
        clean = prompts.clean_question(query)
        tools = self.tools_for(registry)
        run = Run(mode=self._mode(mode))
        for note in (*notes, self._mode_note(mode)):
            run.note(note)
        looks = any(tool.category == "perception" for tool in tools.values())
        known = self.model.known_words
        if known is not None and looks:
            known = known | frozenset(word for text in self.vocabulary for word in text.split())
        unknown = [] if known is None else unknown_words(clean, known, window)
        run.note(_warning(unknown))
        if window.last is None or not (window.ids() or looks):
            return self._close(run, "none", Resolved(), window, "the twin holds no objects yet")
        if says_nothing_known(clean, unknown):
            return self._close(run, "none", Resolved(), window, "nothing known is asked for")
        turns = self._turns(history, window, run)
        try:
            context = self._read(warm, clean, window, turns, tools, run)
            if run.ended_by or context is None:
                return self._unfinished(run, window)
            found = Conversation(
                self.model,
                context,
                window,
                tools,
                run,
                self.budget,
                lambda now: self.grammar(window, now, tools) if self._guides else None,
                tolerant=self.tolerant,
                heard=heard,
            ).converse()
        except EdgeTwinError as error:
            if isinstance(error, ModelError):
                warm.drop()
            return self._close(run, "error", Resolved(), window, str(error))
        except BaseException:  # an interrupt leaves the context in the middle of a turn
            warm.drop()
            raise
        return self._unfinished(run, window) if found is None else self._done(run, found, window)

    @property
    def _guides(self) -> bool:
        return self.guided and self.model.guided

    def _mode(self, mode: Mode | None) -> Mode:
        wanted = self.mode if mode is None else _known_mode(mode)
        return wanted if wanted in self.model.modes else (*self.model.modes, "concise")[0]

    def _mode_note(self, mode: Mode | None) -> str:
        wanted, used = mode or self.mode, self._mode(mode)
        if wanted == used:
            return ""
        return f"this model does not know the mode {wanted}; {used} was used"

    def _turns(self, history: History, window: TwinWindow, run: Run) -> list[str]:
        """Earlier questions as text; ids that the twin has lost since are left out."""
        if history and not self.model.turns:
            run.note("this model is not shown earlier questions; name what you mean")
            return []
        shown = list(history)[-self.model.turns :] if self.model.turns else []
        return [prompts.turn(query, [i for i in ids if i in window]) for query, ids in shown]

    def _read(
        self,
        warm: Warm,
        query: str,
        window: TwinWindow,
        turns: list[str],
        tools: ToolRegistry,
        run: Run,
    ) -> Context | None:
        """A context that holds the prompt; None when nothing makes it fit."""
        rounds = self.budget.rounds if self.model.style == "long" else 1
        tail = [*turns, prompts.question(query, run.mode, rounds)]
        start = warm.fitter(self.model).fit(window, tools, self.vocabulary, tail, self.reserve())
        run.note(start.message)
        if not start.fits:
            run.end(
                "context",
                f"expected a prompt of at most {self.model.max_tokens - self.reserve()} tokens, "
                "got more even with the shortest twin; ask with fewer tools or earlier questions",
            )
            return None
        began = time.monotonic()
        context = warm.context(self.model)
        read = context.read((start.prefix, *tail))
        run.ms["prompt"] = elapsed_ms(began)
        run.tokens["prompt"], run.reused = read.tokens, read.reused
        return context

    def _unfinished(self, run: Run, window: TwinWindow) -> Answer:
        """The answer of a question that a budget ended."""
        ids = tuple(last_ids(run.results, window))
        status: Status = "partial" if run.results else "error"
        return self._close(run, status, Resolved(ids), window, run.ended)

    def _done(self, run: Run, found: Resolved, window: TwinWindow) -> Answer:
        if found.is_none:
            message = {
                "ids": "no object of the twin fits",
                "number": "there is nothing to compute the number from",
                "intervals": "there is no such time",
            }.get(found.kind, "nothing fits")
            return self._close(run, "none", found, window, message)
        seen = found.kind != "ids" or any(window.visible_at_end(i) for i in found.ids)
        message = "" if seen else "none of these objects is visible in the newest frame"
        return self._close(run, "ok" if seen else "stale", found, window, message)

    def _close(
        self, run: Run, status: Status, found: Resolved, window: TwinWindow, message: str
    ) -> Answer:
        tokens = {**run.tokens, "total": sum(run.tokens.values())}
        run.ms["total"] = elapsed_ms(run.began_s)
        rationale = run.rationale or run.text.partition("<reason>")[2].partition("</reason>")[0]
        timed = found.kind == "intervals"
        return Answer(
            status=status,
            ids=list(found.ids),
            intervals=list(found.intervals) if timed else _intervals(window, found.ids),
            value=found.value,
            mode=run.mode,
            rationale=rationale,
            description=run.description,
            plan=run.plan,
            results=[result.value for result in run.results],
            rounds=run.rounds,
            repairs=run.repairs,
            ended_by=run.ended_by,
            tokens={**tokens, "reused": run.reused, "forced": run.forced},
            ms={name: round(value, 3) for name, value in run.ms.items()},
            model={"id": self.model.name, "sha256": self.model.sha256},
            message="; ".join(part for part in (message, *run.notes) if part),
            transcript=run.text,
        )


class Warm:
    """A context kept between questions, and the text of the twin that it was shown."""

    def __init__(self) -> None:
        self._context: Context | None = None
        self._fitter: Fitter | None = None

    def fitter(self, model: LanguageModel) -> Fitter:
        """What makes the prompts of these questions fit."""
        if self._fitter is None or self._fitter.model is not model:
            self._fitter = Fitter(model)
        return self._fitter

    def context(self, model: LanguageModel) -> Context:
        """The kept context, opened when there is none."""
        if self._context is None:
            self._context = model.open()
        return self._context

    def drop(self) -> None:
        """Close the context; another is opened for the next question."""
        context, self._context = self._context, None
        if context is not None:
            context.close()


def _known_mode(mode: str) -> Mode:
    for known in get_args(Mode):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise QueryError(f"expected a mode of {', '.join(get_args(Mode))}, got {mode!r}")


def _warning(unknown: Sequence[str]) -> str:
    if not unknown:
        return ""
    listed = ", ".join(unknown[:6])
    return f"this model set does not know: {listed}; its answer may be wrong"


def _intervals(window: TwinWindow, ids: Sequence[int]) -> list[tuple[float, float]]:
    """Merged (start, end) seconds in which any of the ids is visible."""
    times = sorted({t for i in ids for t, _ in window.track(i)})
    merged: list[tuple[float, float]] = []
    for t in times:
        if merged and t - merged[-1][1] <= _MAX_GAP_S:
            merged[-1] = (merged[-1][0], t)
        else:
            merged.append((t, t))
    return merged
