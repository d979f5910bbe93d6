"""The ablation: rows as data, shared steps, converted chains, the budget, the table and plot."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgetwin.cli import app
from edgetwin.distill.ablation.convert import convert, direct, explained
from edgetwin.distill.ablation.plan import Step, folder_of, run_step, student_of
from edgetwin.distill.ablation.run import ablation_table, run_ablation
from edgetwin.distill.ablation.table import ROWS, Row, rows_of
from edgetwin.distill.cards.canvas import save
from edgetwin.distill.cards.learning import draw_ablation, draw_learning, read_runs
from edgetwin.distill.evaluate.distilled import Asked
from edgetwin.distill.reasoner.produce import example, training_window
from edgetwin.distill.reasoner.records import Example, Question, pieces, read, write
from edgetwin.distill.stages.pipeline import Runner
from edgetwin.distill.stages.recipe import GrpoRecipe
from edgetwin.distill.tasks.caption import caption
from edgetwin.reasoner.protocol import parse
from edgetwin.twin.errors import InputError
from edgetwin.twin.text import describe

CHAIN = Question(
    "the thing right of the mug",
    "Mug. Right of that.",
    '[{"tool":"find","words":["mug"]},{"tool":"right_of","of":"$1"}]',
    "[[3],[5,7]]",
    "$2",
)
TWIN = "1 red mug x10 y49 z71\n2 blue ball x43 y44 z74 moved left 1.2-2.4 gone 3.1\ntime 0.0-4.0\n"


def row(name: str) -> Row:
    return rows_of([name])[0]


def steps_of(step: Step) -> dict[str, Step]:
    """All steps below a step by digest."""
    found = {step.digest: step}
    for other in (*step.inputs.values(), *([step.detailed] if step.detailed else [])):
        found |= steps_of(other)
    return found


def test_rows_are_those_of_the_paper_and_two_modes_more() -> None:
    assert len({r.name for r in ROWS}) == len(ROWS) == 12
    paper = {r.name: r.paper_j for r in ROWS if r.paper_j is not None}
    assert paper == {
        "full": 0.760, "sft_only": 0.716, "no_judge": 0.736, "no_format": 0.691,
        "no_guidance": 0.677, "rl_only": 0.669, "static": 0.699, "caption": 0.588,
        "teacher_sft": 0.709,
    }  # fmt: skip
    assert all(len(r.meaning) > 20 for r in ROWS)
    assert rows_of(["dr2seg", "full"]) == (row("full"), row("dr2seg"))  # the table's order
    with pytest.raises(InputError, match="got 'fulll'"):
        rows_of(["fulll"])


def test_every_row_has_valid_recipes_and_differs_from_the_full_model() -> None:
    digests = {r.name: student_of(r, 0).digest for r in ROWS}
    assert len(set(digests.values())) == len(ROWS)
    assert student_of(row("full"), 1).digest != digests["full"]


def test_rewards_of_the_rows() -> None:
    def rewards(name: str) -> dict[str, float]:
        recipe = student_of(row(name), 0).recipe
        assert isinstance(recipe, GrpoRecipe)
        return {one.name: one.weight for one in recipe.rewards}

    assert rewards("full") == {"format": 1, "accuracy": 1, "judged": 0.5}
    assert rewards("no_judge") == {"format": 1, "accuracy": 1}
    assert rewards("no_format") == {"accuracy": 1, "judged": 0.5}
    assert rewards("no_guidance") == {"accuracy": 1}
    assert "self_distillation" in rewards("wise")
    assert {"description", "gated_length"} < set(rewards("dr2seg"))
    assert student_of(row("sft_only"), 0).stage == "sft"
    alone, whole = student_of(row("rl_only"), 0).recipe, student_of(row("full"), 0)
    assert alone.model == whole.inputs["sft"].recipe.model  # it begins where SFT begins
    assert alone.model.source != "stage:sft"


def test_rows_share_what_they_have_in_common() -> None:
    full, bare = student_of(row("full"), 0), student_of(row("no_judge"), 0)
    assert full.inputs["sft"].digest == bare.inputs["sft"].digest
    assert student_of(row("sft_only"), 0).digest == full.inputs["sft"].digest
    other = student_of(row("full"), 1)
    assert other.inputs["chains"].digest == full.inputs["chains"].digest
    assert other.inputs["sft"].digest != full.inputs["sft"].digest
    assert student_of(row("small_teacher"), 2).inputs["teacher"].digest == full.digest
    assert student_of(row("teacher_sft"), 0).inputs.keys() == {"chains", "sft"}
    static = student_of(row("static"), 0)
    assert static.inputs["chains"].inputs["chains"].digest == full.inputs["chains"].digest
    assert static.inputs["sft"].digest != full.inputs["sft"].digest
    every = [steps_of(student_of(r, 0)) for r in ROWS]
    shared = Counter(digest for found in every for digest in found)
    assert shared[full.inputs["teacher"].digest] == len(ROWS) - 1


def test_a_caption_has_no_coordinates() -> None:
    told = caption("twin\n" + TWIN + "looked for: mug\n")
    wanted = "The scene shows a red mug (1) and a blue ball (2) that moved left, gone."
    assert told == f"twin\n{wanted}\nlooked for: mug\n"
    for seed in range(2):
        text = caption(describe(training_window(seed), "compact"))
        ids = [f"({i})" for i in training_window(seed).ids()]
        assert all(i in text for i in ids)
        rest = text
        for i in ids:
            rest = rest.replace(i, "")
        assert not any(c.isdigit() for c in rest), text


def test_direct_chains_answer_without_a_plan() -> None:
    none = Question("q", "r", CHAIN.plan, CHAIN.results, "none")
    number = Question("q", "r", '[{"tool":"count"}]', "[4]", "$1")
    got = direct(Example(7, TWIN, (CHAIN, none, number)))
    assert [item.answer for item in got.items] == ["[5,7]", "none"]
    text = "".join(part for part, _ in pieces(got.items[0]))
    assert parse(text).rounds == ()
    assert all(learnt for _, learnt in pieces(got.items[0]))
    made = example(3, 8)
    assert made is not None
    assert all(not item.plan and "$" not in item.answer for item in direct(made).items)


def test_explained_chains_have_the_detailed_text_after_the_answer() -> None:
    detailed = Question(CHAIN.question, "The long way round.", CHAIN.plan, "[[3],[5,7]]", "$2",
                        mode="detailed")  # fmt: skip
    other = Question("another", "Short.", "", "", "none")
    (got,) = explained([Example(7, TWIN, (CHAIN, other))], [Example(7, TWIN, (detailed,))])
    assert [item.explain for item in got.items] == ["The long way round."]
    parts = pieces(got.items[0])
    assert parts[-1][0].startswith("<answer>$2</answer><explain>The long way round.</explain>")
    assert [learnt for _, learnt in parts] == [True, False, True]


def test_conversion_writes_what_is_left(tmp_path: Path) -> None:
    write(tmp_path / "kept.jsonl", [Example(7, TWIN, (CHAIN,))])
    assert convert("caption", tmp_path / "kept.jsonl", tmp_path / "told.jsonl") == 1
    (made,) = read(tmp_path / "told.jsonl")
    assert made.twin.startswith("The scene shows")
    assert made.items[0].answer == "[5,7]"
    write(tmp_path / "detailed.jsonl", [Example(8, "1 red mug x1 y1 z1\n", (CHAIN,))])
    with pytest.raises(InputError, match="expected chains to convert"):
        convert("explained", *(tmp_path / f"{n}.jsonl" for n in ("kept", "none", "detailed")))
    with pytest.raises(InputError, match="mode detailed"):
        convert("explained", tmp_path / "kept.jsonl", tmp_path / "none.jsonl")


class Fake:
    """Stages that write as little as the next one reads, and a measure by the recipe's numbers."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.ran: list[str] = []
        self.measured: list[tuple[str, str]] = []
        self.now, self.seconds = 0.0, seconds

    @property
    def runners(self) -> dict[Any, Runner]:
        return dict.fromkeys(("teacher", "chains", "sft", "grpo"), self._run)

    def _run(self, recipe: Any, work: Path, **_: Any) -> dict[str, float]:
        self.ran.append(recipe.stage)
        self.now += self.seconds
        if recipe.stage == "chains":
            reason = "In detail." if "detailed" in recipe.data.worlds.modes else CHAIN.reason
            item = Question(CHAIN.question, reason, CHAIN.plan, CHAIN.results, CHAIN.answer)
            write(work / "chains" / "kept.jsonl", [Example(7, TWIN, (item,))])
        elif recipe.stage == "sft":
            assert (work / "chains" / "kept.jsonl").is_file()
        elif recipe.stage == "grpo":
            assert (work / "sft" / "made").is_file()
            assert recipe.judge is None or (work / "teacher" / "made").is_file()
        (work / recipe.stage / "made").write_text(str(recipe.seed))
        return {}

    def measure(self, model: Path, asked: Any) -> dict[str, Any]:
        assert all(isinstance(one, Asked) for one in asked)
        self.measured.append((model.parent.name, asked[0].task.mode))
        exact = 0.5 + 0.1 * int((model.parent / "made").read_text())
        group = {"exact": exact, "iou": exact + 0.05, "rationale_tokens": 8.0}
        return {"groups": {"all": {**group, "generated_tokens": 30.0}}, "broken": 0.0}

    def clock(self) -> float:
        return self.now


