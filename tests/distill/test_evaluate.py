"""The evaluation's own arithmetic, on windows and answers made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.distill.evaluate.endtoend import end_to_end_tables, score_question, union_masks
from edgetwin.distill.evaluate.perception import match
from edgetwin.distill.evaluate.reasoner import Judged, judge, reasoner_tables
from edgetwin.distill.evaluate.report import Table, replace_section, write_json
from edgetwin.distill.sim.questions import Question
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError
from edgetwin.twin.schema import FrameTwin, ObjectTwin
from edgetwin.twin.window import TwinWindow


def window(*boxes_per_frame: dict[int, tuple[int, int, int, int]]) -> TwinWindow:
    frames = []
    for index, boxes in enumerate(boxes_per_frame):
        objects = {}
        for id_, (x0, y0, x1, y1) in boxes.items():
            mask = np.zeros((40, 40), bool)
            mask[y0:y1, x0:x1] = True
            objects[id_] = ObjectTwin(
                id=id_,
                semantic_label="mug",
                confidence=1,
                mask=rle.encode(mask),
                box_xyxy=(x0, y0, x1, y1),
                centroid=((x0 + x1) / 2, (y0 + y1) / 2),
                area=int(mask.sum()),
                first_seen=0,
                last_seen=index / 8,
            )
        frames.append(
            FrameTwin(index=index, timestamp_s=index / 8, width=40, height=40, objects=objects)
        )
    return TwinWindow(frames)


def question(ids: tuple[int, ...], level: int = 1, wording: Any = "seen") -> Question:
    return Question(
        text="which?",
        category="semantic",
        level=level,
        form="short",
        families=(),
        skeleton="find",
        plan=[],
        results="[]",
        answer_ref="$1",
        ids=ids,
        rationale="",
        wording=wording,
        composition="seen",
    )


class Always:
    """Answers every question with one list of ids."""

    def __init__(self, *ids: int, status: str = "ok") -> None:
        self.ids, self.status = list(ids), status

    def answer(self, query: str, window: TwinWindow) -> "Always":
        return self

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        return {
            "ids": self.ids,
            "status": self.status,
            "tokens": {"rationale": 7},
            "ms": {"total": 12.0},
        }


def test_match_takes_the_best_pair_first_and_each_box_once() -> None:
    true = np.array([[0, 0, 10, 10], [8, 0, 18, 10]], np.float32)
    found = np.array([[1, 0, 11, 10], [0, 0, 10, 9], [30, 30, 40, 40]], np.float32)
    # IoU: found 0 with true 0 is 90/110, found 1 with true 0 is 90/100; found 0 with true 1
    # is 30/170, which is below one half
    assert match(found, true) == [(1, 0)]
    assert match(found[:0], true) == []
    assert match(found, true[:0]) == []


def test_exact_means_the_same_set_of_ids_and_no_error() -> None:
    view = window({1: (0, 0, 5, 5)})
    items = [(question((1, 2)), view), (question((1,)), view), (question(()), view)]
    assert [j.exact for j in judge(Always(2, 1), items)] == [True, False, False]
    assert [j.exact for j in judge(Always(status="error"), items)] == [False, False, False]
    assert [j.exact for j in judge(Always(status="none"), items)] == [False, False, True]


def test_reasoner_rows_split_levels_and_wordings() -> None:
    dump = Always(1).model_dump(mode="json")
    judged = [
        Judged(question((1,), level=1), dump),
        Judged(question((2,), level=2, wording="unseen"), dump),
        Judged(question((1,), level=3), dump),
        Judged(question((), level=4), dump),
    ]
    rows = {row[0]: row[1:] for row in reasoner_tables(judged, "here")[0].rows}
    assert rows["levels 1-2"] == (2, 0.5, 7.0, 12.0)
    assert rows["levels 3-4"] == (2, 0.5, 7.0, 12.0)
    assert rows["unseen wordings"] == (1, 0.0, 7.0, 12.0)
    assert rows["answer is none"] == (1, 0.0, 7.0, 12.0)
    assert rows["all"] == (4, 0.5, 7.0, 12.0)
    assert "several objects" not in rows


def test_union_of_visible_masks_per_frame() -> None:
    view = window({1: (0, 0, 4, 4), 2: (10, 10, 12, 12)}, {2: (10, 10, 12, 12)})
    sizes = [int(mask.sum()) for mask in union_masks(view, [1, 2, 9])]
    assert sizes == [16 + 4, 4]
    assert not np.any(union_masks(view, []))


def test_pixels_are_scored_whatever_the_ids_are_called() -> None:
    truth = window({1: (0, 0, 8, 8)}, {1: (0, 0, 8, 8)})
    perceived = window({5: (0, 0, 8, 8)}, {5: (0, 0, 8, 4)})
    scored = score_question(question((1,)), [5], perceived, truth)
    assert scored.j == pytest.approx((1 + 0.5) / 2)
    assert score_question(question(()), [], perceived, truth).j == 1.0
    assert score_question(question(()), [5], perceived, truth).j == 0.0


def test_end_to_end_table_means_per_level() -> None:
    truth = window({1: (0, 0, 8, 8)})
    half = score_question(question((1,), level=1), [1], window({1: (0, 0, 8, 4)}), truth)
    full = score_question(question((1,), level=1), [1], truth, truth)
    table_j, table_f = end_to_end_tables([half, full], "here")
    assert table_j.rows[0] == ("level 1", 2, 0.75, None, None, 0.75, 0.760)
    assert table_j.rows[1][1:5] == (0, None, None, None)
    assert table_j.rows[-1] == ("all", 2, 0.75, None, None, 0.75, None)
    assert table_f.rows[0][-1] == 0.768


def test_tables_print_and_refuse_ragged_rows(tmp_path: Path) -> None:
    table = Table("T", ("a", "b"), (("x", 0.12345), ("y", None)), ("a note",))
    assert table.markdown().splitlines()[2:6] == [
        "| a | b |",
        "|---|---:|",
        "| x | 0.123 |",
        "| y | – |",
    ]
    write_json([table], tmp_path / "deep" / "t.json", split="val")
    assert '"split": "val"' in (tmp_path / "deep" / "t.json").read_text()
    with pytest.raises(InputError, match="2 cells"):
        Table("T", ("a", "b"), (("x",),))


def test_replace_section_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("head\n<!-- t:begin -->\nold\n<!-- t:end -->\ntail\n")
    replace_section(page, "t", "new")
    assert page.read_text() == "head\n<!-- t:begin -->\nnew\n<!-- t:end -->\ntail\n"
    with pytest.raises(InputError, match="other:begin"):
        replace_section(page, "other", "new")
