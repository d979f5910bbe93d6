"""The one-shot run: one twin for all questions, every file, and what is kept when it stops."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edgetwin.deploy.run import answer_text, run
from edgetwin.twin.errors import OutputError, QueryError, SourceError
from edgetwin.twin.jsonl import read_frames
from edgetwin.twin.store import TwinStore

from .scenes import PLAN_RED, SquareFinder, picture, square_models, write_clip
from .test_sinks import indices_of

RED = [PLAN_RED, "<answer>$1</answer>"]
NONE = ["<reason>no such thing</reason><answer>none</answer>"]


def test_one_question_writes_every_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    out = tmp_path / "out"
    report = run(clip, ["what is red?"], out, square_models(RED))
    assert report.frames == 12
    names = {p.name for p in out.iterdir()}
    assert names == {
        "answer.json", "masks", "masks.json", "overlay.mp4", "twin.jsonl", "twin.sqlite"
    }  # fmt: skip
    answer = json.loads((out / "answer.json").read_text())
    assert (answer["status"], answer["ids"], answer["question"]) == ("ok", [1], "what is red?")
    assert answer["objects"][0]["attributes"] == {"color": "red"}
    assert answer["plan"] == [{"tool": "attribute", "name": "color", "value": "red"}]
    assert answer["results"] == [[1]]
    assert answer["rationale"] == "the red one"
    assert answer["intervals"] == [[0.0, pytest.approx(1.1)]]
    assert answer["models"]["reasoner"]["id"] == "scripted"
    assert answer["models"]["detector"]["id"] == "squares/detector"
    assert {"load", "decode", "perceive", "reason", "draw"} <= set(answer["ms"])
    assert answer["source"]["frames"] == 12
    pngs = sorted((out / "masks").glob("*.png"))
    assert [p.name for p in pngs] == [f"{n:05d}.png" for n in range(12)]
    index = indices_of(pngs[5].read_bytes())
    assert set(np.unique(index)) == {0, 1}
    assert (index[20:40, 20:40] == 1).mean() > 0.95
    frames = read_frames(out / "twin.jsonl")
    assert [f.index for f in frames] == list(range(12))
    with TwinStore(out / "twin.sqlite") as store:
        assert list(store.frames()) == frames
        assert [a["ids"] for a in store.answers()] == [[1]]
    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


def test_several_questions_share_one_twin(tmp_path: Path) -> None:
    finder = SquareFinder()
    models = square_models([*RED, *NONE], finder)
    report = run(write_clip(tmp_path / "c.mp4"), ["red?", "a whale?"], tmp_path / "o", models)
    assert finder.seen == 12
    answers = json.loads((tmp_path / "o" / "answer.json").read_text())
    assert [(a["status"], a["ids"]) for a in answers] == [("ok", [1]), ("none", [])]
    masks = tmp_path / "o" / "masks"
    assert len(list(masks.glob("*.png"))) == 12
    assert indices_of((masks / "q1" / "00000.png").read_bytes()).any()
    assert not indices_of((masks / "q2" / "00000.png").read_bytes()).any()
    assert answer_text(report.answers[0]) == "#1 red box"
    assert answer_text(report.answers[1]) == "nothing that was seen fits"


def test_a_picture_is_a_one_frame_video(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "p.png"), picture()[:, :, ::-1])
    report = run(tmp_path / "p.png", ["what is red?"], tmp_path / "o", square_models(RED))
    assert report.answers[0]["source"]["kind"] == "image"
    index = indices_of((tmp_path / "o" / "masks" / "00000.png").read_bytes())
    assert (index[20:40, 10:30] == 1).all()
    assert index.astype(bool).sum() == 400


def test_a_cut_video_answers_with_status_partial(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "cut.mp4", frames=40, movflags="faststart")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.7)])
    report = run(path, ["what is red?"], tmp_path / "o", square_models(RED))
    (answer,) = report.answers
    assert (answer["status"], answer["ids"]) == ("partial", [1])
    assert "cut or damaged" in answer["message"]
    assert len(list((tmp_path / "o" / "masks").glob("*.png"))) == report.frames < 40


def test_an_error_of_the_reasoner_is_a_status_not_an_empty_answer(tmp_path: Path) -> None:
    bad = ["<reason>x</reason><answer>[9]</answer>"]
    report = run(write_clip(tmp_path / "c.mp4", 3), ["what?"], tmp_path / "o", square_models(bad))
    assert report.failed
    assert report.answers[0]["status"] == "error"
    assert report.answers[0]["message"]
    assert (tmp_path / "o" / "overlay.mp4").stat().st_size > 0


def test_earlier_results_are_replaced_and_other_files_left(tmp_path: Path) -> None:
    out = tmp_path / "o"
    run(write_clip(tmp_path / "a.mp4", 8), ["a", "b"], out, square_models([*RED, *RED]))
    (out / "notes.txt").write_text("mine")
    (out / "masks" / "mine.png").write_text("mine")
    run(write_clip(tmp_path / "b.mp4", 3), ["a"], out, square_models(RED))
    assert {p.name for p in (out / "masks").iterdir()} == {
        "00000.png", "00001.png", "00002.png", "mine.png"
    }  # fmt: skip
    assert (out / "notes.txt").read_text() == "mine"
    assert len(read_frames(out / "twin.jsonl")) == 3
    with TwinStore(out / "twin.sqlite") as store:
        assert store.count() == 3


def test_an_interrupted_run_keeps_what_it_perceived(tmp_path: Path) -> None:
    finder = SquareFinder()
    finder.fail_at = 5
    with pytest.raises(KeyboardInterrupt):
        run(write_clip(tmp_path / "c.mp4"), ["red?"], tmp_path / "o", square_models(RED, finder))
    assert len(read_frames(tmp_path / "o" / "twin.jsonl")) == 5
    assert len(json.loads((tmp_path / "o" / "masks.json").read_text())["frames"]) == 5
    with TwinStore(tmp_path / "o" / "twin.sqlite") as store:
        assert store.count() == 5


def test_bad_questions_and_sources_stop_before_anything_is_written(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 2)
    for questions in ([], [" "], ["x" * 2000]):
        with pytest.raises(QueryError):
            run(clip, questions, tmp_path / "o", square_models(RED))
    with pytest.raises(SourceError):
        run(tmp_path / "none.mp4", ["red?"], tmp_path / "o", square_models(RED))
    assert not (tmp_path / "o").exists()


def test_a_question_that_is_no_utf8_is_written_with_a_mark(tmp_path: Path) -> None:
    question = b"what is r\xffd?".decode(errors="surrogateescape")
    run(write_clip(tmp_path / "c.mp4", 2), [question], tmp_path / "o", square_models(RED))
    answer = json.loads((tmp_path / "o" / "answer.json").read_text())
    assert answer["question"] == "what is r?d?"


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 2)
    with pytest.raises(OutputError, match="expected to write"):
        run(clip, ["red?"], clip, square_models(RED))


def test_progress_names_its_stages(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    run(
        write_clip(tmp_path / "c.mp4", 4),
        ["red?"],
        tmp_path / "o",
        square_models(RED),
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )
    assert [s for s in seen if s[0] == "perceive"] == [("perceive", n, 4) for n in range(1, 5)]
    assert ("answer", 1, 1) in seen
    assert seen[-1] == ("draw", 4, 4)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    import tracemalloc

    peaks = []
    for frames in (30, 120):
        clip = write_clip(tmp_path / f"{frames}.mp4", frames)
        models = square_models(RED)
        tracemalloc.start()
        run(clip, ["red?"], tmp_path / "o", models)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # the window keeps up to 600 twins of some kilobytes each; frames would be 37 kB each
    assert peaks[1] - peaks[0] < 90 * 12_000