def test_rows_are_run_with_their_seeds_and_shared_steps_once(tmp_path: Path) -> None:
    fake = Fake()
    names = ["full", "sft_only", "no_judge", "static", "small_teacher", "wise", "dr2seg"]
    settings: dict[str, Any] = {"limit": 1, "render": False, "rows": names, "seeds": 2}
    settings |= {"runners": fake.runners, "measure": fake.measure}
    measured = run_ablation(tmp_path, **settings)
    ran = Counter(fake.ran)
    assert ran["teacher"] == 1
    assert ran["chains"] == 4  # concise, the small teacher's, detailed, descriptions
    assert ran["sft"] == 2 * 5  # full (shared by two rows), static, small teacher's, WISE, DR2Seg
    assert ran["grpo"] == 2 * 6
    assert {stage for stage, mode in fake.measured if mode == "description"} == {"grpo"}
    assert [len(one.runs) for one in measured] == [2] * 7
    document = json.loads((tmp_path / "table.json").read_text())
    assert document["figures"]["full"]["runs"][1]["groups"]["all"]["exact"] == 0.6
    assert (tmp_path / "table.md").read_text().count("\n| ") == 8
    assert (tmp_path / "ablation.png").stat().st_size > 3000
    table = ablation_table(measured, "here")
    full = dict(zip(table.columns, table.rows[0], strict=True))
    assert full["exact ids"] == pytest.approx(0.55)
    assert full["±"] == pytest.approx(0.1 / 2**0.5)
    assert full["paper's J"] == 0.760
    assert any(note.startswith("w/o DT refinement") for note in table.notes)
    run_ablation(tmp_path, **settings)
    assert Counter(fake.ran) == ran  # nothing is run or measured twice
    assert len(fake.measured) == 14


