"""From a program to a question: requests, questions, comparisons, long forms with a motive."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .families import Split, slots
from .programs import PICKS, Node
from .slips import roughened, slip
from .speech import Phraser, Speaker, agree, fill

__all__ = ["Form", "Wording", "render", "short"]

Form = Literal["short", "long"]

_LONGEST_HEAD = 8  # words between "which" and its verb


@dataclass(frozen=True, slots=True)
class Wording:
    """A question's text, the families it used, and whether any of them is held out."""

    text: str
    form: Form
    families: tuple[str, ...]
    unseen: bool


def render(
    node: Node,
    many: Mapping[Node, bool],
    rng: random.Random,
    split: Split,
    unseen: bool,
    say: Callable[[Speaker, Node], str] | None = None,
) -> Wording:
    """Word a program; with ``say`` (of a program's top) instead of a request or a question.

    ``many`` maps the program's nodes to whether their set holds several objects; ``unseen`` asks
    for at least one phrasing that training never uses (val and test only).
    """
    for _ in range(20):
        phraser = Phraser(rng, split, unseen)
        form: Form = "long" if rng.random() < 0.3 else "short"
        speaker = Speaker(phraser, many)
        if say is not None:
            form, text = "short", say(speaker, node)
        else:
            text = _long(speaker, node) if form == "long" else short(speaker, node)
        held = any(family.split != "train" for family in phraser.used)
        if held or not phraser.unseen:
            break
    ids = tuple(dict.fromkeys(family.id for family in phraser.used))
    return Wording(_finish(text, phraser), form, ids, held)


def short(speaker: Speaker, node: Node) -> str:
    """A question or a request of one sentence, or the bare noun phrase."""
    rng, phraser = speaker.rng, speaker.phraser
    versus = _versus(speaker, node)
    if versus is not None:
        return versus
    if phraser.split == "train" and node.sub is not None and node.sub.op == "any":
        plain = _plain(speaker, node)
        if plain is not None:
            return plain
    if phraser.split == "train" and node.op == "find" and not node.is_use and rng.random() < 0.2:
        head, plural = phraser.must("head.any"), speaker.is_many(node)
        which = phraser.must("which", lambda t: " {h} " in t)
        predicate = speaker.predicate(node, plural) or ""
        return fill(which, h=f"{head}s" if plural else head, pred=predicate)
    draw = rng.random()
    if node.op == "find" and node.is_use and draw < 0.3:
        return speaker.ask(node.value) + "?"
    if node.is_use and not speaker.is_many(node) and draw < 0.45:
        post = phraser.pick(f"use.{node.value}", lambda t: t.startswith("that "))
        if post is not None:
            text = phraser.must("what", lambda t: "{pred1}" in t)
            return fill(text, pred1=agree(post.removeprefix("that "), False))
    if draw < 0.45 and node.sub is not None:
        question = _ask_more(speaker, node) or _which(speaker, node)
        if question is not None:
            return question
    if draw > 0.9:
        return speaker.the(node) if rng.random() < 0.5 else speaker.the(node).removeprefix("the ")
    return _request(speaker, node)


def _plain(speaker: Speaker, node: Node) -> str | None:
    """ "What is left of the bowl?", "Show me everything behind the lamp": in half of the cases.

    What people ask first, and what a model forgets that mostly sees long questions.
    """
    rng = speaker.rng
    draw = rng.random()
    if draw < 0.3:
        predicate = speaker.predicate(node, False)
        if predicate is None:
            return None
        what = "what's" if predicate.startswith("is ") and rng.random() < 0.3 else "what"
        return f"{what} {predicate.removeprefix('is ') if what != 'what' else predicate}?"
    if draw < 0.5 and node.op not in PICKS:
        head, _, rest = speaker.bare(node, False).partition(" ")
        if head and rest and "that are" not in rest:
            word = rng.choice(("everything", "anything", "all", "whatever is", "something"))
            rest = rest.removeprefix("that is ") if word.endswith(" is") else rest
            if not (word.endswith(" is") and rest.startswith("that ")):
                some = f"{word} {rest}"
                return fill(agree(speaker.phraser.must("open"), True), np=some)
    return None


def _request(speaker: Speaker, node: Node) -> str:
    phraser, rng = speaker.phraser, speaker.rng
    plural = speaker.is_many(node)
    base = node.sub if node.op == "attribute" else node
    if base is not None and base.is_use and not plural and rng.random() < 0.5:
        what = speaker.use(base, False)
        colour = f"{node.value} " if node.op == "attribute" else ""
        return fill(phraser.must("open.some"), some=f"something {colour}{what}")
    if plural and node.op != "or" and node.op not in PICKS and rng.random() < 0.3:
        return fill(phraser.must("open.all"), np=speaker.the(node))
    return fill(agree(phraser.must("open"), plural or node.op == "or"), np=speaker.the(node))


