import hashlib
from collections import Counter
from pathlib import Path

import pytest

from edgetwin.distill import twinbench
from edgetwin.distill.sim.questions.families import held_out_skeleton, slots
from edgetwin.distill.twinbench import HASHES, SEEDS, generate, load, window_of
from edgetwin.twin.errors import InputError
from edgetwin.twin.tools import render_results, run_plan

KEYS = list(SEEDS)


def test_sizes_and_seeds_of_the_frozen_lists() -> None:
    assert {key: len(load(*key)) for key in KEYS} == {
        ("val", "cell"): 320,
        ("val", "wild"): 160,
        ("test", "cell"): 800,
        ("test", "wild"): 400,
    }
    for key in KEYS:
        assert {item.seed for item in load(*key)} == set(SEEDS[key])
        assert min(SEEDS[key]) >= (1_000_000 if key[0] == "val" else 2_000_000)
    ids = [item.id for key in KEYS for item in load(*key)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("split", "tier"), KEYS)
def test_balance_wordings_and_reserved_combinations(split: str, tier: str) -> None:
    questions = [item.question for item in load(split, tier)]  # type: ignore[arg-type]
    cells = Counter((q.category, q.level) for q in questions)
    assert len(cells) == 12
    assert max(cells.values()) - min(cells.values()) <= 5
    assert Counter(q.wording for q in questions)["unseen"] == len(questions) // 2
    assert 0.04 < sum(q.composition == "unseen" for q in questions) / len(questions) < 0.15
    assert 0.05 < sum(not q.ids for q in questions) / len(questions) < 0.13
    assert 0.17 < sum(len(q.ids) > 1 for q in questions) / len(questions) < 0.30
    known = {family.id: family.split for families in slots().values() for family in families}
    assert {known.get(f, "train") for q in questions for f in q.families} == {"train", split}
    for q in questions:
        assert held_out_skeleton(q.skeleton, q.level) in ("train", split)


def test_answers_hold_on_the_exact_twin() -> None:
    pytest.importorskip("mujoco")
    items = load("val", "cell")[:16]
    windows = {seed: window_of(seed, "cell") for seed in {item.seed for item in items}}
    for item in items:
        results = run_plan(item.question.plan, windows[item.seed])
        assert tuple(sorted(results[-1].value)) == item.question.ids
        assert render_results(results) == item.question.results


def test_generation_is_deterministic() -> None:
    pytest.importorskip("mujoco")
    seeds = range(1_000_000, 1_000_001)
    first = generate("val", "cell", seeds)
    assert first == generate("val", "cell", seeds)
    assert len(first) == 8


def test_an_altered_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list.json"
    data = twinbench._path("val", "cell").read_bytes()
    assert hashlib.sha256(data).hexdigest() == HASHES["val", "cell"]
    path.write_bytes(data.replace(b"mug", b"jug", 1))
    monkeypatch.setattr(twinbench, "_path", lambda *_: path)
    with pytest.raises(InputError, match="SHA-256"):
        load("val", "cell")


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match="got 'dev'"):
        load("dev")  # type: ignore[arg-type]