def test_wise_students_learn_explained_chains(tmp_path: Path) -> None:
    step = student_of(row("wise"), 0)
    run_step(step, tmp_path, runners=Fake().runners)
    kept = folder_of(tmp_path, step.inputs["chains"]) / "chains" / "kept.jsonl"
    (made,) = read(kept)
    assert (made.items[0].reason, made.items[0].explain) == (CHAIN.reason, "In detail.")
    linked = folder_of(tmp_path, step) / "sft"
    assert linked.is_symlink()
    assert not Path(linked.readlink()).is_absolute()
    full, bare = student_of(row("full"), 0), student_of(row("no_format"), 1)
    for step in (full, bare):
        run_step(step, tmp_path, runners=Fake().runners)
    judges = [(folder_of(tmp_path, step) / "judge").resolve() for step in (full, bare)]
    assert judges[0] == judges[1]  # one teacher, one calibration
    assert not (folder_of(tmp_path, student_of(row("wise"), 0)) / "judge").exists()


def test_a_row_that_cannot_be_run_does_not_end_the_others(tmp_path: Path) -> None:
    fake, told = Fake(), list[str]()

    def barren(recipe: Any, work: Path, **_: Any) -> dict[str, float]:
        raise InputError("expected chains, got none")

    settings: dict[str, Any] = {"limit": 1, "render": False, "seeds": 1, "measure": fake.measure}
    runners = {**fake.runners, "grpo": barren}
    measured = run_ablation(
        tmp_path, rows=["full", "sft_only"], runners=runners, report=told.append, **settings
    )
    assert [one.row.name for one in measured] == ["sft_only"]
    assert "  failed: expected chains, got none" in told


