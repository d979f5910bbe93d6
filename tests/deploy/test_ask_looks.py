"""Sessions that look again into the pictures for what the twin lacks."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import cv2
import pytest

from edgetwin.deploy.ask import AskOptions, open_asker
from edgetwin.deploy.stream.source import open_source
from edgetwin.deploy.twin_check import check_twin
from edgetwin.deploy.twin_files import TwinFile
from edgetwin.reasoner.models.scripted import ScriptedModel
from edgetwin.twin.jsonl import read_frames

from ..test_cli import CLIP, embedded

DETECT = '<reason>look for it</reason><plan>[{"tool":"detect","words":["glass"]}]</plan>'
ANSWER = "<answer>$1</answer>"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames of the clip as a folder."""
    folder = tmp_path_factory.mktemp("pictures")
    for frame in islice(open_source(CLIP), 8):
        cv2.imwrite(str(folder / f"{frame.index}.png"), frame.image_hw3[:, :, ::-1])
    return folder


@embedded
def test_a_session_finds_what_was_not_looked_for_and_keeps_it(
    tmp_path: Path, pictures: Path
) -> None:
    out = tmp_path / "o"
    asker = open_asker(pictures, AskOptions(words="teapot", out=out))
    asker.feed.wait(None)
    asker.reasoner.model = ScriptedModel([DETECT, ANSWER, DETECT, ANSWER])
    asker.forget()
    record = asker.ask("where is the glass?")
    assert record["status"] == "ok", record["message"]
    assert {o["label"] for o in record["objects"]} == {"glass"}
    assert {o["origin"] for o in record["objects"]} == {"detect(glass)"}
    assert min(record["ids"]) > 1  # above what the stream found
    assert record["refine"]["calls"] == {"detect": 1}
    asked = asker.ask("where is the glass now?")
    assert asked["ids"] == record["ids"]
    assert asked["refine"]["cached"] == 1  # looked for once
    asker.close()
    assert [checked.count for checked in check_twin(out)] == [0, 0, 0]
    assert len(read_frames(out / "refined.jsonl")) == 8
    masks = json.loads((out / "masks.json").read_text())["frames"]
    assert set(map(str, record["ids"])) <= set(masks[-1]["masks"])
    last = list(TwinFile(out).frames())[-1]
    assert set(record["ids"]) <= set(last.objects)
    assert last.vocabulary == ("teapot", "glass")


@embedded
@pytest.mark.parametrize("refine", [False, True])
def test_a_twin_is_looked_at_again_only_where_its_pictures_are_at_hand(
    tmp_path: Path, pictures: Path, refine: bool
) -> None:
    out = tmp_path / "o"
    source = open_asker(pictures, AskOptions(words="teapot", out=out, refine=False))
    source.feed.wait(None)
    source.close()
    kept = TwinFile(out / "twin.sqlite").path.read_bytes()
    asker = open_asker(out, AskOptions(refine=refine, pictures=pictures))
    asker.reasoner.model = ScriptedModel([DETECT, ANSWER])
    asker.forget()
    record = asker.ask("where is the glass?")
    asker.close()
    assert record["status"] == ("ok" if refine else "error"), record["message"]
    assert (record["refine"] is not None) == refine
    assert (out / "twin.sqlite").read_bytes() == kept  # a twin that is there is only read
