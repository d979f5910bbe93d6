"""From a program to English: noun phrases, questions, long forms with a motive.

The noun phrase of a program follows its tree: head and colour, then filters as modifiers (those
with a longer anchor last, so that a modifier cannot be read as the anchor's), then the choice
around them. Numbers agree with what the sets really hold; an empty set reads as singular.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .families import Family, Split, pool, slots
from .knowledge import plural as plural_of
from .knowledge import synonyms
from .programs import PICKS, Node

__all__ = ["Form", "Phraser", "Wording", "render"]

Form = Literal["short", "long"]

_ALTERNATIVE = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth"}
_LONGEST_HEAD = 8  # words between "which" and its verb
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True, slots=True)
class Wording:
    """A question's text, the families it used, and whether any of them is held out."""

    text: str
    form: Form
    families: tuple[str, ...]
    unseen: bool


class Phraser:
    """Chooses phrasings and remembers their families.

    With ``unseen`` every slot draws with probability ½ from the split's held-out phrasings (where
    the slot has some); otherwise only training phrasings are used.
    """

    def __init__(self, rng: random.Random, split: Split, unseen: bool) -> None:
        self.rng, self.split, self.unseen = rng, split, unseen and split != "train"
        self.used: list[Family] = []

    def pick(self, slot: str, fits: Callable[[str], bool] | None = None) -> str | None:
        """A phrasing of the slot for which ``fits`` holds, or None if there is none."""
        held = pool(slot, self.split) if self.unseen else ()
        families = held if held and self.rng.random() < 0.5 else pool(slot, "train")
        for choice in (families, pool(slot, "train")):
            found = [f for f in choice if fits(f.text)] if fits is not None else choice
            if found:
                family = self.rng.choice(found)
                self.used.append(family)
                return family.text
        return None

    def must(self, slot: str, fits: Callable[[str], bool] | None = None) -> str:
        """As :meth:`pick`, for slots that are known to hold a phrasing that fits."""
        text = self.pick(slot, fits)
        if text is None:
            raise KeyError(f"expected a fitting phrasing in the slot {slot}, got none")
        return text


def agree(text: str, plural: bool) -> str:
    """Resolve ``[singular|plural]``."""
    return _ALTERNATIVE.sub(lambda m: m.group(2 if plural else 1), text)


def _fill(text: str, **parts: str) -> str:
    for name, part in parts.items():
        text = text.replace("{" + name + "}", part)
    return text


def _slot(node: Node) -> str:
    match node.op:
        case "extreme":
            return f"ex.{node.value}"
        case "nth":
            return f"nth.{node.value}.{'desc' if node.descending else 'asc'}"
        case "moved" | "before" | "after" | "first" | "last":
            return f"{node.op}.{node.value}"
        case "not":
            colour = node.other is not None and node.other == Node(
                "attribute", Node("any"), value=node.other.value
            )
            return "not.colour" if colour else "not.set"
        case _:
            return node.op


def _chain(node: Node) -> tuple[Node, list[Node]]:
    """The base (any, find, and, or, with its colour) and the filters above it, inner first."""
    filters: list[Node] = []
    while node.op not in ("any", "find", "and", "or", "attribute", *PICKS):
        filters.append(node)
        if node.sub is None:
            break
        node = node.sub
    return node, filters[::-1]


