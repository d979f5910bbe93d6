"""Chains: the ledger survives every kill, only right and exact chains are kept, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgetwin.distill.reasoner.records import pieces, read  # noqa: E402
from edgetwin.distill.stages import chains as stage  # noqa: E402
from edgetwin.distill.stages.chains import Roller, run_chains  # noqa: E402
from edgetwin.distill.stages.kept import keep, question_of  # noqa: E402
from edgetwin.distill.stages.ledger import Ledger, Part, Plan  # noqa: E402
from edgetwin.distill.stages.policy import prompt_texts  # noqa: E402
from edgetwin.distill.stages.recipe import ChainsRecipe, write_recipe  # noqa: E402
from edgetwin.reasoner.prompts import system  # noqa: E402
from edgetwin.reasoner.protocol import EOS  # noqa: E402
from edgetwin.twin.errors import InputError, ModelError, OutputError  # noqa: E402
from edgetwin.twin.tools.registry import ToolRegistry  # noqa: E402

torch.set_num_threads(1)
PLAN = Plan(tasks=5, size=2, samples=2)
RIGHT = (
    '<reason>mugs</reason><plan>[{"tool":"find","words":["mug"]}]</plan>'
    "<results>[[1]]</results><answer>$1</answer>"
)


def recipe(**changes: Any) -> ChainsRecipe:
    return ChainsRecipe.model_validate(
        {
            "stage": "chains",
            "model": {"source": "embedded"},
            "data": {"worlds": {"first": 40, "count": 3, "per_world": 4}},
            "sampling": {"group": 2, "temperature": 1.0, "max_tokens": 96},
            "batch": 3,
            **changes,
        }
    )


def part(number: int, **changes: Any) -> Part:
    lines = [
        {
            "index": i, "sample": s, "key": f"made/{i}", "twin": f"twin{i // 3}",
            "question": f"which {i}?", "mode": "concise", "turns": [], "level": 1 + i % 2,
            "text": RIGHT, "iou": 1.0, "ending": "answered", "ids": [1],
            "tokens": {"own": 20, "rationale": 4}, **changes,
        }
        for i, s in PLAN.expected(number)
    ]  # fmt: skip
    twins = {line["twin"]: {"seed": 7, "text": f"1 red mug {line['twin']}\n"} for line in lines}
    return Part(number, lines, twins)


def whole(folder: Path) -> dict[str, bytes]:
    """Run a plan to its end, whatever is there; returns the files."""
    with Ledger(folder, PLAN) as ledger:
        for number in ledger.missing:
            ledger.add(part(number))
        stage.close(ledger, 0.7)
    return {n: (folder / n).read_bytes() for n in ("chains.jsonl", "twins.jsonl", "kept.jsonl")}


def test_a_ledger_cut_at_any_byte_ends_with_the_same_files(tmp_path: Path) -> None:
    wanted = whole(tmp_path / "whole")
    assert len(wanted["chains.jsonl"].splitlines()) == PLAN.items == 10
    size = len(wanted["chains.jsonl"])
    twins = len(wanted["twins.jsonl"])
    for number, cut in enumerate([*range(0, size, 97), size - 1]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "chains.jsonl").write_bytes(wanted["chains.jsonl"][:cut])
        # Twins are on the disk before the lines that name them; what follows may be torn.
        (folder / "twins.jsonl").write_bytes(wanted["twins.jsonl"][: max(twins - 3, 0)])
        if cut > 2 * size // 3:
            (folder / "twins.jsonl").write_bytes(wanted["twins.jsonl"])
        assert whole(folder) == wanted, cut


def test_parts_in_any_order_and_twice_end_with_the_same_files(tmp_path: Path) -> None:
    wanted = whole(tmp_path / "whole")
    folder = tmp_path / "other"
    with Ledger(folder, PLAN) as ledger:
        assert [ledger.add(part(n)) for n in (2, 0, 2, 1, 0)] == [True, True, False, True, False]
        assert (ledger.again, ledger.items, ledger.missing) == (2, 10, [])
        report = stage.close(ledger, 0.7)
    assert whole(folder) == wanted
    assert (report["items"], report["parts_again"], report["missing"]) == (10, 2, 0)


def test_what_stands_twice_in_the_file_is_dropped_and_counted(tmp_path: Path) -> None:
    wanted = whole(tmp_path)
    path = tmp_path / "chains.jsonl"
    path.write_bytes(wanted["chains.jsonl"] * 2 + b'{"index": 0}\n{"torn')
    with Ledger(tmp_path, PLAN) as ledger:
        assert (ledger.items, ledger.dropped) == (10, 12)
    assert path.read_bytes() == wanted["chains.jsonl"]


def test_a_ledger_refuses_other_items_and_a_second_writer(tmp_path: Path) -> None:
    with Ledger(tmp_path, PLAN) as ledger:
        with pytest.raises(OutputError, match="items of part 1 in order, got 3"):
            ledger.add(Part(1, part(1).lines[:3], part(1).twins))
        assert not (tmp_path / "chains.jsonl").exists()
        with pytest.raises(InputError, match="another run writes"):
            Ledger(tmp_path, PLAN)
    whole(tmp_path)
    with pytest.raises(InputError, match="expected items of 2 tasks"):
        Ledger(tmp_path, Plan(2, 2, 2))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (RIGHT, True),
        (RIGHT + EOS, True),
        ("<reason>known</reason><answer>[1]</answer>", True),
        ("<reason>a</reason><describe>the mug</describe><answer>[1]</answer>", True),
        (RIGHT + "<explain>it is red</explain>", True),
        ("<answer>[1]</answer>", False),  # no rationale: the form always writes one
        ("<describe>the mug</describe><reason>a</reason><answer>[1]</answer>", False),
        (RIGHT.replace("<answer>", "<reason>again</reason><answer>"), False),
        (RIGHT.replace("mugs</reason>", "mugs"), False),
    ],
)
def test_only_chains_that_the_form_holds_exactly_are_kept(text: str, kept: bool) -> None:
    made = question_of({**part(0).lines[0], "text": text})
    assert (made is not None) is kept
    if made is not None:
        assert "".join(t for t, _ in pieces(made)) == text.removesuffix(EOS) + EOS


def test_keeping_counts_why_chains_were_left_out(tmp_path: Path) -> None:
    base = dict(part(0).lines[0])
    lines = [
        base,
        {**base, "sample": 1},
        {**base, "iou": 0.7, "question": "b?"},
        {**base, "text": "<answer>[1]</answer>", "question": "c?"},
        {**base, "iou": 0.71, "question": "d?", "level": 2},
        {**base, "ending": "cut", "iou": 0.0, "text": "<reason>", "tokens": {"own": 96}},
        {**base, "ending": "leak", "iou": 0.0, "text": "", "tokens": {}},
    ]
    report = keep(lines, part(0).twins, 0.7, tmp_path / "kept.jsonl")
    assert report["endings"] == {"answered": 5, "cut": 1, "leak": 1}
    assert report["left_out"] == {"form": 1, "iou": 1, "said before": 1}
    assert (report["asked"], report["answered"], report["accepted"], report["kept"]) == (6, 5, 3, 2)
    assert report["acceptance"] == 0.5
    assert report["mean_iou"] == pytest.approx((1 + 1 + 0.7 + 1 + 0.71 + 0) / 6, abs=1e-5)
    assert report["mean_tokens"]["own"] == 20
    assert report["by_level"]["2"]["acceptance"] == 1
    (example,) = read(tmp_path / "kept.jsonl")
    assert [item.question for item in example.items] == ["which 0?", "d?"]
    assert example.twin == "1 red mug twin0\n"


def test_the_embedded_teacher_is_rolled_out_and_its_chains_are_read_back(tmp_path: Path) -> None:
    made = recipe()
    scores = run_chains(made, tmp_path, device="cpu")
    folder = tmp_path / "chains"
    lines = [json.loads(line) for line in (folder / "chains.jsonl").read_text().splitlines()]
    assert [(one["index"], one["sample"]) for one in lines] == [
        (i, s) for i in range(12) for s in range(2)
    ]
    assert scores["asked"] + scores["leaks"] == 24
    assert 0 < scores["kept"] <= scores["accepted"] == scores["acceptance"] * scores["asked"]
    assert json.loads((folder / "report.json").read_text())["kept"] == scores["kept"]

    roller = Roller(made, tmp_path, "cpu")
    texts = {}
    for task in (roller.tasks[i] for i in range(12)):
        texts[task.question] = "".join(prompt_texts(roller.policy, task))
    examples = read(folder / "kept.jsonl")
    assert sum(len(example.items) for example in examples) == scores["kept"]
    told = system(ToolRegistry([]))
    for example in examples:
        for item in example.items:
            assert texts[item.question].startswith(told + example.twin), "not as the prompt had it"

    again = {p.name: p.read_bytes() for p in folder.iterdir()}
    run_chains(made.model_copy(update={"minutes": 1.0}), tmp_path, device="cpu")
    for name in ("chains.jsonl", "kept.jsonl", "report.json"):
        assert (folder / name).read_bytes() == again[name]

    stricter = run_chains(made.model_copy(update={"keep_iou": 0.999}), tmp_path, device="cpu")
    assert stricter["kept"] <= scores["kept"]
    with pytest.raises(InputError, match="got another seed"):
        run_chains(made.model_copy(update={"seed": 1}), tmp_path, device="cpu")
    (folder / "policy.json").write_text('{"source": "else", "sha256": "0123456789abcdef"}')
    with pytest.raises(InputError, match="go on with the model 0123456789ab"):
        run_chains(made, tmp_path, device="cpu")


KILLED = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from edgetwin.distill.stages.chains import run_chains
from edgetwin.distill.stages.recipe import load_recipe
run_chains(load_recipe(sys.argv[1], "chains"), Path(sys.argv[2]), device="cpu")
"""


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    made = recipe(batch=2)
    write_recipe(made, tmp_path / "chains.yaml")
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(tmp_path / "chains.yaml"),
        str(tmp_path / "killed"),
    ]
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    path = tmp_path / "killed" / "chains" / "chains.jsonl"
    deadline = time.monotonic() + 300
    while not path.exists() or path.read_bytes().count(b"\n") < 8:
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = path.read_bytes().count(b"\n")
    assert there < 24
    run_chains(made, tmp_path / "killed", device="cpu")
    run_chains(made, tmp_path / "whole", device="cpu")
    for name in ("chains.jsonl", "twins.jsonl", "kept.jsonl"):
        assert (path.parent / name).read_bytes() == (
            tmp_path / "whole" / "chains" / name
        ).read_bytes()


def test_what_cannot_be_rolled_out_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="distill teacher"):
        run_chains(recipe(model={"source": "stage:teacher"}), tmp_path / "a", device="cpu")
    rated = recipe(data={"worlds": {"count": 1}, "pass_rate": (0.1, 0.9)})
    with pytest.raises(InputError, match=r"no data\.pass_rate"):
        run_chains(rated, tmp_path / "b", device="cpu")
