"""Options of a run that change what is seen and who answers: words, refinement, mode, policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetwin.deploy.models import load_models
from edgetwin.deploy.run import RunReport, run
from edgetwin.deploy.twin_check import check_twin
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Reasoner
from edgetwin.twin.errors import InputError
from edgetwin.twin.jsonl import read_frames
from edgetwin.twin.store import TwinStore

CLIP = Path(__file__).parents[2] / "examples" / "spatial.mp4"
WORDS = "glass, ball"
SCRIPT = [
    '<reason>the teapot</reason><plan>[{"tool":"detect","words":["teapot"]}]</plan>',
    "<answer>$1</answer>",
]


def restricted(out: Path, refine: bool, script: list[str]) -> RunReport:
    models = load_models("embedded", ["glass", "ball"])
    models.reasoner = Reasoner(ScriptedModel(script))
    return run(CLIP, ["the teapot"], out, models, refine=refine)


def test_what_was_not_looked_for_is_found_when_asked(tmp_path: Path) -> None:
    report = restricted(tmp_path, True, SCRIPT)
    answer = report.answers[0]
    assert answer["status"] == "ok"
    assert [o["label"] for o in answer["objects"]] == ["teapot"]
    assert answer["refine"]["calls"] == {"detect": 1}
    found = str(answer["ids"][0])
    masks = json.loads((tmp_path / "masks.json").read_text())
    with_it = [frame["index"] for frame in masks["frames"] if found in frame["masks"]]
    assert 0 in with_it  # how many of the others depends on how busy the machine is
    assert len(list((tmp_path / "masks").glob("*.png"))) == len(masks["frames"]) == 32
    refined = read_frames(tmp_path / "refined.jsonl")
    assert {o.origin for f in refined for o in f.objects.values() if o.id == answer["ids"][0]} == {
        "detect(teapot)"
    }
    with TwinStore(tmp_path / "twin.sqlite") as store:
        stored = [frame.index for frame in store.frames() if answer["ids"][0] in frame.objects]
    assert set(with_it) <= set(stored)
    assert not [fault for checked in check_twin(tmp_path) for fault in checked.faults]


def test_the_static_twin_has_no_perception_tools(tmp_path: Path) -> None:
    report = restricted(tmp_path, False, SCRIPT)
    answer = report.answers[0]
    assert answer["status"] == "error"
    assert "detect" in answer["message"]
    assert "refine" not in answer
    assert not (tmp_path / "refined.jsonl").exists()


def test_the_embedded_model_looks_again_by_itself(tmp_path: Path) -> None:
    report = run(CLIP, ["Where is the teapot?"], tmp_path / "a", words=WORDS)
    assert [o["label"] for o in report.answers[0]["objects"]] == ["teapot"]
    static = run(CLIP, ["Where is the teapot?"], tmp_path / "b", words=WORDS, refine=False)
    assert static.answers[0]["status"] == "none"


def test_a_policy_without_its_model_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--vision"):
        run(CLIP, ["the teapot"], tmp_path / "o", reasoner="vlm")
    with pytest.raises(InputError, match="rsvp or vlm"):
        run(CLIP, ["the teapot"], tmp_path / "o", reasoner="oracle")  # type: ignore[arg-type]
    assert not (tmp_path / "o").exists()