class _Speaker:
    """Renders one question; ``many`` tells the nodes whose set holds more than one object."""

    def __init__(self, phraser: Phraser, many: Mapping[Node, bool]) -> None:
        self.phraser, self.rng, self.many = phraser, phraser.rng, many
        self.implied: Node | None = None

    def is_many(self, node: Node) -> bool:
        return self.many.get(node, False)

    def the(self, node: Node) -> str:
        """A definite noun phrase: "the red mugs"."""
        if node.op == "or":
            return self._together(node)
        plural = self.is_many(node)
        if node.op in ("nearest", "farthest") and node.k > 1:
            return self._two(node)
        return f"the {self.bare(node, plural)}"

    def bare(self, node: Node, plural: bool) -> str:
        """A noun phrase without its determiner."""
        if node.op in PICKS:
            return self._choice(node)
        base, filters = _chain(node)
        head = self._base(base, plural)
        said = _has_own_post(base)
        clause = said and " that " in head  # a relative clause wants "and that ..." after it
        for part in sorted(filters, key=_heaviness):
            post = self._post(part, plural)
            if said and _slot(part) == "not.set":
                post = f", {post}"
            elif said:
                post = post if post.startswith("that ") else f"{self._be(plural)}{post}"
                post = f" and {post}" if clause else f" {post}"
            else:
                post = f" {post}"
            head += post
            clause = said = True
        return head

    def _be(self, plural: bool) -> str:
        return "that are " if plural else "that is "

    def _head(self, plural: bool) -> str:
        word = self.phraser.must("head.any")
        return f"{word}s" if plural else word

    def _base(self, node: Node, plural: bool) -> str:
        match node.op:
            case "any":
                return self._head(plural)
            case "find" if node.is_use:
                return f"{self._head(plural)} {self._use(node, plural)}"
            case "find":
                return " or ".join(self._noun(word, plural) for word in node.words)
            case "and":
                return self._both(node, plural)
            case "attribute":
                return self._coloured(node, plural)
            case _:
                return self.bare(node, plural)

    def _use(self, node: Node, plural: bool) -> str:
        if node is self.implied:
            return agree(self.phraser.must("implicit"), plural)
        verb = self.rng.random() < 0.4 and self.phraser.pick(f"verb.{node.value}")
        if verb:
            return _fill(self.phraser.must("frame.post"), v=verb.replace(" /", " "))
        return agree(self.phraser.must(f"use.{node.value}"), plural)

    def ask(self, key: str) -> str:
        """A whole question for a property, without the question mark."""
        verb = self.rng.random() < 0.5 and self.phraser.pick(f"verb.{key}")
        if verb:
            return _fill(self.phraser.must("frame.ask"), v=verb.replace(" /", " "))
        return self.phraser.must(f"ask.{key}")

    def motive(self, key: str) -> str:
        """A sentence that implies a property."""
        verb = self.rng.random() < 0.5 and self.phraser.pick(f"verb.{key}", lambda t: " /" in t)
        if verb:
            return _fill(self.phraser.must("frame.why"), w=verb.partition(" /")[0])
        return self.phraser.must(f"why.{key}")

    def _noun(self, category: str, plural: bool) -> str:
        words = synonyms(category)
        word = words[0] if self.rng.random() < 0.6 else self.rng.choice(words)
        return plural_of(category, word) if plural else word

    def _both(self, node: Node, plural: bool) -> str:
        assert node.sub is not None
        assert node.other is not None
        first = self._use(node.sub, plural)
        slot = f"use.{node.other.value}"
        second = self.phraser.pick(slot, lambda t: t.startswith("that "))
        if second is None or node.other is self.implied:
            second = f"that [is|are] something {self.phraser.must(slot)}"
        return f"{self._head(plural)} {first} and {agree(second, plural)}"

    def _coloured(self, node: Node, plural: bool) -> str:
        assert node.sub is not None
        if node.sub.op in ("any", "find") and not node.sub.is_use and self.rng.random() < 0.15:
            post = agree(self.phraser.must("colour.post"), plural)
            return f"{self._base(node.sub, plural)} {_fill(post, colour=node.value)}"
        return f"{node.value} {self._base(node.sub, plural)}"

    def _post(self, node: Node, plural: bool) -> str:
        """A filter as a modifier after the noun."""
        text = self._relation(node, plural)
        return f"that {text[1:]}" if text.startswith("~") else text

    def _relation(self, node: Node, plural: bool) -> str:
        slot = _slot(node)
        text = agree(self.phraser.must(slot), plural)
        if slot == "not.colour" and node.other is not None:
            return _fill(text, colour=node.other.value)
        return _fill(text, of=self.the(node.other)) if node.other is not None else text

    def predicate(self, node: Node, plural: bool) -> str | None:
        """The top of a program as a predicate ("is left of the bowl"), or None if it has none."""
        be = "are" if plural else "is"
        if node.op == "attribute":
            return _fill(agree(self.phraser.must("colour.pred"), plural), colour=node.value)
        if node.op in ("nearest", "farthest") and node.other is not None and node.k == 1:
            return _as_verb(_fill(self.phraser.must(node.op), of=self.the(node.other)))
        if node.op in PICKS:
            start = "{h} "
            text = self.phraser.pick(_slot(node), lambda t: t.startswith(start))
            return None if text is None else _fill(_as_verb(text[len(start) :]), **_ordinal(node))
        if node.op in ("find", "any", "or", "and", "not"):
            return None
        text = self._relation(node, plural)
        return text[1:] if text.startswith("~") else f"{be} {text}"

    def _choice(self, node: Node) -> str:
        """ "leftmost mug that moved", "mug closest to the bowl"."""
        assert node.sub is not None
        if node.op in ("nearest", "farthest"):
            assert node.other is not None
            text = _fill(self.phraser.must(node.op), of=self.the(node.other))
            # after another anchor, "closest to …" would read as that anchor's
            if any(part.other and _slot(part) != "not.colour" for part in _chain(node.sub)[1]):
                return f"one {text} among the {self.bare(node.sub, True)}"
            head = self.bare(node.sub, False)
            return f"{head} that {_as_verb(text)}" if _has_post(node.sub) else f"{head} {text}"
        slot = _slot(node)
        if node.sub.op == "or":
            assert node.sub.sub is not None
            assert node.sub.other is not None
            pair = f"{self.the(node.sub.sub)} and {self.the(node.sub.other)}"
            return f"{self._one(slot, node)} of {pair}"
        if not _has_post(node.sub):
            text = self.phraser.must(slot)
        else:  # the head must come last, or its modifiers would split the phrase
            text = self.phraser.pick(slot, _ends_with_head) or ""
            if not text or self.rng.random() < 0.4:
                word = self.rng.choice(("among", "of", "out of"))
                return f"{self._one(slot, node)} {word} the {self.bare(node.sub, True)}"
        return _fill(text, h=self.bare(node.sub, False), **_ordinal(node))

    def _one(self, slot: str, node: Node) -> str:
        return _fill(self.phraser.must(slot), h="one", **_ordinal(node))

    def _two(self, node: Node) -> str:
        assert node.sub is not None
        assert node.other is not None
        text = self.phraser.must(node.op, lambda t: " than " not in t)
        return f"the two {self.bare(node.sub, True)} {_fill(text, of=self.the(node.other))}"

    def _together(self, node: Node) -> str:
        assert node.sub is not None
        assert node.other is not None
        text = self.phraser.must("or")
        return _fill(text, a=self.the(node.sub), b=self.the(node.other))


