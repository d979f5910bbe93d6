"""Markdown of the cards: a section of pictures per network, put beside the weights and on a page.

A section stands between ``<!-- pictures:begin -->`` and ``<!-- pictures:end -->`` at the end
of a network's card; what an exporter wrote above it is never touched.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...perception.bundle import load_bundle, write_network_entry
from ...twin.errors import InputError

__all__ = ["BEGIN", "END", "Picture", "put_section", "rehash", "section", "wrong_table"]

BEGIN, END = "<!-- pictures:begin -->", "<!-- pictures:end -->"


@dataclass(frozen=True, slots=True)
class Picture:
    """A file of the cards' folder, what it is (a few words) and how to read it."""

    name: str
    title: str
    caption: str


def section(pictures: Sequence[Picture], folder: str, level: int = 2) -> str:
    """Return Markdown that shows pictures; ``folder`` is the way to them, "" or ending in "/"."""
    head = "#" * level
    blocks = [
        f"{head} {p.title}\n\n![{p.title}: {p.name[:-4]}]({folder}{p.name})\n\n{p.caption}"
        for p in pictures
    ]
    return "\n\n".join(blocks)


def put_section(card: Path, pictures: Sequence[Picture], folder: Path, more: str = "") -> None:
    """Write the section into a card, in place of an earlier one.

    Links are relative from the card to ``folder``. ``more`` is Markdown below the pictures.

    Raises:
        InputError: if the card does not exist or its markers are broken.
    """
    try:
        text = card.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"expected a model card at {card}, got: {error}; export the network first"
        ) from error
    counts = (text.count(BEGIN), text.count(END))
    if counts not in ((0, 0), (1, 1)) or (counts[0] and text.index(BEGIN) > text.index(END)):
        raise InputError(f"expected {BEGIN} before {END} at most once in {card}: mend the card")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2].strip()
    way = os.path.relpath(folder, card.parent).replace(os.sep, "/") + "/"
    body = f"{section(pictures, way)}\n\n{more}".strip()
    whole = f"{head.rstrip()}\n\n{BEGIN}\n\n{body}\n\n{END}\n"
    beside = card.with_name(f".{card.name}.new")
    beside.write_text(whole + (f"\n{tail}\n" if tail else ""), encoding="utf-8")
    beside.replace(card)


def rehash(weights: Path, net: str, card: str) -> None:
    """Take a changed card's hash into the bundle's manifest; every other file must be as listed.

    Raises:
        ModelError: if another file of the network differs from the manifest.
    """
    bundle = load_bundle(weights, device="cpu")
    entry = bundle.network(net)
    for name in entry.files:
        if name != card:
            bundle.path(name)
    write_network_entry(
        weights,
        net,
        list(entry.files),
        entry.config,
        set_name=bundle.name,
        fov_deg=bundle.fov_deg,
        source=entry.source,
    )


def wrong_table(wrong: Sequence[Mapping[str, str]], asked: int, level: int = 2) -> str:
    """Wrong answers as a Markdown table."""
    head = "#" * level
    if not wrong:
        return f"{head} Wrong answers\n\nNone of {asked} questions."
    columns = list(wrong[0])
    lines = [
        f"{head} Wrong answers",
        "",
        f"Of {asked} validation questions on true twins, at most two per level and category.",
        "",
        "| " + " | ".join(["level", *columns[1:]]) + " |",
        "|" + "---|" * len(columns),
    ]
    lines += ["| " + " | ".join(_cell(row[c]) for c in columns) + " |" for row in wrong]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that cannot break out of a table's cell."""
    plain = " ".join(text.split())
    return "".join(f"\\{c}" if c in r"\|<>[]*_`" else c for c in plain) or "–"
