"""All cards at once: measure the shipped networks, draw every picture, write the pages.

:func:`make_cards` is the command behind ``edgetwin distill cards``. It replaces every picture
it knows in the cards' folder, so nothing of earlier weights stays. What pictures are drawn
from is kept beside them as JSON: curves, seeds and the world's figures are drawn again where
no new ones are given, and with ``redraw`` everything is, without running a network.

Not covered: the sets of the model hub, the wild tier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...perception.bundle import embedded_dir, load_bundle
from ...reasoner.bundle import EMBEDDED
from ...reasoner.models.ort_genai import OrtGenAiModel
from ...reasoner.rollout import Reasoner
from ...twin.errors import InputError
from ...twin.files import sha256_of
from ..evaluate.reasoner import reasoner_tables
from ..sim.shards import Shards, open_images, render_images
from .album import Album
from .curves import PANELS, compare, read_curve
from .measure import measure
from .pages import put_section, rehash, section, wrong_table
from .questions import ask, wrong_answers
from .store import Store, read_tables, tables_from
from .worst import Worst

__all__ = ["GRAPHS", "Request", "make_cards"]

GRAPHS = {
    "detector": "detector_image.onnx",
    "segmenter": "segmenter_encoder.onnx",
    "depth": "depth.onnx",
    "reasoner": "model.onnx",
}
"""The file by whose hash a card knows its weights."""
_VAL_SEED = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What to make cards from.

    ``out`` is the cards' folder; ``data`` holds rendered pictures (``cell/val``), ``work``
    training runs with curves, of which the newest ``<net>*/curve.jsonl`` is taken; ``curves``
    names other files by net; ``tables`` is a JSON file of ``edgetwin eval twinbench``, whose
    tables are drawn in place of own ones; ``seeds`` are folders of runs to compare. ``stills``
    and ``worlds`` bound what is measured; with ``redraw`` nothing is.
    """

    out: Path = Path("docs/cards")
    data: Path = Path("runs/data")
    work: Path = Path("runs/embedded")
    cache: Path = Path("runs/twinbench")
    curves: Mapping[str, Path] = field(default_factory=dict)
    tables: Path | None = None
    seeds: Sequence[Path] = ()
    stills: int = 600
    worlds: int = 40
    redraw: bool = False
    perception: Path = field(default_factory=embedded_dir)
    reasoner: Path = EMBEDDED


def make_cards(request: Request, tell: Callable[[str], None] = print) -> list[Path]:
    """Draw everything and write the pages; returns the files written.

    Raises:
        InputError: for unknown nets, files that are no curves or tables, cards that lack, or
            ``redraw`` where nothing was kept.
        ModelError: if the networks cannot be loaded.
        MissingExtraError: if validation pictures must be rendered and MuJoCo is missing.
    """
    unknown = set(request.curves) - set(PANELS)
    if unknown or request.stills < 1 or request.worlds < 1:
        raise InputError(
            f"expected curves of {', '.join(PANELS)} and at least one still and world, got "
            f"{sorted(unknown)}, {request.stills} and {request.worlds}"
        )
    store, album = Store(request.out / "data"), Album(request.out)
    facts, worst, stills = _facts(request, store, tell)
    given, own = tables_from(facts["given"]), tables_from(facts["own"])
    album.together(given)
    album.seeds(_seeds(request, store))
    for net in PANELS:
        album.curve(net, store.curve(net, _curve_file(request, net, tell)))
        if net == "reasoner":
            album.language(given, own)
        else:
            album.network(net, given, own)
            album.failures(net, worst, facts["stills"])
    album.world(stills, store.get("world"))
    kilobytes = album.kilobytes
    written = [*album.written, *_pages(request, album, facts)]
    tell(f"{len(written)} files, pictures {kilobytes:.0f} kB, in {request.out}")
    return written