def _has_own_post(base: Node) -> bool:
    """Whether a base (without filters) is worded with something after its head."""
    if base.op == "attribute" and base.sub is not None:
        base = base.sub
    return base.is_use or base.op in ("and", "or")


def _has_post(node: Node) -> bool:
    base, filters = _chain(node)
    return bool(filters) or _has_own_post(base)


def _ends_with_head(text: str) -> bool:
    return text.endswith("{h}")


def _as_verb(post: str) -> str:
    """A modifier after a noun as a singular predicate: "with the largest area" -> "has ..."."""
    if post.startswith("that "):
        return post.removeprefix("that ")
    if post.startswith("with "):
        return f"has {post.removeprefix('with ')}"
    return f"is {post}"


def _ordinal(node: Node) -> dict[str, str]:
    if node.op != "nth":
        return {}
    return {"ord": _ORDINALS[node.k], "num": _NUMBERS[node.k]}


def _heaviness(node: Node) -> int:
    """Order of modifiers: colours and events, plain anchors, longer anchors, exclusions."""
    if node.other is None or _slot(node) == "not.colour":
        return 0
    if node.op == "not":
        return 3
    return 2 if node.other.op != "find" or node.other.is_use else 1


def render(
    node: Node, many: Mapping[Node, bool], rng: random.Random, split: Split, unseen: bool
) -> Wording:
    """Word a program.

    ``many`` maps the program's nodes to whether their set holds several objects; ``unseen`` asks
    for at least one phrasing that training never uses (val and test only).
    """
    for _ in range(20):
        phraser = Phraser(rng, split, unseen)
        form: Form = "long" if rng.random() < 0.3 else "short"
        speaker = _Speaker(phraser, many)
        text = _long(speaker, node) if form == "long" else _short(speaker, node)
        held = any(family.split != "train" for family in phraser.used)
        if held or not phraser.unseen:
            break
    ids = tuple(dict.fromkeys(family.id for family in phraser.used))
    return Wording(_finish(text, phraser), form, ids, held)


