"""What a model says while it answers, for someone who watches.

``heard("text", piece)`` as a rationale or description is written, tags taken out;
``heard("plan", steps)`` when a plan is about to be computed and ``heard("results", values)`` when
it was: those of this plan, or fewer where it came too late. A turn that had to be written again
is heard again. Pieces are tokens where the decode loop is ours, whole turns from endpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Heard", "Telling"]

Heard = Callable[[str, Any], None]

_QUIET = ("plan", "answer", "results")  # told as values, or part of the answer
_SHOWN = ("reason", "describe", "think")
_TAGS = tuple(f"<{end}{name}>" for name in (*_QUIET, *_SHOWN) for end in ("", "/"))


class Telling:
    """Passes on the text of turns without tags, plans and answers, as it comes."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self._held = ""  # the beginning of what may become a tag, shorter than the longest one
        self._gap = False  # whether a block ended and the next one is not told yet
        self._said = False  # whether anything was told
        self._quiet = ""  # the block that is left out now

    def text(self, piece: str) -> None:
        """Take in what was generated next."""
        text, out = self._held + piece, ""
        self._held = ""
        while text:
            before, mark, _ = text.partition("<")
            out += "" if self._quiet else before
            text = text[len(before) :]
            if not mark:
                break
            tag = next((tag for tag in _TAGS if text.startswith(tag)), None)
            if tag is not None:
                self._say(out)
                out = ""
                self._pass(tag)
                text = text[len(tag) :]
            elif any(tag.startswith(text) for tag in _TAGS):
                self._held = text
                break
            else:
                out += "" if self._quiet else "<"
                text = text[1:]
        self._say(out)

    def end(self) -> None:
        """A turn is over: what was held back was no tag."""
        held, self._held = self._held, ""
        self._say("" if self._quiet else held)
        self._quiet = ""

    def _say(self, text: str) -> None:
        if not text:
            return
        self.heard("text", f"\n{text}" if self._gap else text)
        self._gap, self._said = False, True

    def _pass(self, tag: str) -> None:
        """Note a tag; blocks are told with a line between them."""
        name = tag.strip("</>")
        if name in _QUIET:
            if not tag.startswith("</"):
                self._quiet = name
            elif name == self._quiet:
                self._quiet = ""
        elif tag.startswith("</") and not self._quiet:
            self._gap = self._said
