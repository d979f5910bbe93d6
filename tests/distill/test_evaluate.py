"""The evaluation's own arithmetic, on windows and answers made by hand."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from edgetwin.distill.commands import eval_app
from edgetwin.distill.evaluate.aims import aims_table
from edgetwin.distill.evaluate.causes import cause
from edgetwin.distill.evaluate.endtoend import (
    end_to_end_figures,
    end_to_end_tables,
    matched_ids,
    outcome,
    score_question,
    union_masks,
)
from edgetwin.distill.evaluate.reasoner import (
    Judged,
    judge,
    noisy_questions,
    program_ids,
    reasoner_figures,
    reasoner_tables,
)
from edgetwin.distill.evaluate.report import Table, document, replace_section, show, write_json
from edgetwin.distill.evaluate.twinbench import evaluate_twinbench
from edgetwin.distill.sim.questions import Question
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError
from edgetwin.twin.schema import DepthStats, FrameTwin, ObjectTwin
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
    both, table_j, table_f, others, *_ = end_to_end_tables([half, full], "here")
    assert table_j.rows[0] == ("level 1", 2, 0.75, None, None, 0.75, 0.760)
    assert table_j.rows[1][1:5] == (0, None, None, None)
    assert table_j.rows[-1] == ("all", 2, 0.75, None, None, 0.75, None)
    assert table_f.rows[0][-1] == 0.768
    assert both.columns[-4:] == ("J", "paper J", "F", "paper F")
    assert both.rows[0][-4:-1] == (0.75, 0.760, table_f.rows[0][5])
    # gIoU (32/64 + 64/64) / 2, cIoU 96/128; nobody asked who was right
    giou, ciou, exact = others.rows[0][2:5]
    assert [giou, ciou] == pytest.approx([0.75, 0.75], abs=1e-6)
    assert exact is None


def test_ids_are_matched_by_the_frames_they_share() -> None:
    truth = window(*({1: (0, 0, 8, 8), 2: (20, 0, 28, 8)} for _ in range(3)))
    perceived = window(
        {7: (0, 0, 8, 7), 8: (20, 0, 28, 8)},
        {7: (0, 0, 8, 7), 9: (20, 0, 28, 8)},  # 2 lost its id for good
        {7: (20, 0, 28, 8), 9: (20, 0, 28, 8)},
    )
    assert matched_ids(perceived, truth) == {7: 1, 9: 2}
    assert matched_ids(window({}, {}, {}), truth) == {}


def test_who_was_wrong() -> None:
    view = window({7: (0, 0, 8, 8), 8: (20, 0, 28, 8)})
    same = {7: 1, 8: 2}
    find = [{"tool": "find", "words": ["mug"]}]
    asked = replace(question((1, 2)), plan=find)
    dump = Always(1, 2).model_dump(mode="json")
    knows, fails = Judged(asked, dump), Judged(asked, {**dump, "ids": [1]})

    def blame(asked: Question, ids: list[int], on_truth: Judged, status: str = "ok") -> str:
        answer = {"ids": ids, "status": status}
        return outcome(asked, answer, view, same, on_truth)

    assert blame(asked, [8, 7], fails) == "right"
    assert blame(asked, [7, 99], fails) == "reasoner"
    assert blame(asked, [7], knows) == "disturbed"  # the program gives both mugs
    assert blame(asked, [7, 8], knows, "error") == "disturbed"
    only = replace(question((1,)), plan=find)
    assert blame(only, [7, 8], Judged(only, {**dump, "ids": [1]})) == "lost"
    rows = [
        replace(score_question(asked, [7], view, view), outcome=how)
        for how in ("right", "lost", "lost", "reasoner")
    ]
    figures = end_to_end_figures(rows)["all"]
    assert (figures["exact"], figures["lost"], figures["disturbed"]) == (0.25, 2, 0)


def test_causes_are_found_by_mending_one_thing_after_another() -> None:
    """Mugs 1 and 2 and box 3 in a row; asked for: the mugs, the nearest, the leftmost."""

    def see(*rows: tuple[int, str, int, float]) -> TwinWindow:
        made = window({i: (x, 0, x + 4, 4) for i, _, x, _ in rows})
        (frame,) = made.frames
        objects = {
            i: frame.objects[i].model_copy(update={"semantic_label": noun, "depth_stats": flat(d)})
            for i, noun, _, d in rows
        }
        return TwinWindow([frame.model_copy(update={"objects": objects})])

    def flat(metres: float) -> DepthStats:
        same = dict.fromkeys(("min", "max", "p5", "p50", "p95"), metres)
        return DepthStats(unit="m", variance=0, **same)

    truth = see((1, "mug", 0, 1.0), (2, "mug", 10, 1.2), (3, "box", 20, 0.8))
    mugs = replace(question((1, 2)), plan=[{"tool": "find", "words": ["mug"]}])
    nearest = replace(question((3,)), plan=[{"tool": "extreme", "by": "closest"}])
    leftmost = replace(question((1,)), plan=[{"tool": "extreme", "by": "leftmost"}])
    for asked in (mugs, nearest, leftmost):
        assert program_ids(asked, truth) == asked.ids
    same = {11: 1, 12: 2, 13: 3}
    misnamed = see((11, "mug", 0, 1.0), (12, "pan", 10, 1.2), (13, "box", 20, 0.8))
    assert cause(mugs, misnamed, truth, same) == "names"
    missed = see((11, "mug", 0, 1.0), (13, "box", 20, 0.8))
    assert cause(mugs, missed, truth, {11: 1, 13: 3}) == "objects"
    ghost = see((11, "mug", 0, 1.0), (12, "mug", 10, 1.2), (13, "box", 20, 0.8), (14, "mug", 30, 1))
    assert cause(mugs, ghost, truth, same) == "objects"
    far = see((11, "mug", 0, 1.0), (12, "mug", 10, 1.2), (13, "box", 20, 1.1))
    assert cause(nearest, far, truth, same) == "depth"
    moved = see((11, "mug", 14, 1.0), (12, "mug", 10, 1.2), (13, "box", 20, 0.8))
    assert cause(leftmost, moved, truth, same) == "places and times"


def test_noisy_twins_are_asked_for_what_they_hold() -> None:
    view = window(*({i: (2 * i, 0, 2 * i + 2, 4) for i in range(1, 13)} for _ in range(2)))
    everything = replace(question(tuple(range(1, 13))), plan=[{"tool": "find", "words": ["mug"]}])
    broken = replace(everything, plan=[{"tool": "no such tool"}])
    assert program_ids(everything, view) == everything.ids
    assert program_ids(broken, view) is None
    seeds = [noisy_questions([everything, broken], view, seed, "cell") for seed in range(8)]
    assert all(len(pairs) == 1 for pairs in seeds)
    for pairs in seeds:
        asked, noisy = pairs[0]
        mugs = {i for i in noisy.ids() if noisy.latest(i).semantic_label == "mug"}
        assert set(asked.ids) == mugs
    assert any(pairs[0][0].ids != everything.ids for pairs in seeds)
    again = noisy_questions([everything], view, 3, "cell")
    assert again[0][0].ids == seeds[3][0][0].ids


def test_reasoner_figures_count_levels_by_category() -> None:
    dump = Always(1).model_dump(mode="json")
    judged = [Judged(question((1,)), dump), Judged(question((2,)), {**dump, "status": "partial"})]
    figures = reasoner_figures(judged)
    assert figures["by_level_and_category"] == {"level 1, semantic": figures["groups"]["all"]}
    assert figures["groups"]["all"]["exact"] == 0.5
    assert figures["groups"]["all"]["generated_tokens"] == 7
    assert figures["status"] == {"ok": 1, "partial": 1}


def test_aims_stand_beside_what_was_measured() -> None:
    figures = {
        "perception": {"segmenter": {"box": 0.91, "ellipse": 0.6}},
        "reasoner": {"groups": {"all": {"exact": 0.9}}},
        "noisy": {"groups": {"all": {"exact": 0.88}}},
        "end_to_end": end_to_end_figures(
            [score_question(question((1,)), [1], window({1: (0, 0, 8, 8)}), window({}))]
        ),
    }
    rows = {row[0]: row[1:] for row in aims_table(figures, "here").rows}
    assert rows["segmenter: mean IoU from true boxes"] == (0.90, 0.91, 0.6)
    assert list(rows["reasoner, noisy twins: all"]) == pytest.approx([0.85, 0.88, 0.9])
    assert rows["pixels to masks, level 1: mean J"] == (0.760, 0.0, None)
    assert rows["reasoner, true twin: all"] == (0.95, 0.9, None)
    assert len(rows) == 5  # what was not measured has no row
    free = aims_table(figures, "here", bounds=False)
    assert all(row[1] is None for row in free.rows)


def test_wrong_settings_are_refused() -> None:
    wrong: list[dict[str, Any]] = [
        {"settings": ["speed"]},
        {"settings": []},
        {"limit": 0},
        {"memory_worlds": 0},
    ]
    for arguments in wrong:
        with pytest.raises(InputError, match="expected settings out of"):
            evaluate_twinbench(**arguments)


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
    made = document([table], figures={"a": 1})
    assert made["figures"] == {"a": 1}
    assert made["environment"]
    console = Console(record=True, width=80)
    wide = Table("W", tuple(f"column {k}" for k in range(20)), ())
    show([table, wide], console)
    text = console.export_text()
    assert "0.123" in text
    assert "W: 20 columns" in text
    with pytest.raises(InputError, match="2 cells"):
        Table("T", ("a", "b"), (("x",),))


def test_replace_section_keeps_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("head\n<!-- t:begin -->\nold\n<!-- t:end -->\ntail\n")
    replace_section(page, "t", "new")
    assert page.read_text() == "head\n<!-- t:begin -->\nnew\n<!-- t:end -->\ntail\n"
    with pytest.raises(InputError, match="other:begin"):
        replace_section(page, "other", "new")


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("EDGETWIN_SLOW"), reason="renders a world")
def test_one_world_in_every_setting_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("<!-- twinbench:begin -->\n<!-- twinbench:end -->\n")
    command = ["twinbench", "--limit", "1", "--all", "--json", "--write-readme", str(page)]
    done = CliRunner().invoke(eval_app, command)
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    figures = made["figures"]
    assert set(made["weights"]) == {"depth", "detector", "segmenter", "reasoner"}
    assert figures["perception"]["frames"] == 4
    assert figures["memory"]["all"]["objects"] >= 4
    assert figures["reasoner"]["groups"]["all"]["count"] == 8
    assert figures["noisy"]["groups"]["all"]["count"] + figures["noisy"]["left_out"] == 8
    row = figures["end_to_end"]["all"]
    assert row["count"] == row["right"] + row["lost"] + row["disturbed"] + row["reasoner"] == 8
    titles = [table["title"] for table in made["tables"]]
    assert [t.partition(",")[0] for t in titles][-1] == "Aims"
    assert any(title.startswith("Detector: confusion") for title in titles)
    assert page.read_text().count("**") == 4  # two tables' titles