def _short(speaker: _Speaker, node: Node) -> str:
    """A question or a request of one sentence, or the bare noun phrase."""
    rng, phraser = speaker.rng, speaker.phraser
    versus = _versus(speaker, node)
    if versus is not None:
        return versus
    draw = rng.random()
    if node.op == "find" and node.is_use and draw < 0.3:
        return speaker.ask(node.value) + "?"
    if node.is_use and not speaker.is_many(node) and draw < 0.45:
        post = phraser.pick(f"use.{node.value}", lambda t: t.startswith("that "))
        if post is not None:
            text = phraser.must("what", lambda t: "{pred1}" in t)
            return _fill(text, pred1=agree(post.removeprefix("that "), False))
    if draw < 0.45 and node.sub is not None:
        question = _ask_more(speaker, node) or _which(speaker, node)
        if question is not None:
            return question
    if draw > 0.9:
        return speaker.the(node) if rng.random() < 0.5 else speaker.the(node).removeprefix("the ")
    return _request(speaker, node)


def _request(speaker: _Speaker, node: Node) -> str:
    phraser, rng = speaker.phraser, speaker.rng
    plural = speaker.is_many(node)
    base = node.sub if node.op == "attribute" else node
    if base is not None and base.is_use and not plural and rng.random() < 0.5:
        what = speaker._use(base, False)
        colour = f"{node.value} " if node.op == "attribute" else ""
        return _fill(phraser.must("open.some"), some=f"something {colour}{what}")
    if plural and node.op != "or" and node.op not in PICKS and rng.random() < 0.3:
        return _fill(phraser.must("open.all"), np=speaker.the(node))
    return _fill(agree(phraser.must("open"), plural or node.op == "or"), np=speaker.the(node))


def _ask_more(speaker: _Speaker, node: Node) -> str | None:
    """ "What could I drink from that is left of the bowl?" """
    property_ = node.sub
    if property_ is None or not property_.is_use or node.op in PICKS or speaker.is_many(node):
        return None
    ask = speaker.ask(property_.value)
    predicate = speaker.predicate(node, False) if ask.startswith("What ") else None
    return None if predicate is None else f"{ask} that {predicate}?"


def _which(speaker: _Speaker, node: Node) -> str | None:
    """ "Which mug is left of the bowl?", "What moved?", "Which of the mugs moved first?" """
    assert node.sub is not None
    plural = speaker.is_many(node)
    if node.sub.op in PICKS or node.sub.op == "or":
        return None
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
            return _fill(text, set=group, pred=predicate)
    if node.sub.op == "any" and speaker.rng.random() < 0.5:
        predicate = speaker.predicate(node, False)
        if predicate is None:
            return None
        text = speaker.phraser.must("what", lambda t: "{pred1}" in t or not plural)
        return _fill(agree(text, False), pred1=predicate, pred=predicate)
    predicate = speaker.predicate(node, plural)
    if predicate is None:
        return None
    head = speaker.bare(node.sub, plural)
    if len(head.split()) > _LONGEST_HEAD:
        return None
    return _fill(speaker.phraser.must("which"), h=head, pred=predicate)


def _versus(speaker: _Speaker, node: Node) -> str | None:
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
    return _fill(text, a=speaker.the(pair[0]), b=speaker.the(pair[1]), cmp=compare)


def _main_use(node: Node) -> Node | None:
    """The property that the question's own set (not an anchor) is built on, if there is one."""
    while node.sub is not None and node.op != "or":
        node = node.sub
    return node if node.is_use else None


def _long(speaker: _Speaker, node: Node) -> str:
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


_NEIGHBOURS = dict(
    zip("abcdefghijklmnopqrstuvwxyz", "sxdfrghjukliknkpwtdryesczxa"[:26], strict=True)
)


def _typo(text: str, rng: random.Random) -> str:
    """One slip of the finger in a word of five letters or more."""
    places = list(re.finditer(r"[a-z]{5,}", text))
    if not places:
        return text
    word = rng.choice(places)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    match rng.randrange(3):
        case 0:
            return text[:at] + text[at + 1 :]
        case 1:
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        case _:
            return text[:at] + _NEIGHBOURS.get(text[at], text[at]) + text[at + 1 :]


def _finish(text: str, phraser: Phraser) -> str:
    """Fillers, capitals, punctuation, and a rare typo."""
    rng = phraser.rng
    if rng.random() < 0.06 and text[0] != "I":
        text = f"{phraser.must('filler.pre')} {text[0].lower()}{text[1:]}"
    elif rng.random() < 0.06 and text[-1] in ".?":
        text = f"{text[:-1]}, {phraser.must('filler.post')}{text[-1]}"
    draw = rng.random()
    text = text.lower() if draw < 0.15 else _capital(text) if draw < 0.95 else text
    if rng.random() < 0.15:
        text = text.rstrip(".?")
    return _typo(text, rng) if rng.random() < 0.03 else text
