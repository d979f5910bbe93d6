"""From a program to a noun phrase.

The noun phrase of a program follows its tree: head and colour, then filters as modifiers (those
with a longer anchor last, so that a modifier cannot be read as the anchor's), then the choice
around them. Numbers agree with what the sets really hold; an empty set reads as singular.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from . import wider
from .families import USES, Family, Split, pool
from .knowledge import plural as plural_of
from .knowledge import synonyms
from .programs import EVERYTHING, PICKS, Node

__all__ = ["Phraser", "Speaker", "agree", "fill", "relation_slot"]

_PLAIN_PRONOUN = 0.5
_WIDER_SHARE = 0.5  # of training phrasings, where the wider tables have some
_ALTERNATIVE = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth"}
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


class Phraser:
    """Chooses phrasings and remembers their families.

    With ``unseen`` every slot draws with probability ½ from the split's held-out phrasings (where
    the slot has some); otherwise only training phrasings are used. In training most come from the wider
    language (:mod:`.wider`), which val and test never use.
    """

    def __init__(self, rng: random.Random, split: Split, unseen: bool) -> None:
        self.rng, self.split, self.unseen = rng, split, unseen and split != "train"
        self.used: list[Family] = []

    def pick(self, slot: str, fits: Callable[[str], bool] | None = None) -> str | None:
        """A phrasing of the slot for which ``fits`` holds, or None if there is none."""
        if self.split == "train":
            family = self._pick_wide(slot, fits)
            if family is not None:
                self.used.append(family)
            return None if family is None else family.text
        held = pool(slot, self.split) if self.unseen else ()
        families = held if held and self.rng.random() < 0.5 else pool(slot, "train")
        for choice in (families, pool(slot, "train")):
            found = [f for f in choice if fits(f.text)] if fits is not None else choice
            if found:
                family = self.rng.choice(found)
                self.used.append(family)
                return family.text
        return None

    def _pick_wide(self, slot: str, fits: Callable[[str], bool] | None) -> Family | None:
        """A phrasing for training: from the table or the wider one, words at times exchanged."""
        family = wider.draw(slot, self.rng, fits) if self.rng.random() < _WIDER_SHARE else None
        if family is None:
            found = [f for f in pool(slot, "train") if fits is None or fits(f.text)]
            if not found:
                return None
            family = self.rng.choice(found)
        return wider.varied(family, self.rng, fits)

    def must(self, slot: str, fits: Callable[[str], bool] | None = None) -> str:
        """As :meth:`pick`, for slots that are known to hold a phrasing that fits."""
        text = self.pick(slot, fits)
        if text is None:
            raise KeyError(f"expected a fitting phrasing in the slot {slot}, got none")
        return text


def agree(text: str, plural: bool) -> str:
    """Resolve ``[singular|plural]``."""
    return _ALTERNATIVE.sub(lambda m: m.group(2 if plural else 1), text)


def fill(text: str, **parts: str) -> str:
    """Replace each ``{name}`` by its part."""
    for name, part in parts.items():
        text = text.replace("{" + name + "}", part)
    return text


def relation_slot(node: Node) -> str:
    """The slot that words the top of a program."""
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
    while node.op not in ("any", "given", "find", "and", "or", "attribute", *PICKS):
        filters.append(node)
        if node.sub is None:
            break
        node = node.sub
    return node, filters[::-1]


class Speaker:
    """Renders one question; ``many`` tells the nodes whose set holds more than one object."""

    def __init__(self, phraser: Phraser, many: Mapping[Node, bool]) -> None:
        self.phraser, self.rng, self.many = phraser, phraser.rng, many
        self.implied: Node | None = None

    def is_many(self, node: Node) -> bool:
        """Whether the set of a part holds several objects."""
        return self.many.get(node, False)

    def the(self, node: Node) -> str:
        """A definite noun phrase: "the red mugs"."""
        if node.op == "or":
            return self._together(node)
        if node.op == "given":
            return self.pronoun(node)
        plural = self.is_many(node)
        if node.op in ("nearest", "farthest") and node.k > 1:
            return self._two(node)
        return f"the {self.bare(node, plural)}"

    def pronoun(self, node: Node) -> str:
        """The objects of an earlier answer: "it", "those"."""
        if self.rng.random() < _PLAIN_PRONOUN:
            return "it" if len(node.ids) == 1 else "them"
        return self.phraser.must("given.one" if len(node.ids) == 1 else "given.many")

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
            if said and relation_slot(part) == "not.set":
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
            case "given":
                return f"{'ones' if plural else 'one'} of {self.pronoun(node)}"
            case "find" if node.words == (EVERYTHING,):
                return self._head(plural)
            case "find" if node.is_use:
                return f"{self._head(plural)} {self.use(node, plural)}"
            case "find":
                return " or ".join(self._noun(word, plural) for word in node.words)
            case "and":
                return self._both(node, plural)
            case "attribute":
                return self._coloured(node, plural)
            case _:
                return self.bare(node, plural)

    def use(self, node: Node, plural: bool) -> str:
        """A property as a modifier after the noun."""
        if node is self.implied:
            return agree(self.phraser.must("implicit"), plural)
        verb = self._verb(node.value, 0.4)
        if verb:
            return fill(self.phraser.must("frame.post"), v=verb.replace(" /", " "))
        return agree(self.phraser.must(f"use.{node.value}"), plural)

    def _verb(
        self, key: str, share: float, fits: Callable[[str], bool] | None = None
    ) -> str | None:
        """What one does with a thing of the property, in a share of the cases."""
        if not USES[key].verbs or self.rng.random() >= share:
            return None
        return self.phraser.pick(f"verb.{key}", fits)

    def ask(self, key: str) -> str:
        """A whole question for a property, without the question mark."""
        verb = self._verb(key, 0.5)
        if verb:
            return fill(self.phraser.must("frame.ask"), v=verb.replace(" /", " "))
        return self.phraser.must(f"ask.{key}")

    def motive(self, key: str) -> str:
        """A sentence that implies a property."""
        verb = self._verb(key, 0.5, lambda t: " /" in t)
        if verb:
            return fill(self.phraser.must("frame.why"), w=verb.partition(" /")[0])
        return self.phraser.must(f"why.{key}")

    def _noun(self, category: str, plural: bool) -> str:
        words = synonyms(category)
        word = words[0] if self.rng.random() < 0.6 else self.rng.choice(words)
        return plural_of(category, word) if plural else word

    def _both(self, node: Node, plural: bool) -> str:
        assert node.sub is not None
        assert node.other is not None
        first = self.use(node.sub, plural)
        slot = f"use.{node.other.value}"
        second = self.phraser.pick(slot, lambda t: t.startswith("that "))
        if second is None or node.other is self.implied:
            second = f"that [is|are] something {self.phraser.must(slot)}"
        return f"{self._head(plural)} {first} and {agree(second, plural)}"

    def _coloured(self, node: Node, plural: bool) -> str:
        assert node.sub is not None
        if node.sub.op in ("any", "find") and not node.sub.is_use and self.rng.random() < 0.15:
            post = agree(self.phraser.must("colour.post"), plural)
            return f"{self._base(node.sub, plural)} {fill(post, colour=node.value)}"
        return f"{node.value} {self._base(node.sub, plural)}"

    def _post(self, node: Node, plural: bool) -> str:
        """A filter as a modifier after the noun."""
        text = self._relation(node, plural)
        return f"that {text[1:]}" if text.startswith("~") else text

    def _relation(self, node: Node, plural: bool) -> str:
        slot = relation_slot(node)
        text = agree(self.phraser.must(slot), plural)
        if slot == "not.colour" and node.other is not None:
            return fill(text, colour=node.other.value)
        return fill(text, of=self.the(node.other)) if node.other is not None else text

    def predicate(self, node: Node, plural: bool) -> str | None:
        """The top of a program as a predicate ("is left of the bowl"), or None if it has none."""
        be = "are" if plural else "is"
        if node.op == "attribute":
            return fill(agree(self.phraser.must("colour.pred"), plural), colour=node.value)
        if node.op in ("nearest", "farthest") and node.other is not None and node.k == 1:
            return _as_verb(fill(self.phraser.must(node.op), of=self.the(node.other)))
        if node.op in PICKS:
            text = self.phraser.pick(relation_slot(node), _is_said_after_head)
            return (
                None
                if text is None
                else fill(_as_verb(text.removeprefix("{h} ")), **_ordinal(node))
            )
        if node.op == "find" and not node.is_use:
            return self._is_a(node, plural)
        if node.op == "and" and node.sub is not None and node.sub.op == "given":
            return self._is_a(node.other, plural) if node.other is not None else None
        if node.op in ("find", "any", "given", "or", "and", "not"):
            return None
        text = self._relation(node, plural)
        return text[1:] if text.startswith("~") else f"{be} {text}"

    def _is_a(self, node: Node, plural: bool) -> str:
        """ "is a mug", "are something to drink from": a noun or property as a predicate."""
        be = "are" if plural else "is"
        if node.is_use:
            text = agree(self.phraser.must(f"use.{node.value}"), plural)
            return f"{be} {'things' if plural else 'something'} {text}"
        nouns = [self._noun(word, plural) for word in node.words]
        named = nouns if plural else [f"{'an' if n[0] in 'aeiou' else 'a'} {n}" for n in nouns]
        return f"{be} {' or '.join(named)}"

    def _choice(self, node: Node) -> str:
        """ "leftmost mug that moved", "mug closest to the bowl"."""
        assert node.sub is not None
        if node.op in ("nearest", "farthest"):
            assert node.other is not None
            text = fill(self.phraser.must(node.op), of=self.the(node.other))
            if node.sub.op == "given":
                return f"one of {self.pronoun(node.sub)} {text}"
            # after another anchor, "closest to …" would read as that anchor's
            if any(
                part.other and relation_slot(part) != "not.colour" for part in _chain(node.sub)[1]
            ):
                return f"one {text} among the {self.bare(node.sub, True)}"
            head = self.bare(node.sub, False)
            return f"{head} that {_as_verb(text)}" if _has_post(node.sub) else f"{head} {text}"
        slot = relation_slot(node)
        if node.sub.op == "given":
            word = self.rng.choice(("among", "of", "out of"))
            return f"{self._one(slot, node)} {word} {self.pronoun(node.sub)}"
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
        return fill(text, h=self.bare(node.sub, False), **_ordinal(node))

    def _one(self, slot: str, node: Node) -> str:
        return fill(self.phraser.must(slot), h="one", **_ordinal(node))

    def _two(self, node: Node) -> str:
        assert node.sub is not None
        assert node.other is not None
        text = self.phraser.must(node.op, lambda t: " than " not in t)
        return f"the two {self.bare(node.sub, True)} {fill(text, of=self.the(node.other))}"

    def _together(self, node: Node) -> str:
        assert node.sub is not None
        assert node.other is not None
        text = self.phraser.must("or")
        return fill(text, a=self.the(node.sub), b=self.the(node.other))


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


def _is_said_after_head(text: str) -> bool:
    """Whether a choice's words can stand as a predicate."""
    return text.startswith("{h} ") and not text.startswith("{h} whose ")


def _as_verb(post: str) -> str:
    """A modifier after a noun as a singular predicate: "with the largest area" -> "has ..."."""
    if post.startswith("that "):
        return post.removeprefix("that ")
    if post.startswith("with "):
        return f"has {post.removeprefix('with ')}"
    if post.startswith("having "):
        return f"has {post.removeprefix('having ')}"
    return f"is {post}"


def _ordinal(node: Node) -> dict[str, str]:
    if node.op != "nth":
        return {}
    return {"ord": _ORDINALS[node.k], "num": _NUMBERS[node.k]}


def _heaviness(node: Node) -> int:
    """Order of modifiers: colours and events, plain anchors, longer anchors, exclusions."""
    if node.other is None or relation_slot(node) == "not.colour":
        return 0
    if node.op == "not":
        return 3
    return 2 if node.other.op != "find" or node.other.is_use else 1
