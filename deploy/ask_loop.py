"""The conversation of ``edgetwin ask``: lines in, answers out, commands that begin with a slash.

At a terminal lines are edited with readline, answers and commands go to the screen, and Ctrl-C
ends the answer being made, or at the prompt the session. From a pipe or with ``-q`` every question
gives one line on standard output, JSON if asked for, and all else goes to standard error.

Not covered: several people at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from ..reasoner.prompts import Mode
from ..twin.errors import EdgeTwinError
from .ask_text import answer_lines, answer_text, seen_text, trace_lines
from .perceive import Progress
from .screen import Screen, printable
from .stream.sinks import writing
from .twin_show import OBJECT_COLUMNS, rows_of

if TYPE_CHECKING:
    from .ask import Asker

__all__ = ["COMMANDS", "Conversation"]

MODES: Final[tuple[str, ...]] = get_args(Mode)
COMMANDS: Final = {
    "/help": "this list",
    "/objects": "the twin now",
    "/mode NAME": f"how much is explained: {', '.join(MODES)}",
    "/trace on|off": "show rationale, plan, results, tokens and times",
    "/history": "the questions so far",
    "/forget": "a new session: earlier questions no longer count",
    "/wait": "until the whole source is perceived",
    "/save FILE": "the answers so far as JSON lines",
    "/quit": "end (as does Ctrl-D)",
}


class Conversation:
    """Questions and commands to one :class:`~edgetwin.deploy.ask.Asker`.

    Args:
        asker: who answers.
        trace: whether to show how.
        as_json: whether answers are printed as JSON lines.
        talking: whether a person sits at a terminal.
    """

    def __init__(
        self, asker: Asker, *, trace: bool = False, as_json: bool = False, talking: bool = False
    ) -> None:
        self.asker = asker
        self.trace = trace
        self.as_json = as_json
        self.talking = talking
        self.failed = False  # whether an answer or a command ended in an error
        self._screen = Screen()
        self._aside = self._screen if talking else Screen(sys.stderr)
        self._told: set[str] = set()  # warnings, each of which is told once

    # ---- lines

    def run(self, lines: Iterable[str]) -> None:
        """Take lines until there are no more, or ``/quit``."""
        for line in lines:
            if not self.take(line):
                return

    def talk(self, read: Callable[[str], str] = input) -> None:
        """Take lines from a person until Ctrl-D or ``/quit``.

        Raises:
            KeyboardInterrupt: on Ctrl-C at the prompt.
        """
        self._aside.line("ask about what was seen; /help lists the commands, Ctrl-D ends")
        self.run(self._lines(read))

    def _lines(self, read: Callable[[str], str]) -> Iterator[str]:
        with suppress(ImportError):
            import readline  # noqa: F401  (editing and history at the prompt)
        while True:
            self.asker.warm()
            seen = self.asker.feed.seen()
            try:
                yield read("? " if seen["complete"] else f"[{seen_text(seen)}] ? ")
            except EOFError:
                self._aside.line()
                return

    def take(self, line: str) -> bool:
        """Take one line: a question or a command; False if it ends the conversation."""
        text = printable(line.encode(errors="replace").decode()).strip()
        if text.startswith("/"):
            return self._command(text)
        if text:
            self._ask(text)
        return True

    def _ask(self, question: str) -> None:
        try:
            record = self.asker.ask(question)
        except KeyboardInterrupt:
            if not self.talking:
                raise
            self._aside.line("stopped; what was seen is kept, the session begins anew", "yellow")
            return
        self.failed |= record["status"] == "error"
        self._warn(record["warnings"])
        if self.as_json:
            # At a terminal every letter beyond ASCII is spelt out: some act on it.
            print(json.dumps(record, ensure_ascii=sys.stdout.isatty()), flush=True)
        elif self.talking:
            self._show(record)
        else:
            print(printable("; ".join(answer_lines(record))), flush=True)
        if self.trace and not self.as_json:
            for text in trace_lines(record):
                self._screen.line(f"  {text}", "dim")

    def _show(self, record: dict[str, Any]) -> None:
        styles = {"ok": "bold green", "error": "bold red"}
        first, *rest = answer_lines(record)
        self._screen.line(first, styles.get(record["status"], "bold yellow"))
        for text in rest:
            self._screen.line(text)

    def _warn(self, warnings: Iterable[str]) -> None:
        for text in warnings:
            if text not in self._told:
                self._told.add(text)
                print(f"warning: {printable(text)}", file=sys.stderr)

    # ---- commands

    def _command(self, text: str) -> bool:
        name, _, argument = text.partition(" ")
        argument = argument.strip()
        if name in ("/quit", "/exit"):
            return False
        known: dict[str, Callable[[str], None]] = {
            "/help": self._help,
            "/objects": self._objects,
            "/mode": self._mode,
            "/trace": self._trace,
            "/history": self._history,
            "/forget": self._forget,
            "/wait": self._wait,
            "/save": self._save,
        }
        if name not in known:
            self._refuse(f"expected a command of /help, got {name}")
            return True
        try:
            known[name](argument)
        except EdgeTwinError as error:
            self._refuse(str(error))
        except KeyboardInterrupt:
            if not self.talking:
                raise
            self._aside.line("stopped", "yellow")
        return True

    def _refuse(self, text: str) -> None:
        self.failed = True
        self._aside.line(f"error: {text}", "red")

    def _help(self, _argument: str) -> None:
        width = max(map(len, COMMANDS))
        for name, text in COMMANDS.items():
            self._aside.line(f"{name.ljust(width)}  {text}")

    def _objects(self, _argument: str) -> None:
        self.asker.feed.refresh()
        self._aside.line(seen_text(self.asker.feed.seen()))
        self._aside.table(OBJECT_COLUMNS, rows_of(self.asker.feed.window))

    def _mode(self, argument: str) -> None:
        if argument not in MODES:
            self._refuse(f"expected a mode of {', '.join(MODES)}, got {argument or 'none'}")
            return
        self.asker.mode = argument  # type: ignore[assignment]
        self._aside.line(f"mode {argument}")

    def _trace(self, argument: str) -> None:
        if argument not in ("on", "off", ""):
            self._refuse(f"expected /trace on or /trace off, got {argument}")
            return
        self.trace = argument != "off" if argument else not self.trace
        self._aside.line(f"trace {'on' if self.trace else 'off'}")

    def _history(self, _argument: str) -> None:
        for place, record in enumerate(self.asker.history, 1):
            self._aside.line(f"{place}  {record['question']}  ->  {answer_text(record)}")
        if not self.asker.history:
            self._aside.line("nothing was asked yet")

    def _forget(self, _argument: str) -> None:
        self.asker.forget()
        self._aside.line("a new session; /history and /save still have the old answers")

    def _wait(self, _argument: str) -> None:
        self.asker.feed.wait(None, self._progress())
        self._aside.line(f"perceived: {seen_text(self.asker.feed.seen())}")

    def _progress(self) -> Progress | None:
        """Say how far it is once in a while; a bar would fight with the prompt."""
        if not self.talking:
            return None
        told = [0]

        def tell(_stage: str, done: int, total: int | None) -> None:
            if done >= told[0] + 100:
                told[0] = done
                self._aside.line(f"perceived {done}" + (f" of {total}" if total else ""))

        return tell

    def _save(self, argument: str) -> None:
        if not argument:
            self._refuse("expected a file, such as /save answers.jsonl, got none")
            return
        path = Path(argument).expanduser()
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in self.asker.history)
        with writing(path):
            beside = path.with_name(path.name + ".part")
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        self._aside.line(f"{len(self.asker.history)} answers in {path}")
