# ruff: noqa: E402
"""Trackers of a training: they report where the recipe says, and everything arrives there."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import Trainer, TrainingArguments

from edgetwin.distill.stages import tracking
from edgetwin.distill.stages.watch import Watch
from edgetwin.tests.distill.test_stage_watch import Line
from edgetwin.twin.errors import InputError, MissingExtraError


def trained(folder: Path, trackers: list[str]) -> None:
    """Two steps with parts of a reward and a chain."""
    args = TrainingArguments(
        output_dir=str(folder / "last"),
        max_steps=2,
        logging_steps=1,
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        **tracking.report_to(trackers, folder, "grpo"),
    )
    rows = [{"x": 1.0, "labels": 2.0} for _ in range(16)]
    trainer = Trainer(Line(), args, train_dataset=rows)
    watch = Watch(folder, "grpo", publish=tracking.publisher(trainer, trackers)).attach(trainer)
    watch.note({"rewards/format": 0.5, "tokens/rationale": 12.0, "kl": 0.01})
    watch.sample([{"key": "worlds/1/2", "question": "the mug", "text": "<reason>Mug.</reason>"}])
    trainer.train()
    watch.close()


def test_nothing_is_reported_unless_asked(tmp_path: Path) -> None:
    assert tracking.report_to([], tmp_path, "sft")["report_to"] == "none"
    assert tracking.publisher(None, []) is None


def test_wrong_and_missing_trackers_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"expected trackers among .*, got 'mlflow'"):
        tracking.report_to(["mlflow"], tmp_path, "sft")
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    for name, extra in tracking.TRACKERS.items():
        with pytest.raises(MissingExtraError) as error:
            tracking.report_to([name], tmp_path, "sft")
        assert str(error.value).endswith(f"pip install 'edgetwin[{extra}]'")


def test_no_tracker_gets_a_space_of_its_own_accord(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    told = tracking.report_to(["trackio", "trackio"], tmp_path / "mine" / "grpo", "grpo")
    assert told["report_to"] == ["trackio"]
    assert told["trackio_space_id"] is None
    assert told["run_name"] == "mine-grpo"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")
def test_tensorboard_gets_rewards_tokens_and_chains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # put back afterwards
    trained(tmp_path, ["tensorboard"])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]}
    assert found["train/rewards/format"] == 0.5
    assert found["train/tokens/rationale"] == 12.0
    assert found["train/kl"] == pytest.approx(0.01)
    assert "train/loss" in found
    text = events.Tensors("samples/0/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "worlds/1/2" in text
    assert "<reason>Mug.</reason>" in text


@pytest.mark.slow
def test_trackio_gets_them_too_on_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edgetwin.tests.distill.test_stage_tracking import trained\n"
        "trained(Path(sys.argv[1]) / 'mine' / 'grpo', ['trackio'])\n"
    )
    place = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, env=place, check=True, capture_output=True, timeout=300)
    with sqlite3.connect(tmp_path / "trackio" / "edgetwin.db") as base:
        rows = base.execute("select run_name, step, metrics from metrics").fetchall()
    assert {row[0] for row in rows} == {"mine-grpo"}
    told = " ".join(str(row[2]) for row in rows)
    for wanted in ("train/rewards/format", "train/tokens/rationale", "train/kl", "worlds/1/2"):
        assert wanted in told, wanted


def test_a_chain_reads_as_a_line_of_text() -> None:
    row = {"key": "a/1", "question": "the mug", "text": "<answer>[1]</answer>", "iou": 1.0}
    assert tracking.as_text(row) == "a/1 · the mug\n\n    <answer>[1]</answer>\n\niou 1.0"
