"""Cards: curves, comparisons, galleries and pages; the shipped cards are whole and current."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from PIL import Image

from edgetwin.distill.cards import charts
from edgetwin.distill.cards.build import GRAPHS, Request, _curve_file, make_cards
from edgetwin.distill.cards.canvas import MAX_BYTES, figure, save, save_array
from edgetwin.distill.cards.curves import (
    PANELS,
    compact,
    compare,
    draw_comparison,
    draw_curve,
    read_curve,
)
from edgetwin.distill.cards.pages import BEGIN, END, Picture, put_section, rehash, wrong_table
from edgetwin.distill.cards.questions import plan_text
from edgetwin.distill.cards.store import Store, read_tables, table_of
from edgetwin.distill.cards.worst import Case, Worst, crop_around
from edgetwin.distill.evaluate.report import Table, write_json
from edgetwin.perception.bundle import embedded_dir, load_bundle
from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.twin.errors import InputError, ModelError
from edgetwin.twin.files import sha256_of

from ..test_cli import embedded

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "docs" / "cards"
SHIPPED = [embedded_dir() / f"{net}.card.md" for net in ("detector", "segmenter", "depth")]
SHIPPED.append(EMBEDDED / "card.md")


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))


def test_a_curve_is_read_without_its_half_written_end(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    path.write_text('{"visits": 8, "box": 0.512345, "note": "x"}\n{"visits": 16, "bo')
    rows = read_curve(path)
    assert rows == [{"visits": 8, "box": 0.512345}]
    assert compact("segmenter", [*rows, {"loss": 2.0}]) == [{"visits": 8, "box": 0.5123}, {}]
    path.write_text("nothing\n")
    with pytest.raises(InputError, match="lines of JSON with scores"):
        read_curve(path)
    with pytest.raises(InputError, match="train first"):
        read_curve(tmp_path / "none.jsonl")


def test_a_long_curve_keeps_its_ends() -> None:
    rows = [{"visits": float(k), "recall": 0.5} for k in range(1000)]
    kept = compact("detector", rows)
    assert len(kept) == 200
    assert (kept[0]["visits"], kept[-1]["visits"]) == (0.0, 999.0)


def test_runs_are_compared_at_equal_visits() -> None:
    """Two straight lines over different ranges meet on the range that both have."""
    one = [{"visits": v, "objects_10": v / 1000} for v in (0.0, 400.0, 800.0)]
    two = [{"visits": v, "objects_10": 0.1 + v / 1000} for v in (200.0, 600.0)]
    found = compare("depth", [one, two], points=5)
    assert found["visits"] == [200, 300, 400, 500, 600]
    assert found["objects_10"][0] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert found["objects_10"][1] == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7])


def test_runs_too_short_for_a_range_are_compared_at_their_ends() -> None:
    short = [[{"visits": 100.0 + k, "objects_10": 0.5 + k / 10}] for k in range(3)]
    found = compare("depth", short)
    assert found == {"visits": [100], "objects_10": [[0.5], [0.6], [0.7]]}
    only_loss = [[{"visits": 10.0, "loss": 2.0}], [{"visits": 10.0, "loss": 3.0}]]
    assert compare("reasoner", only_loss) == {"visits": [10], "loss": [[2.0], [3.0]]}
    drawn = draw_comparison({"depth": found, "reasoner": compare("reasoner", only_loss)})
    texts = [t.get_text() for axes in drawn.axes for t in axes.get_legend().get_texts()]
    assert texts == ["object pixels within 10 %: 0.600 ± 0.100", "training loss: 2.500 ± 0.707"]
    with pytest.raises(InputError, match="two runs"):
        draw_comparison({"depth": compare("depth", [[{"visits": 1.0}], []])})


@pytest.mark.parametrize("net", PANELS)
def test_kept_curves_draw_every_network_small_and_labelled(net: str, tmp_path: Path) -> None:
    drawn = draw_curve(net, Store(CARDS / "data").curve(net, None))
    assert drawn is not None
    for axes in drawn.axes:
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        assert axes.get_legend().get_texts()
    assert save(drawn, tmp_path / "curve.png") <= MAX_BYTES
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.mode == "P"


def test_a_curve_of_one_point_is_not_drawn() -> None:
    assert draw_curve("depth", [{"visits": 1.0, "objects_10": 0.5}]) is None


def test_even_noise_is_saved_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    assert save_array(noise, tmp_path / "noise.png", 20_000) <= 20_000
    flat = np.full((50, 60, 3), 7, np.uint8)
    save_array(flat, tmp_path / "flat.png")
    with Image.open(tmp_path / "flat.png") as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), flat)


def case(noun: str, caption: str = "") -> Case:
    return Case("kind", noun, caption, np.zeros((4, 4, 3), np.uint8))


def test_the_worst_are_kept_bounded_and_varied() -> None:
    worst = Worst(keep=5)
    built: list[int] = []

    def build(number: int) -> Case:
        built.append(number)
        return case("mug" if number > 2 else "pan", str(number))

    for number in (5, 1, 6, 2, 7, 0, 4):
        worst.add("kind", number, lambda n=number: build(n))
    assert 0 not in built  # better than all that are kept: never drawn
    assert [c.caption for c in worst.take("kind", 3)] == ["7", "6", "2"]  # two mugs, then a pan
    assert [c.caption for c in worst.take("kind", 9, per_noun=9)] == ["7", "6", "5", "4", "2"]
    assert worst.take("other", 3) == []


@pytest.mark.parametrize("box", [(0, 0, 9, 9), (200, 240, 256, 256), (10, 10, 250, 60)])
def test_crops_hold_their_box_and_stay_inside(box: tuple[float, ...]) -> None:
    rows, columns = crop_around(box, (256, 256))
    assert 0 <= rows.start <= box[1] <= box[3] <= rows.stop <= 256
    assert 0 <= columns.start <= box[0] <= box[2] <= columns.stop <= 256
    assert rows.stop - rows.start == columns.stop - columns.start >= 72


def test_charts_show_every_row_worst_first() -> None:
    table = Table("Depth by category, here", ("noun", "pixels", "within 10 %"),
                  (("mug", 9, 0.9), ("pan", 9, 0.5), ("box", 9, None)))  # fmt: skip
    axes = charts.by_noun(table, ("within 10 %", "lacking"), "share").axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["pan  0.500", "mug  0.900"]
    groups = Table("Reasoner on x, y", ("questions", "count", "exact ids"),
                   (("level 1", 8, 0.75), ("all", 9, 0.5)))  # fmt: skip
    axes = charts.bars_of_groups([groups], "exact ids").axes[0]
    assert [p.get_width() for p in axes.patches] == [0.75, 0.5]
    confused = Table("Detector: confusion, x", ("true", "mug", "pan", "missed"),
                     (("mug", 3, 1, 2), ("pan", 0, 4, 0), ("extra", 0, 5, 0)))  # fmt: skip
    axes = charts.confusion(confused).axes[0]
    assert sorted(t.get_text() for t in axes.texts) == ["1", "2", "3", "4", "5"]
    errors = np.full((4, 4), 0.2, np.float32)
    cases = [Case("depth", "mug", "c", np.zeros((8, 8, 3), np.uint8), errors)] * 2
    assert len(charts.gallery(cases).axes) == 2 * 6 + 1  # crops, maps below, colour bar


def test_tables_come_back_from_what_eval_writes(tmp_path: Path) -> None:
    table = Table("Pixels to masks, mean J, val", ("questions", "count", "all"),
                  (("level 1", 3, 0.5),), ("note",))  # fmt: skip
    write_json([table], tmp_path / "eval.json", split="val")
    (back,) = read_tables(tmp_path / "eval.json")
    assert back == table
    assert table_of([back], "Pixels to masks, mean J") is back
    assert table_of([back], "Depth") is None
    (tmp_path / "eval.json").write_text("[]")
    with pytest.raises(InputError, match="eval twinbench -o"):
        read_tables(tmp_path / "eval.json")


def test_a_section_replaces_itself_and_nothing_else(tmp_path: Path) -> None:
    card, folder = tmp_path / "weights" / "a.card.md", tmp_path / "docs" / "cards"
    card.parent.mkdir()
    card.write_text("# A\n\ntext\n")
    put_section(card, [Picture("a.png", "One", "Old.")], folder)
    put_section(card, [Picture("b.png", "Two", "New.")], folder)
    text = card.read_text()
    assert text.startswith("# A\n\ntext\n\n" + BEGIN)
    assert text.count(BEGIN) == text.count(END) == 1
    assert "../docs/cards/b.png" in text
    assert "a.png" not in text
    card.write_text(f"# A\n{END}\n{BEGIN}\n")
    with pytest.raises(InputError, match="mend the card"):
        put_section(card, [], folder)
    with pytest.raises(InputError, match="export the network first"):
        put_section(tmp_path / "none.md", [], folder)


@embedded
def test_a_changed_card_keeps_the_bundle_whole_but_hides_no_damage(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(embedded_dir(), weights)
    before = json.loads((weights / "manifest.json").read_text())
    with (weights / "depth.card.md").open("a") as file:
        file.write("more\n")
    rehash(weights, "depth", "depth.card.md")
    load_bundle(weights).verify()
    after = json.loads((weights / "manifest.json").read_text())
    assert before["networks"]["depth"]["files"].pop("depth.card.md") != after["networks"]["depth"][
        "files"
    ].pop("depth.card.md")
    assert before == after
    with (weights / "depth.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError):
        rehash(weights, "depth", "depth.card.md")


def test_wrong_answers_cannot_break_out_of_their_table() -> None:
    row = {"kind": "1 spatial", "question": "a | b\n<img> [x](y)", "its plan": ""}
    text = wrong_table([row], 7)
    line = text.splitlines()[-1]
    assert line.replace("\\|", "").count("|") == 4
    assert "\\<img\\> \\[x\\]" in line
    assert "Of 7" in text
    assert "None of 7" in wrong_table([], 7)
    plan = [{"tool": "find", "words": ["mug", "glass"]}, {"tool": "not", "of": "$1"}]
    assert plan_text(plan) == "find(mug / glass) · not($1)"


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\['brain'\]"):
        make_cards(Request(curves={"brain": tmp_path}))
    with pytest.raises(InputError, match="at least one still"):
        make_cards(Request(stills=0))
    with pytest.raises(InputError, match="leave out --redraw"):
        make_cards(Request(out=tmp_path, redraw=True))


def test_the_newest_curve_of_a_net_is_taken_and_named(tmp_path: Path) -> None:
    told: list[str] = []
    for age, folder in enumerate(("depth2", "depth", "depth_old")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "curve.jsonl").touch()
        os.utime(tmp_path / folder / "curve.jsonl", (1000 - age, 1000 - age))
    request = Request(work=tmp_path)
    assert _curve_file(request, "depth", told.append) == tmp_path / "depth2" / "curve.jsonl"
    assert "depth2" in told[0]
    assert _curve_file(request, "detector", told.append) is None
    named = replace(request, curves={"depth": tmp_path / "x"})
    assert _curve_file(named, "depth", told.append) == tmp_path / "x"


def test_pictures_have_no_software_or_date() -> None:
    buffer = io.BytesIO()
    figure().savefig(buffer, format="png", metadata={"Software": ""})
    assert b"Matplotlib" not in buffer.getvalue()


@embedded
@pytest.mark.parametrize("card", SHIPPED, ids=lambda path: path.name)
def test_shipped_cards_show_pictures_that_exist(card: Path) -> None:
    text = card.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1, "run `edgetwin distill cards`"
    found = links(card)
    assert len([name for name in found if name.endswith(".png")]) >= 2
    for link in found:
        assert (card.parent / link).is_file(), link


def test_the_page_shows_every_picture_and_all_are_small() -> None:
    shown = {link for link in links(CARDS / "README.md") if link.endswith(".png")}
    there = {path.name: path.stat().st_size for path in CARDS.glob("*.png")}
    assert shown == set(there)
    assert max(there.values()) <= MAX_BYTES
    assert sum(there.values()) <= 1_000_000
    assert sum(path.stat().st_size for path in (CARDS / "data").iterdir()) <= 200_000
    for link in links(CARDS / "README.md"):
        assert (CARDS / link).exists(), link


@embedded
def test_the_cards_belong_to_the_shipped_weights() -> None:
    measured = json.loads((CARDS / "data" / "measured.json").read_text(encoding="utf-8"))
    folders = {net: EMBEDDED if net == "reasoner" else embedded_dir() for net in GRAPHS}
    shipped = {net: sha256_of(folders[net] / name) for net, name in GRAPHS.items()}
    assert measured["weights"] == shipped, "weights were replaced: run `edgetwin distill cards`"


@embedded
def test_all_cards_from_nothing_but_weights(tmp_path: Path) -> None:
    """Four stills and one world, rendered here; no training runs, no kept curves."""
    pytest.importorskip("mujoco")
    weights, reasoner = tmp_path / "perception", tmp_path / "reasoner"
    shutil.copytree(embedded_dir(), weights)
    shutil.copytree(EMBEDDED, reasoner)
    told: list[str] = []
    request = Request(
        out=tmp_path / "docs" / "cards",
        data=tmp_path / "data",
        work=tmp_path / "work",
        cache=tmp_path / "cache",
        stills=4,
        worlds=1,
        perception=weights,
        reasoner=reasoner,
    )
    written = make_cards(request, told.append)
    assert all(path.is_file() for path in written)
    names = {path.name for path in written}
    assert {"detector_confusion.png", "depth_categories.png", "reasoner_levels.png"} <= names
    assert not [name for name in names if name.endswith("_curve.png")]
    load_bundle(weights).verify()
    tables = json.loads((request.out / "data" / "measured.json").read_text())["own"]
    confusion = next(t for t in tables if t["title"].startswith("Detector: confusion"))
    asked = sum(sum(row[1:]) for row in confusion["rows"][:-1])
    lines = (request.data / "cell/val/objects.jsonl").read_text().splitlines()
    stills = [json.loads(line) for line in lines]
    assert asked == sum(o["area"] >= 64 for record in stills for o in record["objects"])
    for link in links(weights / "depth.card.md"):
        assert (weights / link).is_file(), link
    assert told[-1].startswith(f"{len(written)} files")
    _draw_again(request, written)


def _draw_again(request: Request, before: list[Path]) -> None:
    """Without a network: the same files, and with curves and seeds some more."""
    pixels = {path.name: path.read_bytes() for path in before if path.suffix == ".png"}
    for seed in range(2):
        place = request.data / f"seed{seed}" / "depth"
        place.mkdir(parents=True)
        rows = [{"visits": 8 * k, "objects_10": 0.5 + (k + seed) / 10} for k in range(3)]
        (place / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = [request.data / f"seed{seed}" for seed in range(2)]
    again = replace(request, redraw=True, seeds=folders, work=folders[0])
    after = make_cards(again, print)
    assert {p.name for p in after} - {p.name for p in before} == {"seeds.png", "depth_curve.png"}
    for name, data in pixels.items():
        assert (request.out / name).read_bytes() == data
    with pytest.raises(InputError, match=r"two folders or more"):
        make_cards(replace(again, seeds=folders[:1]), print)