def _facts(
    request: Request, store: Store, tell: Callable[[str], None]
) -> tuple[dict[str, Any], Worst | None, Shards | None]:
    """What is drawn: measured now, or kept from before; with the worst cases and the stills."""
    kept = store.get("measured")
    given = read_tables(request.tables) if request.tables else []
    if request.redraw:
        if kept is None:
            raise InputError(f"expected figures in {store.folder}, got none: leave out --redraw")
        if given:
            kept["given"] = [asdict(table) for table in given]
            store.put("measured", kept)
        return kept, None, None
    stills = _stills(request, tell)
    count = min(request.stills, len(stills))
    tell(f"networks on {count} validation pictures")
    measured = measure(load_bundle(request.perception, device="cpu"), stills, count)
    tell(f"reasoner on {request.worlds} validation worlds")
    reasoner = Reasoner(OrtGenAiModel(str(request.reasoner)))
    asked = ask(reasoner, request.worlds, request.cache)
    own = measured.tables(f"{measured.pictures} validation stills, cell tier")
    own += reasoner_tables([one for one, _ in asked], "TwinBench val, cell tier")
    facts = {
        "weights": _weights(request),
        "stills": measured.pictures,
        "asked": len(asked),
        "given": [asdict(table) for table in given],
        "own": [asdict(table) for table in own],
        "wrong": wrong_answers(asked),
    }
    store.put("measured", facts)
    return facts, measured.worst, stills


def _stills(request: Request, tell: Callable[[str], None]) -> Shards:
    """The rendered validation stills; rendered now if they are not there."""
    folder = request.data / "cell" / "val"
    if not (folder / "spec.json").is_file():
        tell(f"rendering {request.stills} validation pictures into {folder}")
        render_images(folder, range(_VAL_SEED, _VAL_SEED + request.stills))
    return open_images(folder)


def _weights(request: Request) -> dict[str, str]:
    folders = {n: request.reasoner if n == "reasoner" else request.perception for n in GRAPHS}
    return {net: sha256_of(folders[net] / name) for net, name in GRAPHS.items()}


def _curve_file(request: Request, net: str, tell: Callable[[str], None]) -> Path | None:
    """The named curve, or the newest of the work folder; None leaves the kept one."""
    if net in request.curves:
        return request.curves[net]
    found = sorted(request.work.glob(f"{net}*/curve.jsonl"), key=lambda p: p.stat().st_mtime)
    if len(found) > 1:
        tell(f"{net}: the newest of {len(found)} curves, {found[-1]}; --curve names another")
    return found[-1] if found else None


def _seeds(request: Request, store: Store) -> Mapping[str, Any] | None:
    """Compare the runs of several folders, or return the comparison that was kept."""
    if request.seeds:
        found: dict[str, Any] = {}
        for net in PANELS:
            paths = [folder / net / "curve.jsonl" for folder in request.seeds]
            if len(paths) >= 2 and all(path.is_file() for path in paths):
                found[net] = compare(net, [read_curve(path) for path in paths])
        found = {net: compared for net, compared in found.items() if compared}
        if not found:
            raise InputError(
                "expected NET/curve.jsonl of one network in each of two folders or more, got "
                f"none in {', '.join(map(str, request.seeds))}"
            )
        store.put("seeds", found)
    kept: Mapping[str, Any] | None = store.get("seeds")
    return kept


def _pages(request: Request, album: Album, facts: Mapping[str, Any]) -> list[Path]:
    """Write the cards' own page, and a section into every card beside the weights."""
    weights, titles = facts["weights"], {"all": "Together", "world": "The world they learn from"}
    parts = [_HEAD]
    for net, pictures in album.pictures.items():
        if pictures:
            parts.append(f"## {titles.get(net, net.capitalize())}")
            if net in weights:
                parts.append(f"`{GRAPHS[net]}` {weights[net][:12]}")
            parts.append(section(pictures, "", level=3))
            if net == "reasoner":
                parts.append(wrong_table(facts["wrong"], facts["asked"], level=3))
    page = request.out / "README.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    written = [page]
    for net in PANELS:
        speaks = net == "reasoner"
        name = "card.md" if speaks else f"{net}.card.md"
        folder = request.reasoner if speaks else request.perception
        put_section(folder / name, album.pictures[net], request.out)
        if not speaks:
            rehash(folder, net, name)
        written.append(folder / name)
    return written


_HEAD = """# The embedded networks in pictures

Written by `edgetwin distill cards`; [how to read and remake them](../training.md). Measured on
validation worlds with the code that runs on the device; nothing here comes from the test split
unless a caption says so."""
