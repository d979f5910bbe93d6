"""A twin's text told as a prose caption: what is there, not where, how far or when.

The stand-in, in ablations, for direct visual tokens (FastReasonSeg, table 3, "w/o DT"): a caption
is what a captioning network says of a picture. Per object the id (an answer has to name
something), the colour and the noun stay; coordinates, depth and times of events go. That something
moved, came, went or was hidden stays, since a caption says so.

::

    3 blue ball x78 y58 z88 moved right toward 1.2-2.4
    time 0.0-4.0

    The scene shows a blue ball (3) that moved right toward.

Not covered: real pictures read by a vision encoder, and so whatever such an encoder would see
besides: places by eye and distances roughly.
"""

from __future__ import annotations

import re

__all__ = ["caption"]

_OBJECT = re.compile(r"^(\d+) (.+?) x\d+ ?y\d+(?: ?w\d+ ?h\d+)?(?: ?[zr]\d+)?((?: .*)?)$")
_SPAN = re.compile(r" -?\d+(?:\.\d+)?(?:-\d+(?:\.\d+)?)?(?= |$)")
_DROPPED = ("frame ", "time ", "earlier ")


def caption(text: str) -> str:
    """The text (system line, twin, words looked for) with its twin told as a caption.

    Lines that are no object (the system's, ``looked for``) stay as they are; those of the frame's
    size, of the time and of earlier moments are left out. Objects are told in the order of their ids, so that the order
    of the lines, which tells still from moving ones, says nothing.
    """
    before: list[str] = []
    after: list[str] = []
    told: list[tuple[int, str]] = []
    for line in text.splitlines():
        found = _OBJECT.match(line)
        if found is not None:
            told.append((int(found[1]), _phrase(found[1], found[2], found[3])))
        elif not line.startswith(_DROPPED):
            (after if told else before).append(line)
    phrases = [phrase for _, phrase in sorted(told)]
    lines = [*before, _sentence(phrases), *after] if phrases else [*before, *after]
    return "".join(line + "\n" for line in lines)


def _phrase(number: str, name: str, events: str) -> str:
    happened = _SPAN.sub(",", events).strip(" ,")
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return f"{article} {name} ({number})" + (f" that {happened}" if happened else "")


def _sentence(phrases: list[str]) -> str:
    if len(phrases) == 1:
        return f"The scene shows {phrases[0]}."
    return f"The scene shows {', '.join(phrases[:-1])} and {phrases[-1]}."
