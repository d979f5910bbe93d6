"""A run with a vision-language model's eyes: all files as with the default reasoner."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.deploy.models import Models
from edgetwin.deploy.refine import Refiner, SourceFrames
from edgetwin.deploy.run import run
from edgetwin.deploy.stream.source import open_source
from edgetwin.deploy.vision.perceiver import keyframes_of
from edgetwin.deploy.vision.responder import load_proposer, refine_hook, vision_models
from edgetwin.deploy.vision.strips import draw_strips
from edgetwin.perception.bundle import load_bundle
from edgetwin.perception.perceiver import Perceiver
from edgetwin.reasoner.models.endpoint import Endpoint
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.reasoner.rollout import Reasoner
from edgetwin.tests.reasoner.loopback import Loopback, Say, said, serving
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError, ToolError
from edgetwin.twin.jsonl import read_frames
from edgetwin.twin.window import TwinWindow

from .truth import (
    CLIP,
    iou,
    pictures_of,
    rsvp_answer,
    short_clip,
    text_of,
    true_mask,
    truths,
)

GLASS, BOOK, PAN, LAMP, BOTTLE, SCISSORS = range(1, 7)
DRINK, CUT = "what could I drink from?", "what could I cut paper with?"


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with serving() as loopback:
        yield loopback


@pytest.fixture(autouse=True)
def _fresh(server: Loopback) -> None:
    server.asked.clear()
    server.script.clear()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short_clip(tmp_path_factory.mktemp("clip"))


def models_of(server: Loopback, questions: list[str], **options: Any) -> Models:
    endpoint = Endpoint(server.url, "seer", timeout_s=5, attempts=1)
    options = {"reasoner": "rsvp", "frames": len(truths()), **options}
    return vision_models("embedded", questions, model=endpoint, **options)


def test_a_video_is_answered_and_followed(server: Loopback, clip: Path, tmp_path: Path) -> None:
    cut = rsvp_answer((SCISSORS, "scissors", "orange scissors"))
    server.script += [said(rsvp_answer((GLASS, "glass", "a purple glass"))), said(cut)]
    report = run(clip, [DRINK, CUT], tmp_path, models_of(server, [DRINK, CUT]))
    assert len(server.asked) == 2
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"answer.json", "masks", "masks.json", "overlay.mp4", "twin.jsonl", "twin.sqlite"}  # fmt: skip
    glass, scissors = json.loads((tmp_path / "answer.json").read_text())
    assert (glass["status"], glass["ids"]) == ("ok", [1])
    assert (scissors["status"], scissors["ids"]) == ("ok", [2])
    assert glass["objects"][0]["label"] == "glass"
    assert glass["objects"][0]["attributes"] == {"color": "purple"}
    assert glass["rationale"] == "A glass is made to drink from."
    assert glass["description"] == "a purple glass"
    assert glass["plan"] == [{"tool": "rsvp", "frame": 0}]
    assert glass["results"][0]["objects"][0]["found_by"] == "words"
    assert glass["tokens"]["prompt"] == 30
    assert glass["models"]["reasoner"]["id"] == "rsvp/seer"
    assert "depth" not in glass["models"]
    assert glass["intervals"] == [[0.0, pytest.approx(report.seconds)]]
    twins = read_frames(tmp_path / "twin.jsonl")
    assert len(twins) == len(truths())
    assert {o.origin for o in twins[0].objects.values()} == {
        "rsvp(what could I drink from)", "rsvp(what could I cut paper with)"
    }  # fmt: skip
    overlaps = []
    for step, (twin, true) in enumerate(zip(twins, truths(), strict=True)):
        for own, object_id in ((1, GLASS), (2, SCISSORS)):
            assert true.objects[object_id].state == "visible"
            mask = twin.objects[own].mask
            found = np.zeros((256, 256), bool) if mask is None else rle.decode(mask)
            overlaps.append(iou(found, true_mask(object_id, step)))
    # The scissors slide by two thirds of their length meanwhile.
    assert np.mean(overlaps) > 0.75
    assert min(overlaps) > 0.5


def test_later_keyframes_find_the_same_objects_again(
    server: Loopback, clip: Path, tmp_path: Path
) -> None:
    answer = said(rsvp_answer((GLASS, "glass", "a purple glass")))
    server.script += [answer, said('{"objects":[]}'), answer]
    run(clip, [DRINK], tmp_path, models_of(server, [DRINK], keyframes=3))
    (given,) = [json.loads((tmp_path / "answer.json").read_text())]
    places = sorted(keyframes_of(len(truths()), 3))
    assert [step["frame"] for step in given["plan"]] == places
    assert given["ids"] == [1]
    assert given["tokens"]["prompt"] == 90


def test_what_is_not_there_and_what_cannot_be_asked(
    server: Loopback, clip: Path, tmp_path: Path
) -> None:
    cat = said('<think>no cat</think>{"objects":[]}')
    server.script += [cat, Say(b"{}", 401), cat]
    questions = ["where is the cat?", DRINK]
    run(clip, questions, tmp_path, models_of(server, questions, keyframes=2))
    assert len(server.asked) == 3  # what failed is not asked again
    none, drink = json.loads((tmp_path / "answer.json").read_text())
    assert (none["status"], none["ids"], none["rationale"]) == ("none", [], "no cat")
    assert none["message"] == "the model says that it is not there"
    assert (drink["status"], drink["ids"]) == ("error", [])
    assert "HTTP 401" in drink["message"]
    assert len(list((tmp_path / "masks").glob("*.png"))) == len(truths())


def test_the_direct_policy_runs_too(server: Loopback, clip: Path, tmp_path: Path) -> None:
    x0, y0, x1, y1 = (round(v * 1000 / 256) for v in truths()[0].objects[LAMP].box_xyxy)
    server.script.append(said(json.dumps([{"bbox_2d": [x0, y0, x1, y1], "label": "lamp"}])))
    run(
        CLIP,
        ["what gives light?"],
        tmp_path,
        models_of(server, ["what gives light?"], reasoner="vlm"),
    )
    given = json.loads((tmp_path / "answer.json").read_text())
    assert (given["status"], given["objects"][0]["label"]) == ("ok", "lamp")
    assert given["models"]["reasoner"]["id"] == "vlm/seer"
    twins = read_frames(tmp_path / "twin.jsonl")
    for place in (0, len(twins) // 2, len(twins) - 1):
        mask = twins[place].objects[1].mask
        assert mask is not None
        assert iou(rle.decode(mask), true_mask(LAMP)) > 0.85


def test_a_chosen_keyframe_is_asked_and_told(server: Loopback, clip: Path, tmp_path: Path) -> None:
    server.script.append(said(rsvp_answer((LAMP, "lamp", "an orange lamp"))))
    run(clip, ["the lamp"], tmp_path, models_of(server, ["the lamp"], at=[3]))
    given = json.loads((tmp_path / "answer.json").read_text())
    assert given["plan"] == [{"tool": "rsvp", "frame": 3}]
    assert given["warnings"] == ["frames before 3 show nothing: objects are followed forwards"]
    twins = read_frames(tmp_path / "twin.jsonl")
    assert [bool(t.objects) for t in twins] == [place >= 3 for place in range(len(twins))]


def test_frames_are_chosen_evenly() -> None:
    assert sorted(keyframes_of(30, 3)) == [0, 10, 20]
    assert sorted(keyframes_of(2, 5)) == [0, 1]
    assert sorted(keyframes_of(None, 5)) == [0]
    with pytest.raises(InputError, match="at least one keyframe"):
        keyframes_of(9, 0)


def test_only_the_questions_of_the_run_are_answered(server: Loopback) -> None:
    models = models_of(server, [DRINK])
    with pytest.raises(InputError, match="one of the questions"):
        models.reasoner.answer(CUT, TwinWindow())


def test_it_is_the_tool_that_proposes(server: Loopback) -> None:
    proposer = load_proposer(
        "rsvp", Endpoint(server.url, "seer", attempts=1), load_bundle("embedded")
    )
    hook = refine_hook(proposer)
    frame = next(iter(open_source(CLIP)))
    server.script.append(said(rsvp_answer((GLASS, "glass", "a purple glass"))))
    (one,) = hook(DRINK, frame)
    assert (one.label, one.color) == ("glass", "purple")
    assert one.mask_hw is not None
    assert iou(one.mask_hw, true_mask(GLASS)) > 0.85
    x0, y0, x1, y1 = one.box_xyxy
    assert one.mask_hw[int(y0) : int(y1), int(x0) : int(x1)].sum() == one.mask_hw.sum()
    server.script += [said('{"objects":[]}'), said("hm"), said("hm")]
    assert hook(DRINK, frame) == []
    with pytest.raises(ToolError, match="cannot be used"):
        hook(DRINK, frame)


def test_the_command_line_asks_the_endpoint(
    server: Loopback, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETWIN_API_KEY", "sk-line")
    server.script.append(said(rsvp_answer((GLASS, "glass", "a purple glass"))))
    line = ["run", str(clip), "-q", DRINK, "-o", str(tmp_path / "o"), "--json"]
    line += ["--reasoner", "rsvp", "--vision", f"{server.url}#seer", "--mode", "sentence"]
    got = subprocess.run(
        [sys.executable, "-m", "edgetwin.cli", *line], capture_output=True, text=True, check=False
    )
    assert got.returncode == 0, got.stderr
    given = json.loads(got.stdout)
    assert (given["status"], given["ids"], given["mode"]) == ("ok", [1], "sentence")
    (asked,) = server.asked
    assert asked.headers["authorization"] == "Bearer sk-line"
    assert asked.body["model"] == "seer"
    assert "(one sentence)" in text_of(asked)
    assert len(pictures_of(asked)) == 2
    assert "sk-line" not in got.stdout + got.stderr
    refused = subprocess.run(
        [sys.executable, "-m", "edgetwin.cli", *line[:-4]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "--vision http://host/v1#model" in " ".join(refused.stderr.split())


def test_a_plan_proposes_and_the_twin_grows(server: Loopback, clip: Path) -> None:
    bundle = load_bundle("embedded")
    proposer = load_proposer("rsvp", Endpoint(server.url, "seer", attempts=1), bundle)
    source = open_source(clip)
    window = TwinWindow(Perceiver(bundle, ["book"]).stream(source))
    assert {o.semantic_label for o in window.frames[-1].objects.values()} == {"book"}
    refiner = Refiner(bundle, SourceFrames(source, window), propose=refine_hook(proposer))
    plan = '<plan>[{"tool":"propose","query":"what could I drink from?"}]</plan>'
    model = ScriptedModel([f"<reason>ask</reason>{plan}", "<answer>$1</answer>"])
    server.script.append(said(rsvp_answer((GLASS, "glass", "a purple glass"))))
    answer = Reasoner(model).answer(DRINK, window, registry=refiner.registry("call"))
    assert answer.status == "ok", answer.message
    (glass,) = answer.ids
    record = window.latest(glass)
    assert (record.semantic_label, record.attributes) == ("glass", {"color": "purple"})
    assert record.origin is not None
    assert record.origin.startswith("propose(")
    for step, frame in enumerate(window.frames):
        mask = frame.objects[glass].mask
        assert mask is not None
        assert iou(rle.decode(mask), true_mask(GLASS, step)) > 0.85
    newest = open_source(clip)
    *_, last = newest
    np.testing.assert_array_equal(
        pictures_of(server.asked[0])[0], draw_strips(last.image_hw3, 9, "horizontal")
    )