def test_no_run_is_begun_that_would_end_too_late(tmp_path: Path) -> None:
    fake = Fake(seconds=60)
    told: list[str] = []
    measured = run_ablation(
        tmp_path, rows=["full", "sft_only", "no_judge"], seeds=2, minutes=6.5, limit=1,
        render=False, runners=fake.runners, measure=fake.measure, clock=fake.clock,
        report=told.append,
    )  # fmt: skip
    # full: 4 minutes with teacher and chains, then 2; what comes next could take 4 again
    assert [(one.row.name, len(one.runs)) for one in measured] == [("full", 1)]
    assert sum("left out" in line for line in told) == 5
    again = run_ablation(
        tmp_path, rows=["full", "sft_only"], seeds=2, minutes=6.5, limit=1, render=False,
        runners=fake.runners, measure=fake.measure, clock=fake.clock,
    )  # fmt: skip
    assert [(one.row.name, len(one.runs)) for one in again] == [("full", 2), ("sft_only", 2)]
    with pytest.raises(InputError, match="above 0"):
        run_ablation(tmp_path, minutes=0)


def curve(folder: Path, offset: float) -> Path:
    folder.mkdir(parents=True)
    rows = [
        {"step": k, "reward": offset + k / 30, "tokens/rationale": 10 - k / 10}
        for k in range(1, 31)
    ]
    rows += [{"step": k, "val/exact": offset + k / 100} for k in (10, 20, 30)]
    (folder / "curve.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder


def test_learning_is_drawn_with_mean_and_range_of_seeds(tmp_path: Path) -> None:
    curve(tmp_path / "a" / "grpo", 0.2)
    runs = read_runs([tmp_path / "a", curve(tmp_path / "b", 0.4)])
    made = draw_learning({"student": runs})
    reward, exact, tokens = made.axes
    (line,) = exact.lines
    assert list(line.get_xdata()) == [10, 20, 30]
    assert list(line.get_ydata()) == pytest.approx([0.4, 0.5, 0.6])
    assert len(reward.lines) == len(tokens.lines) == 1
    assert save(made, tmp_path / "learning.png") > 3000
    with pytest.raises(InputError, match="expected curves with reward"):
        draw_learning({"student": [[{"step": 1.0, "other": 2.0}]]})


def test_curves_of_one_name_are_seeds_of_one_line(tmp_path: Path) -> None:
    folders = [curve(tmp_path / name / "grpo", 0.2).parent for name in "abc"]
    out = tmp_path / "curves.png"
    asked = ["distill", "curves", f"ours={folders[0]}", f"ours={folders[1]}", str(folders[2])]
    got = CliRunner().invoke(app, [*asked, "-o", str(out)])
    assert got.exit_code == 0, got.output
    assert out.stat().st_size > 3000
    got = CliRunner().invoke(app, ["distill", "curves", str(tmp_path / "none"), "-o", str(out)])
    assert isinstance(got.exception, InputError)


def test_the_ablation_is_drawn_with_every_seed(tmp_path: Path) -> None:
    made = draw_ablation(
        ["full", "less"], [[0.5, 0.6], [0.4]], [[0.6, 0.7], [0.5]], [0.76, None], "t"
    )
    left, right = made.axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["full", "less"]
    assert list(left.lines[0].get_xdata()) == [0.5, 0.6]
    crosses = [line for line in right.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in crosses] == [[0.76]]