def _ask_more(speaker: Speaker, node: Node) -> str | None:
    """ "What could I drink from that is left of the bowl?" """
    property_ = node.sub
    if property_ is None or not property_.is_use or node.op in PICKS or speaker.is_many(node):
        return None
    ask = speaker.ask(property_.value)
    predicate = speaker.predicate(node, False) if ask.lower().startswith("what ") else None
    return None if predicate is None else f"{ask} that {predicate}?"


def _which(speaker: Speaker, node: Node) -> str | None:
    """ "Which mug is left of the bowl?", "What moved?", "Which of the mugs moved first?" """
    assert node.sub is not None
    plural = speaker.is_many(node)
    if node.sub.op in PICKS or node.sub.op == "or":
        return None
    if node.sub.op == "given":
        return _which_given(speaker, node, node.sub, plural)
    if (
        node.op in PICKS
        and node.k == 1
        and speaker.is_many(node.sub)
        and speaker.rng.random() < 0.5
    ):
        predicate = speaker.predicate(node, False)
        group = f"the {speaker.bare(node.sub, True)}"
        if predicate is not None:
            text = speaker.phraser.must("which.of")
            return fill(text, set=group, pred=predicate)
    if node.sub.op == "any" and speaker.rng.random() < 0.5:
        predicate = speaker.predicate(node, False)
        if predicate is None:
            return None
        text = speaker.phraser.must("what", lambda t: "{pred1}" in t or not plural)
        return fill(agree(text, False), pred1=predicate, pred=predicate)
    predicate = speaker.predicate(node, plural)
    if predicate is None:
        return None
    head = speaker.bare(node.sub, plural)
    if len(head.split()) > _LONGEST_HEAD:
        return None
    return fill(speaker.phraser.must("which"), h=head, pred=predicate)


def _which_given(speaker: Speaker, node: Node, given: Node, plural: bool) -> str | None:
    """ "Which of them is red?" """
    predicate = speaker.predicate(node, plural)
    if predicate is None:
        return None
    text = agree(speaker.phraser.must("given.which"), plural)
    return fill(text, set=speaker.pronoun(given), pred=predicate)


def _versus(speaker: Speaker, node: Node) -> str | None:
    """ "Which is closer, the mug or the bowl?" """
    if node.op != "extreme" or node.sub is None or f"cmp.{node.value}" not in slots():
        return None
    if node.sub.op == "or" and node.sub.sub is not None and node.sub.other is not None:
        pair = (node.sub.sub, node.sub.other)
    elif node.sub.op == "find" and len(node.sub.words) == 2 and not node.sub.is_use:
        first, second = node.sub.words
        pair = (replace(node.sub, value=first), replace(node.sub, value=second))
    else:
        return None
    if any(speaker.is_many(side) for side in pair):
        return None
    text = speaker.phraser.must("versus")
    compare = speaker.phraser.must(f"cmp.{node.value}")
    return fill(text, a=speaker.the(pair[0]), b=speaker.the(pair[1]), cmp=compare)


def _main_use(node: Node) -> Node | None:
    """The property that the question's own set (not an anchor) is built on, if there is one."""
    while node.sub is not None and node.op != "or":
        node = node.sub
    return node if node.is_use else None


def _long(speaker: Speaker, node: Node) -> str:
    """A motive and a request; half the time the motive alone tells the property."""
    phraser, rng = speaker.phraser, speaker.rng
    property_ = _main_use(node)
    if property_ is not None and rng.random() < 0.7:
        motive = speaker.motive(property_.value)
        speaker.implied = property_
    else:
        motive = phraser.must("why.any")
    request = _versus(speaker, node) or _request(speaker, node)
    request = _capital(request)
    if speaker.implied is None and rng.random() < 0.2:
        return f"{request} {motive}"
    return f"{motive} {request}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _finish(text: str, phraser: Phraser) -> str:
    """Fillers, capitals, punctuation, and slips (in val and test rare ones)."""
    rng = phraser.rng
    text = text.replace(" that that ", " that ")
    share = 0.15 if phraser.split == "train" else 0.06
    if rng.random() < share and text[0] != "I":
        polite = text.endswith("?") or text.count(".") > 1
        filler = phraser.must("filler.pre", (lambda t: t != "Please") if polite else None)
        text = f"{filler} {text[0].lower()}{text[1:]}"
    elif rng.random() < share and text[-1] in ".?":
        text = f"{text[:-1]}, {phraser.must('filler.post')}{text[-1]}"
    draw = rng.random()
    text = text.lower() if draw < 0.15 else _capital(text) if draw < 0.95 else text
    if rng.random() < 0.15:
        text = text.rstrip(".?")
    if phraser.split == "train":
        return roughened(text, rng)
    return slip(text, rng, shortest=5) if rng.random() < 0.03 else text
