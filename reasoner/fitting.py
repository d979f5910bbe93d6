"""A prompt that fits: the twin's text is shortened step by step until the model can hold it.

First the oldest moments leave the text (they are summed up in one line), then the objects that
are not visible, then those of the highest ids (they are counted). The tools still see them all.

Not covered: a list of tools or earlier questions that alone are too long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..twin.text import MAX_MOMENTS, MAX_OBJECTS
from ..twin.tools.base import Tool
from ..twin.window import TwinWindow
from . import prompts
from .kept import Kept
from .models.base import LanguageModel

__all__ = ["LEVELS", "Fitter", "Prompt"]

# (objects, moments) of each level; the steps are wide, so that a twin that grows slowly keeps
# its text, and with it the cache, between them.
LEVELS: tuple[tuple[int, int], ...] = (
    (MAX_OBJECTS, MAX_MOMENTS),
    (MAX_OBJECTS, 24),
    (MAX_OBJECTS, 12),
    (MAX_OBJECTS, 6),
    (48, 6),
    (36, 6),
    (27, 4),
    (20, 4),
    (15, 3),
    (11, 2),
    (8, 2),
    (6, 1),
    (4, 1),
    (2, 1),
    (1, 0),
)
_EASY = 0.6  # a session goes back a level when the text would take less than this of the room


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is read before a question; ``level`` counts the steps of shortening.

    ``message`` says what was left out, empty if nothing was; ``fits`` is False when even the
    shortest text is too long.
    """

    prefix: str
    level: int = 0
    message: str = ""
    fits: bool = True


class Fitter:
    """Fits prompts for one model and one line of questions.

    Kept between questions are the level of shortening, so that the text changes as little as it
    can, and the last text, so that a twin to which nothing was added is not written again.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.level = 0
        self._kept = Kept()

    def fit(
        self,
        window: TwinWindow,
        tools: Mapping[str, Tool],
        vocabulary: Iterable[str],
        tail: Sequence[str],
        reserve: int,
    ) -> Prompt:
        """The longest prefix that leaves ``reserve`` tokens free after ``tail``.

        Args:
            window: the twin.
            tools: what the long style documents.
            vocabulary: words that the long style lists.
            tail: earlier questions and the question.
            reserve: tokens for what is generated and inserted.
        """
        words = tuple(vocabulary)
        room = self.model.max_tokens - reserve - sum(self.model.count(text) for text in tail)

        def needed(level: int, enough: int = room) -> int:
            return _tokens(self.model, self._prefix(window, tools, words, level), enough)

        level = min(self.level, len(LEVELS) - 1)
        while level and needed(level, -1) <= _EASY * room:
            level -= 1
        if needed(level) > room:
            low, high = level + 1, len(LEVELS) - 1  # the texts grow shorter level by level
            while low < high:
                middle = (low + high) // 2
                low, high = (middle + 1, high) if needed(middle) > room else (low, middle)
            level = min(low, len(LEVELS) - 1)
        self.level = level
        text = self._prefix(window, tools, words, level)
        return Prompt(text, level, _message(window, level), needed(level) <= room)

    def _prefix(
        self, window: TwinWindow, tools: Mapping[str, Tool], words: tuple[str, ...], level: int
    ) -> str:
        objects, moments = LEVELS[level]
        return self._kept.get(
            window,
            (level, words, tuple(tools)),
            lambda: prompts.prefix(
                window,
                tools,
                self.model.style,
                words,
                self.model.layout,
                max_objects=objects,
                max_moments=moments,
            ),
        )


def _tokens(model: LanguageModel, text: str, enough: int = -1) -> int:
    """Tokens of a text; its bytes where they already are no more than ``enough``."""
    size = len(text.encode())
    return size if size <= enough else model.count(text)


def _message(window: TwinWindow, level: int) -> str:
    objects, moments = LEVELS[level]
    held = len(window.ids())
    parts = [f"{objects} of {held} objects"] if held > objects else []
    parts += [f"the newest {moments} moments"] if level else []
    if not parts:
        return ""
    read = " and ".join(parts)
    return f"the twin is longer than the model can read: it read {read}; the tools used all"
