from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")

from edgetwin.distill.evaluate.reasoner import Judged
from edgetwin.distill.reasoner import records
from edgetwin.distill.reasoner.card import Training, language_rows, write_card
from edgetwin.distill.reasoner.check import comparison
from edgetwin.distill.reasoner.export import Learnt, _inherited, learnt_of
from edgetwin.distill.sim.questions import wider
from edgetwin.distill.sim.questions.families import slots
from edgetwin.distill.sim.questions.generate import questions
from edgetwin.reasoner.bundle import EMBEDDED

from .questions_window import small_window


def write_chunk(folder: Path, asked: list[str]) -> None:
    items = tuple(
        records.Question(text, "Mug.", '[{"tool":"find","words":["mug"]}]', "[[1]]", "$1")
        for text in asked
    )
    records.write(records.chunk_path(folder / "train", 0), [records.Example(0, "frame", items)])


def test_every_slot_is_in_the_language_table_once() -> None:
    rows = language_rows()
    assert sum(row[1] for row in rows) == len(slots())
    phrasings = sum(sum(row[2:5]) for row in rows)
    assert phrasings == sum(len(families) for families in slots().values())
    narrow = {"going on from an earlier question", "numbers and times"}
    assert all(wide > train for name, _, train, _, _, wide in rows if name not in narrow)


def test_the_card_tells_data_language_noise_and_figures(tmp_path: Path) -> None:
    write_chunk(tmp_path / "data", ["the mug?", "a mug"])
    last = tmp_path / "run" / "last"
    last.mkdir(parents=True)
    place = {"visits": 1200, "steps": 50, "elapsed_s": 600.0, "settings": {"muon_lr": 0.02}}
    (last / "place.json").write_text(json.dumps(place))
    training = Training.of(tmp_path / "run", tmp_path / "data")
    assert training == Training(1200, 50, 10.0, {"muon_lr": 0.02}, twins=1, questions=2)
    write_card(tmp_path, "int4", 4_500_000, training, {"level 1": 0.9})
    text = (tmp_path / "card.md").read_text()
    for part in (
        "4.5M parameters",
        "| level 1 | 0.9 |",
        "1,200 questions in 50 steps and 10 minutes",
        "2 questions on 1 simulated",
        "muon_lr 0.02",
        "| events | 24 | 299 | 40 | 34 |",
        "missed 0.045",
        "edgetwin eval twinbench --split val",
    ):
        assert part in text
    assert Training.of(tmp_path / "nothing", None) is None


def test_words_of_idle_motives_are_not_known(tmp_path: Path) -> None:
    assert {"invoice", "architect"} <= wider.idle_words()
    assert not wider.idle_words() & {"drink", "left", "mug", "thirsty", "find"}
    write_chunk(tmp_path, ["The architect lost an invoice. Find the mug."] * 3)
    learnt = learnt_of(tmp_path)
    assert {"find", "mug"} <= learnt.words
    assert not learnt.words & {"architect", "invoice"}
    assert (learnt.plan_words, learnt.tools) == ({"mug"}, {"find"})


def test_a_run_that_goes_on_keeps_what_the_weights_knew(tmp_path: Path) -> None:
    last = tmp_path / "last"
    last.mkdir()
    place = {"settings": {"start": str(EMBEDDED)}}
    (last / "place.json").write_text(json.dumps(place))
    known = _inherited(tmp_path)
    assert {"mug", "thirsty"} <= known.words
    assert "teapot" in known.plan_words
    both = known.joined(Learnt({"zebra"}, {"stapler"}, {"zoom"}))
    assert {"mug", "zebra"} <= both.words
    assert {"teapot", "stapler"} <= both.plan_words
    assert "zoom" in both.tools
    (last / "place.json").write_text(json.dumps({"settings": {}}))
    assert _inherited(tmp_path) == Learnt(set(), set(), set()) == _inherited(tmp_path / "none")


def test_two_folders_are_compared_by_group() -> None:
    import random

    asked = questions(small_window(), random.Random(0), 4)
    tokens = {"rationale": 1}

    def answers(right: bool) -> list[Judged]:
        return [
            Judged(
                q,
                {
                    "ids": list(q.ids) if right else [99],
                    "status": "ok",
                    "tokens": tokens,
                    "ms": {"total": 1.0},
                },
            )
            for q in asked
        ]

    table = comparison({"new": answers(True), "old": answers(False)}, "Exact ids")
    assert table.columns == ("questions", "count", "new", "old")
    assert {row[0]: row[1:] for row in table.rows}["all"] == (4, 1.0, 0.0)
