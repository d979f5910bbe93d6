"""Plain questions as people ask them first, form by form: a table beside TwinBench's varied ones.

Every form is one template with a program; each is asked about several worlds that neither
training nor TwinBench uses, where jitter leaves the answer as it is. The templates were
written down without looking at the training language; some are reserved for TwinBench's
test split ("in front of"), so training never sees them.

Not covered: questions in several sentences, follow-ups.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ...deploy.models import Responder
from ...twin.tools import run_plan
from ...twin.window import TwinWindow
from ..sim.questions.evaluate import Bench
from ..sim.questions.programs import ANY, Node, compile_plan, noun, use
from ..sim.truth import true_window
from ..sim.worlds import World
from .report import Table

__all__ = ["FORMS", "Form", "ask_everyday", "everyday_tables"]

_SEED = 1_020_100  # worlds of no other use
_EVENTS = ("moved", "appeared", "disappeared")


@dataclass(frozen=True, slots=True)
class Form:
    """A template and the program that answers it; ``{x}`` is a coloured thing, ``{n}`` its noun."""

    text: str
    program: Callable[[Node, Node], Node]


def _relation(op: str, *texts: str) -> list[Form]:
    return [Form(text, lambda x, n, op=op: Node(op, ANY, x)) for text in texts]  # type: ignore[misc]


def _of(program: Node, *texts: str) -> list[Form]:
    return [Form(text, lambda x, n: program) for text in texts]


FORMS: tuple[Form, ...] = (
    *[Form(t, lambda x, n: n) for t in (
        "Where is the {n}?", "Find the {n}.", "Show me the {n}.", "Which object is a {n}?",
        "Which one is the {n}?", "Is there a {n}?", "Point at the {n}.",
    )],
    *[Form(t, lambda x, n: x) for t in ("Where is the {x}?", "Find the {x}.", "the {x}")],
    *_relation("left_of", "What is left of the {x}?", "What is to the left of the {x}?",
               "Which objects are on the left of the {x}?"),
    *_relation("right_of", "What is right of the {x}?", "What is to the right of the {x}?"),
    *_relation("behind", "What is behind the {x}?", "Which objects are behind the {x}?"),
    *_relation("in_front_of", "What is in front of the {x}?"),
    *_relation("above", "What is above the {x}?"),
    *_relation("inside", "What is in the {x}?", "What is inside the {x}?"),
    *_relation("on", "What is on the {x}?", "What is on top of the {x}?"),
    *_relation("nearest", "What is next to the {x}?", "What is closest to the {x}?",
               "Which object is nearest to the {x}?"),
    *_relation("not", "Everything but the {x}.", "What is not the {x}?"),
    *_of(Node("extreme", ANY, value="largest"), "Which object is the largest?",
         "What is the biggest thing?"),
    *_of(Node("extreme", ANY, value="smallest"), "What is the smallest object?"),
    *_of(Node("extreme", ANY, value="closest"), "What is closest to the camera?"),
    *_of(Node("extreme", ANY, value="leftmost"), "What is furthest to the left?",
         "What is the leftmost object?"),
    *_of(Node("nth", ANY, value="left", k=2), "Which object is second from the left?"),
    *_of(use("drink"), "What can I drink from?", "Something to drink from."),
    *_of(use("cut"), "What could I cut paper with?"),
    *_of(use("read"), "What can I read?"),
    *_of(use("eat"), "What can I eat?"),
    *_of(Node("moved", ANY, value="any"), "What moved?", "Which objects moved?"),
    *_of(Node("still", ANY), "What did not move?", "Which objects stayed where they were?"),
    *_of(Node("appeared", ANY), "What appeared?", "What came in?"),
    *_of(Node("disappeared", ANY), "What disappeared?", "What left the table?"),
    *_of(Node("first", ANY, value="moved"), "What moved first?"),
    *_of(Node("fastest", ANY), "What moved fastest?"),
)  # fmt: skip
"""Plain questions, in the order of the table."""


@dataclass
class _Score:
    asked: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)


def ask_everyday(
    reasoner: Responder, worlds: int = 12, forms: Iterable[Form] = FORMS
) -> dict[str, _Score]:
    """Ask every form once per world; a form is left out where jitter would change its answer."""
    scores: dict[str, _Score] = {form.text: _Score() for form in forms}
    for seed in range(_SEED, _SEED + worlds):
        window = true_window(World(seed, "cell"), render=False)
        rng = random.Random(f"everyday {seed}")
        bench = Bench(window, rng)
        for form in forms:
            asked = _filled(form, window, bench, rng)
            if asked is None:
                continue
            text, ids = asked
            answer = reasoner.answer(text, window).model_dump(mode="json")
            score = scores[form.text]
            score.asked += 1
            if set(answer["ids"]) == ids and answer["status"] != "error":
                score.right += 1
            else:
                score.wrong.append(f"{text} -> {answer.get('rationale', '')}")
    return scores


def _filled(
    form: Form, window: TwinWindow, bench: Bench, rng: random.Random
) -> tuple[str, set[int]] | None:
    """The question about one thing of the window, and the ids that answer it."""
    thing = window.latest(rng.choice(window.ids()))
    colour, label = thing.attributes.get("color", ""), thing.semantic_label
    several = noun(label)
    one = Node("attribute", several, value=colour)
    if "{x}" in form.text and len(bench.true.ids(one)) != 1:
        return None
    program = form.program(one, several)
    if not bench.is_well_posed(program):
        return None
    value = run_plan(compile_plan(program), window)[-1].value
    ids = {item for item in value if isinstance(item, int)} if isinstance(value, list) else set()
    return form.text.format(x=f"{colour} {label}", n=label), ids


def everyday_tables(scores: dict[str, _Score], where: str) -> list[Table]:
    """Right answers per form, the total last, and one wrong reading of each."""
    rows = [(text, s.asked, s.right, s.wrong[0] if s.wrong else "") for text, s in scores.items()]
    rows.append(("all", sum(r[1] for r in rows), sum(r[2] for r in rows), ""))
    return [Table(f"Plain questions, {where}", ("form", "asked", "right", "read as"), tuple(rows))]
