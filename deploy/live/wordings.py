"""From "tell me when …" to the question that it asks, in words that the reasoner was trained on.

A standing question is a wish ("tell me when someone moves the mug"); the reasoner answers
questions ("Find the mug that moved."). The table here rewrites the first into the second; what
it does not know is asked as it is. What a plan cannot say (how many, how near, at the edge) is a
:class:`Condition` on what the plan gives.

Not covered: languages other than English, several wishes in one ("… and …" between clauses),
times of day, "stops …", "no longer …".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["NEAR_SHARE", "Condition", "Wanted", "rewrite"]

NEAR_SHARE = 0.2
"""Near are centres closer than this part of the picture's diagonal (72 of 256 x 256 pixels)."""
EDGE_SHARE = 0.1
"""At an edge is a box whose side lies within this part of the picture's side."""

Operator = Literal[">", ">=", "<", "<=", "=="]
Unit = Literal["objects", "m", "px", "diagonal"]

_OPERATORS: dict[Operator, str] = {
    ">": "more than",
    ">=": "at least",
    "<": "less than",
    "<=": "at most",
    "==": "exactly",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What has to be true of a plan's result besides.

    A number compared with ``value`` (``unit``: objects, metres, pixels, or the part of the
    picture's diagonal), or with ``edge`` the objects at an edge of the picture.
    """

    operator: Operator = ">="
    value: float = 1.0
    unit: Unit = "objects"
    edge: str = ""

    @property
    def text(self) -> str:
        """The condition in words."""
        if self.edge:
            side = "any edge" if self.edge == "any" else f"the {self.edge} edge"
            return f"within {EDGE_SHARE:.0%} of {side} of the picture"
        if self.unit == "diagonal":
            return f"less than {self.value:.0%} of the picture's diagonal apart"
        return f"{_OPERATORS[self.operator]} {self.value:g} {self.unit}"

    def holds(self, value: float | None) -> bool:
        """Whether a number fulfils it; None, nothing to compute from, never does."""
        if value is None:
            return False
        return {
            ">": value > self.value,
            ">=": value >= self.value,
            "<": value < self.value,
            "<=": value <= self.value,
            "==": value == self.value,
        }[self.operator]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The question to ask, and the condition on its result; ``known``: the table had it."""

    asked: str
    condition: Condition | None = None
    known: bool = True


_PERSON = r"(?:someone|somebody|anyone|anybody|a person|a hand|people|they|he|she|i|you)"
_LEAD = re.compile(
    r"^(?:hey,? |ok,? |now,? )?(?:please,? )?(?:(?:can|could|will|would) you (?:please )?)?(?:i want (?:you )?to |i'd like (?:you )?to )?"
    r"(?:(?:tell|alert|notify|warn|inform|ping|message|call|remind|text|email) (?:me|us)|let (?:me|us) know|be (?:told|alerted|warned|notified)"
    r"|(?:(?:send|give|raise|sound|ring|trigger|make)(?: me| us)? (?:an? )?(?:alarm|alert|event|warning|notification|message|note|signal|bell)))"
    r"(?: (?:please|at once|immediately|right away))?,? "
    r"(?:(?:as soon as|when(?:ever)?|if(?: ever)?|once|any time|every time|each time|the moment)(?: that)? )"
)
# Any few words before "when": what is no question and no request by itself is a wish.
_ANY_LEAD = re.compile(
    r"^(?!(?:which|what|where|who|how|why|when|is|are|was|were|did|does|do|find|show|point|count|list|mark|select|segment|watch|wait|look|keep)\b)"
    r"(?:[\w',-]+ ){1,7}?(?:as soon as|when(?:ever)?|if|once|the moment|(?:each|every|any) time)(?: that)? "
)
_BARE_LEAD = re.compile(
    r"^(?:watch(?: out)?|look(?: out)?|wait|keep watch|keep an eye out) for |^(?:when(?:ever)?|if|once|as soon as) (?=.+)"
)
_TAIL = re.compile(
    r"[,;]? (?:(?:please )?(?:tell|alert|notify|warn|inform) (?:me|us)|let (?:me|us) know|please|thanks|thank you)$"
)
_ARTICLE = re.compile(r"^(?:an?|the|any|some|one of the|another|every|each|my|our|this|that) +")
_THINGS = re.compile(
    r"^(?:something|anything|things?|an? (?:object|thing|item)|objects?|any (?:object|thing|item)|items?)\b *"
)
_NUMBERS = {
    word: number
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
} | {"no": 0, "a": 1, "an": 1}
_NUMBER = r"(\d{1,3}|zero|one|two|three|four|five|six|seven|eight|nine|ten)"
_BOUNDS: dict[str, Operator] = {
    "more than": ">", "over": ">", "at least": ">=", "fewer than": "<", "less than": "<",
    "under": "<", "at most": "<=", "exactly": "==",
}  # fmt: skip

_WAYS = {
    "left": "to the left", "leftwards?": "to the left", "to the left": "to the left",
    "right": "to the right", "rightwards?": "to the right", "to the right": "to the right",
    "up": "up", "upwards?": "up", "down": "down", "downwards?": "down",
    "(?:closer )?(?:to|towards?) (?:the camera|us|me)": "toward the camera", "closer": "toward the camera",
    "forwards?": "toward the camera", "away(?: from (?:the camera|us|me))?": "away from the camera",
    "backwards?": "away from the camera",
}  # fmt: skip
_WAY = "|".join(f"(?:{way})" for way in _WAYS)
_MOVES = (
    r"(?:moves?|is moved|are moved|gets? moved|starts? (?:to move|moving)|is moving|begins? to move|"
    r"changes? (?:its )?(?:place|position)|shifts?|slides?|rolls?|(?:is|are|gets?|was) (?:being )?(?:pushed|shifted|pulled|dragged|touched|nudged|slid)|travels?|drifts?|goes|go|"
    r"is in motion|(?:has|have) (?:been )?(?:moved|shifted)|moved)"
)
_APPEARS = (
    r"(?:appears?|shows? up|comes? in|comes? into (?:view|the picture|the scene)|enters?(?: the \w+)?|arrives?|"
    r"turns? up|pops? up|is (?:added|brought|put down|placed down|put there|new)|is (?:put|placed|set)(?: down)? on the table|joins? the scene|appeared|is brought in)"
)
_GOES = (
    r"(?:disappears?|vanish(?:es)?|leaves?(?: the \w+)?|goes (?:away|missing|out of (?:view|the picture))|"
    r"is (?:gone|taken(?: away)?|removed|stolen|missing|no longer there)|gets? lost|exits?(?: the \w+)?|disappeared|is not there any ?more)"
)
_HIDES = (
    r"(?:(?:goes|go|moves?|rolls?|slides?|hides?|gets?|is|disappears?|vanish(?:es)?) (?:hidden |covered |out of sight )?(?:behind|by)|"
    r"is (?:hidden|covered|occluded|concealed|obscured|blocked) (?:behind|by)|hides? behind|gets? (?:hidden|covered|occluded) (?:behind|by))"
)
_RELATION = (
    r"(?:(?:to the |on the )?(?:left|right) (?:side )?of|left of|right of|above|below|in front of|behind|"
    r"on top of|on|onto|inside(?: of)?|in|into|within|farther from the camera than|closer to the camera than)"
)
_NEAR = r"(?:near(?: to)?|close to|next to|beside|by|at)"
_EDGE = r"the (?:(left|right|top|bottom|upper|lower)(?:-hand)? )?(?:edge|border|rim|side)(?: of the \w+)?"
_COLOURS = "red|orange|yellow|green|blue|purple|white|black"
_PUTS = r"(?:puts?|places?|sets?|lays?|leaves?|moves?|drops?|pushes?|slides?)"


def rewrite(question: str) -> Wanted:
    """The question that a wish asks; one that the table does not know comes back as it is."""
    clean = " ".join(question.split()).strip(" .!")
    text = clean.rstrip("?").strip().casefold()
    bare = _LEAD.sub("", text, count=1)
    if bare == text:
        bare = _ANY_LEAD.sub("", text, count=1)
    if bare == text:
        bare = _BARE_LEAD.sub("", text, count=1)
        if bare == text:
            return Wanted(clean if clean.endswith("?") else question.strip(), known=False)
        if re.match(r"^(?:watch|look|wait|keep)", text):
            it = re.match(rf"^(.+?) and {_LEAD.pattern[1:]}(?:it|they) (.+)$", bare)
            if it is not None:
                return _clause(f"{it[1]} {it[2]}") or Wanted(f"{it[1]} {it[2]}", known=False)
            bare = _TAIL.sub("", bare).strip()
            found = _clause(bare)
            return found or Wanted(f"Find {_the(bare)}.")
    bare = _TAIL.sub("", bare).strip(" ,")
    return _clause(bare) or Wanted(bare or clean, known=False)


def _clause(text: str) -> Wanted | None:
    for reading in (_there_is, _person, _edge, _near, _subject):
        found = reading(text)
        if found is not None:
            return found
    return None


def _there_is(text: str) -> Wanted | None:
    """ "there are more than two mugs", "you see a mug" """
    match = re.match(
        r"^(?:there (?:is|are|'s|comes?)|there's|(?:you|it|the camera) (?:can )?(?:sees?|finds?|spots?|detects?)|i have|we have) (.+)$",
        text,
    )
    bounds = "|".join(_BOUNDS)
    if match is None:  # "more than two mugs are on the table"
        match = re.match(rf"^((?:{bounds}) {_NUMBER} .+?) (?:is|are) (?:.*)$", text)
    if match is None:
        return None
    rest = re.sub(r" (?:left|any ?more)$", "", match[1])
    many = re.match(rf"^(?:({bounds}) )?{_NUMBER} (.+)$", rest)
    if many is not None:
        value = float(_NUMBERS.get(many[2], many[2]))
        operator = _BOUNDS.get(many[1], ">=")
        return Wanted(f"How many {_plural(many[3])} are there?", Condition(operator, value))
    none = re.match(r"^(?:no|not any|none of the) (.+)$", rest)
    if none is not None:
        return Wanted(f"How many {_plural(none[1])} are there?", Condition("==", 0.0))
    beside = re.match(rf"^(.+?) ({_RELATION}) (.+)$", rest)
    if beside is not None:
        rest = f"{beside[1]} {_plain(beside[2])} {beside[3]}"
    return _edge(rest) or _near(rest) or Wanted(f"Find {_the(rest)}.")


def _person(text: str) -> Wanted | None:
    """ "someone puts a cup on the book": what a person does, told by what becomes of the thing"""
    match = re.match(rf"^{_PERSON} (.+)$", text)
    if match is None:
        return None
    deed = match[1]
    placed = re.match(rf"^{_PUTS} (?:down )?(.+?) (?:down )?({_NEAR} .+)$", deed)
    if placed is not None:
        found = _edge(f"{placed[1]} {placed[2]}") or _near(f"{placed[1]} {placed[2]}")
        if found is not None:
            return found
    moved = re.match(rf"^(?:moves?|pushes|slides?|shifts?|pulls?) (.+?)(?: ({_WAY}))?$", deed)
    related = re.match(rf"^{_PUTS} (?:down )?(.+?) ({_RELATION}) (.+)$", deed)
    if related is not None and not (moved is not None and moved[2]):
        if related[3] == "the table":
            return Wanted(f"Find {_the(related[1])} that appeared.")
        return Wanted(f"Find {_the(related[1])} {_plain(related[2])} {_the(related[3])}.")
    if moved is not None:
        return Wanted(f"Find {_the(moved[1])} that moved{_way(moved[2])}.")
    for pattern, event in (
        (r"(?:picks? up|lifts?(?: up)?|raises?) (.+?)", "moved up"),
        (r"picks (.+) up", "moved up"),
        (r"(?:drops?|lowers?) (.+)", "moved down"),
        (r"(?:takes?|removes?|steals?|grabs?|fetch(?:es)?) (.+?)(?: away| out| off the table| from the table)?", "disappeared"),
        (r"(?:puts?|places?|sets?|brings?|adds?|leaves?|lays?) (?:down )?(.+?)(?: down| in| there| here| on the table)?", "appeared"),
        (r"(?:covers?|hides?) (.+?)", "disappeared"),
    ):  # fmt: skip
        found_deed = re.match(rf"^{pattern}$", deed)
        if found_deed is not None:
            return Wanted(f"Find {_the(found_deed[1])} that {event}.")
    return None


def _edge(text: str) -> Wanted | None:
    """ "a cup is near the left edge of the table": the twin knows the picture's edges only"""
    over = re.match(
        rf"^(.+?) (?:is |are )?about to (?:go|fall|roll|slide|drop) (?:over|off) {_EDGE}$", text
    )
    if over is not None:
        text = f"{over[1]} at the {f'{over[2]} ' if over[2] else ''}edge"
    verbs = r"(?: (?:is|are|comes?|gets?|moves?|goes|rolls?|slides?|lies|sits|stands))?"
    close = (
        r"(?: (?:too )?(?:near(?:er)?(?: to)?|close(?:r)?(?: to)?|next to|at|by|to|towards?|on))"
    )
    match = re.match(rf"^(.+?){verbs}{close} {_EDGE}$", text)
    if match is None or re.search(rf"\b{_RELATION} the$", match[1]):
        return None
    side = {"upper": "top", "lower": "bottom", None: "any"}.get(match[2], match[2])
    return Wanted(f"Find {_the(match[1])}.", Condition(edge=side or "any"))


def _near(text: str) -> Wanted | None:
    """ "the ball comes within 20 cm of the bowl", "the ball is near the bowl" """
    verbs = r"(?: (?:is|are|comes?|gets?|moves?|goes|rolls?|slides?|lies|sits|stands|is put|is placed))?"
    exact = re.match(
        rf"^(.+?){verbs} (?:within|(?:closer|nearer|less) than) (\d+(?:\.\d+)?) ?(cm|centimet(?:er|re)s?|m|met(?:er|re)s?|px|pixels?) (?:of|to|from) (.+)$",
        text,
    )
    if exact is not None:
        pixels, cm = exact[3].startswith("p"), exact[3].startswith("c")
        value = float(exact[2]) / (100 if cm else 1)
        asked = f"What is the {'pixel ' if pixels else ''}distance between {_the(exact[1])} and {_the(exact[4])}?"
        return Wanted(asked, Condition("<", value, "px" if pixels else "m"))
    match = re.match(
        rf"^(.+?){verbs} (?:too )?(?:near(?:er)?(?: to)?|close(?:r)? to|next to|beside|touch(?:es|ing)?|reach(?:es)?) (.+)$",
        text,
    )
    if match is None or match[2] in ("us", "me", "the camera"):
        return None
    asked = f"What is the pixel distance between {_the(match[1])} and {_the(match[2])}?"
    return Wanted(asked, Condition("<", NEAR_SHARE, "diagonal"))


def _subject(text: str) -> Wanted | None:
    """ "a mug moves to the left", "the ball goes behind the box", "the mug is on the book" """
    for pattern, post in _VERBS:
        match = re.match(rf"^(.+?) (?:suddenly |slowly |quickly )?{pattern}$", text)
        if match is not None and not match[1].endswith((" is", " are", " that")):
            return Wanted(f"Find {_the(match[1])} that {post(match)}.")
    covers = re.match(
        r"^(.+?) (?:covers?(?: up)?|hides?|blocks?(?: (?:the|our|my) view of)?) (.+)$", text
    )
    if covers is not None:
        return Wanted(f"Find {_the(covers[2])} that was hidden behind {_the(covers[1])}.")
    related = re.match(
        rf"^(.+?) (?:is|are|comes?|gets?|goes|lies|sits|stands|lands?|falls?|ends up|ends|is put|is placed|is set|is moved|moves?|rolls?|slides?) ({_RELATION}) (.+)$",
        text,
    )
    if related is not None:
        return Wanted(f"Find {_the(related[1])} {_plain(related[2])} {_the(related[3])}.")
    colour = re.match(rf"^(.+?) (?:is|are|turns?|becomes?|gets?) ({_COLOURS})$", text)
    if colour is not None:
        return Wanted(f"Find {_the(f'a {colour[2]} {_the(colour[1])[4:]}')}.")
    return None


def _way(text: str | None) -> str:
    if not text:
        return ""
    return next(f" {said}" for way, said in _WAYS.items() if re.fullmatch(way, text))


_VERBS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (_APPEARS, lambda m: "appeared"),
    (rf"{_HIDES} (.+)", lambda m: f"was hidden behind {_the(m[2])}"),
    (_GOES, lambda m: "disappeared"),
    (rf"{_MOVES}(?: ({_WAY}))?", lambda m: f"moved{_way(m[2])}"),
    (r"(?:(?:falls?|tumbles?)(?: down| over)?|drops?|is dropped|goes down|sinks?)", lambda m: "moved down"),
    (r"(?:rises?|goes up|is (?:picked|lifted)(?: up)?|gets? lifted|is raised|gets? picked up)", lambda m: "moved up"),
    (r"(?:comes? (?:closer|nearer)(?: to (?:us|me|the camera))?|approaches(?: (?:us|me|the camera))?|gets? (?:closer|nearer)(?: to (?:us|me|the camera))?)", lambda m: "moved toward the camera"),
)  # fmt: skip


def _the(phrase: str) -> str:
    """A noun phrase with "the": "a red mug" -> "the red mug", "something red" -> "the red object"."""
    phrase = phrase.strip(" ,")
    things = _THINGS.match(phrase)
    if things is not None:
        rest = phrase[things.end() :].removeprefix("else").strip()
        if re.match(r"^(?:to|for|with)\b", rest):  # "something to drink from"
            return f"the thing {rest}"
        if rest and not re.match(r"^(?:that|on|in|behind|left|right|near|which)\b", rest):
            return f"the {rest} object"
        return f"the object {rest}".strip()
    return f"the {_ARTICLE.sub('', phrase)}"


_PLAIN = {
    "onto": "on top of", "on": "on top of", "into": "inside", "in": "inside",
    "in front of": "that stands in front of",  # "in front of" alone is at times read as behind
}  # fmt: skip


def _plain(relation: str) -> str:
    return _PLAIN.get(relation, relation)


def _plural(phrase: str) -> str:
    """A bare plural: "mug on the table" -> "mugs"; words in -s stay."""
    phrase = re.sub(r" (?:on the table|in view|in the picture|here|there|visible)$", "", phrase)
    phrase = _ARTICLE.sub("", phrase)
    return phrase if phrase.endswith("s") else f"{phrase}s"
