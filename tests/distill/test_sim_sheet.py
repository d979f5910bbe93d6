"""Contact sheets show what is true; the statistics count what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgetwin.distill.evaluate.report import Table
from edgetwin.distill.sim.shards import Shards
from edgetwin.distill.sim.sheet import category_sheet, contact_sheet, spread, write_sheet
from edgetwin.distill.sim.statistics import measure, tables
from edgetwin.twin.errors import InputError, OutputError

WORDS = (("red", "ball"), ("blue", "box"), ("green", "plate"))


def stills(count: int, first_seed: int = 0) -> Shards:
    """Pictures with a 40-pixel square each, one more square in every second picture."""
    rgb = np.full((count, 256, 256, 3), 90, np.uint8)
    ids = np.zeros((count, 256, 256), np.uint8)
    records: list[dict[str, Any]] = []
    for i in range(count):
        objects = []
        for k in range(1 + i % 2):
            color, category = WORDS[(i + k) % 3]
            x0, y0, side = 30 + 90 * k, 60, 40 - 20 * k
            ids[i, y0 : y0 + side, x0 : x0 + side] = k + 1
            rgb[i, y0 : y0 + side, x0 : x0 + side] = (200, 10, 10 + i)
            box = [x0, y0, x0 + side, y0 + side]
            objects.append(
                {"id": k + 1, "category": category, "color": color, "box_xyxy": box,
                 "area": side * side, "depth_m": 0.8, "lift_m": 0.2 * (i > 3 and k == 0)}
            )  # fmt: skip
        records.append({"seed": first_seed + i, "tier": "cell", "objects": objects})
    return Shards(rgb, ids, np.ones(ids.shape, np.float16), records)


def rows_of(found: list[Table], beginning: str) -> dict[Any, tuple[Any, ...]]:
    table = next(t for t in found if t.title.startswith(beginning))
    return {row[0]: row[1:] for row in table.rows}


def test_a_sheet_has_pictures_above_masks_of_the_boxes_hues() -> None:
    shards = stills(4)
    sheet = contact_sheet(shards, 4, 2, scale=1.0)
    assert sheet.shape == (2 * (2 * 256 + 4) + 8, 2 * 256 + 4, 3)
    assert (sheet[80, 50] == shards.rgb[0, 80, 50]).all()  # inside the object: as rendered
    edge = sheet[60 + 20, 30]  # the box's left side
    mask = sheet[256 + 4 + 80, 50]
    assert (edge == mask).all()
    assert (sheet[256 + 4 + 200, 200] == 40).all()  # no object there
    second = sheet[80, 256 + 4 + 50]
    assert (second == shards.rgb[1, 80, 50]).all()


def test_crops_stand_in_the_row_of_their_category(tmp_path: Path) -> None:
    shards = stills(6)
    sheet = category_sheet(shards, "cell", columns=2, window=64, enlarge=1)
    assert sheet.shape == (16 * 64, 92 + 2 * 64, 3)
    ball, mug = 10 * 64, 0  # rows of the catalogue
    middle = sheet[ball + 32, 92 + 32]
    assert middle[0] == 200
    assert (sheet[mug + 32, 92 + 32] == 250).all()  # no mug was rendered
    halves = category_sheet(shards, "cell", columns=2, window=64, enlarge=1, blocks=2)
    assert halves.shape == (8 * 64, 2 * (92 + 2 * 64), 3)
    write_sheet(halves, tmp_path / "new" / "sheet.png")
    back = cv2.imread(str(tmp_path / "new" / "sheet.png"))[..., ::-1]
    assert np.array_equal(back, halves)


def test_sheets_of_nothing_and_too_much_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 to 400"):
        contact_sheet(stills(1), 401)
    with pytest.raises(InputError, match="got 0 pictures"):
        contact_sheet(stills(0))
    with pytest.raises(InputError, match="objects to crop"):
        category_sheet(stills(0), "cell")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_sheet(contact_sheet(stills(1), 1), tmp_path / "file" / "sheet.png")


def test_spread_takes_both_ends_and_no_row_twice() -> None:
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 10) == [0, 1, 2]
    assert spread(1, 5) == [0]


def test_counts_are_those_of_the_records() -> None:
    found = tables(measure(stills(6), redraw=0, scripts=0))
    nouns = rows_of(found, "By category")
    assert nouns["ball"][0] + nouns["box"][0] + nouns["plate"][0] == 9
    assert nouns["mug"][:2] == (0, 0.0)
    assert nouns["ball"][6:] == (None, None)  # nothing was drawn again
    assert rows_of(found, "Colours")["red"][0] == nouns["ball"][0]
    sizes = rows_of(found, "Longest side")
    assert sizes["16 to 23"][0] == 3
    assert sizes["36 to 47"][0] == 6
    occlusion = next(t for t in found if t.title.startswith("Visible share"))
    assert occlusion.notes == ("Lifted or dropping: 2 of 9 objects in all pictures.",)
    assert rows_of(found, "Visible objects") == {1: (3, 0.5), 2: (3, 0.5)}
    assert rows_of(found, "Colour and noun")["of them shown"] == (3,)


@pytest.mark.parametrize(("first_seed", "unseen"), [(0, 1), (1_000_000, 0)])
def test_a_kept_out_pair_counts_only_under_training_seeds(first_seed: int, unseen: int) -> None:
    shards = stills(1, first_seed)
    shards.objects[0]["objects"][0] |= {"color": "red", "category": "mug"}
    pairs = rows_of(tables(measure(shards, redraw=0, scripts=0)), "Colour and noun")
    assert pairs["objects of a kept-out pair in them (must be 0)"] == (unseen,)


def test_mixed_tiers_are_refused() -> None:
    shards = stills(2)
    shards.objects[1]["tier"] = "wild"
    with pytest.raises(InputError, match=r"\['cell', 'wild'\]"):
        measure(shards)


def test_visible_shares_are_of_what_the_renderer_draws_alone(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    from edgetwin.distill.sim.scene import scene_for
    from edgetwin.distill.sim.shards import open_images, render_images
    from edgetwin.distill.sim.worlds import World

    render_images(tmp_path, [8470, 3])  # 8470: a spoon behind a box
    shards = open_images(tmp_path)
    found = measure(shards, redraw=2, scripts=2)
    world = World.image(8470)
    spoon = next(t for t in world.objects if t.category == "spoon")
    scene = scene_for("cell", world.set_index)
    alone = int((scene.render(world, 0.0, only=spoon.id, rgb=False).ids_hw == spoon.id).sum())
    seen = int((shards.ids[0] == spoon.id).sum())
    assert found.shares["spoon"][0] == pytest.approx(seen / alone)
    assert found.shares["spoon"][0] < 0.5
    everything = [s for held in found.shares.values() for s in held]
    assert all(0 <= s <= 1 for s in everything)
    assert found.scripts == 2
    assert found.tops.total() == 2
