"""A data set of unknown keys, read through the user's mapping file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.distill.datasets.choose import dataset_of, read_dataset
from edgetwin.distill.datasets.sample import Sample
from edgetwin.distill.datasets.twins import build_twins
from edgetwin.distill.tasks.cached import read_tasks
from edgetwin.distill.tasks.leaks import held_pictures, leak_of
from edgetwin.twin import mask as masks
from edgetwin.twin.errors import InputError

from . import made_datasets as made
from .test_dataset_twins import Fake

MAPPING: dict[str, Any] = {
    "name": "jitbench",
    "file": "meta/{split}.json",
    "pictures": "frames",
    "held_out": ["test"],
    "at": "data.items",
    "folder": "clip.name",
    "question": "query",
    "masks": "seg",
    "level": "difficulty",
    "kind": "type",
}
RECORD: dict[str, Any] = {
    "clip": {"name": "v1"},
    "query": "which one?",
    "seg": [made.rle(made.FIRST), None],
    "difficulty": "L3",
    "type": "spatial",
}


def put(root: Path, records: Any = None, **changes: Any) -> str:
    """The data set and its mapping; returns the mapping's path."""
    for split, video in (("train", "v1"), ("test", "v2")):
        own = records if records is not None else {"q7": {**RECORD, "clip": {"name": video}}}
        made.put_json(root / f"meta/{split}.json", {"data": {"items": own}})
        for k in range(2):
            made.put_picture(root / f"frames/{video}/{k:03d}.png", seed=k)
    path = root / "mapping.json"
    made.put_json(path, {k: v for k, v in {**MAPPING, **changes}.items() if v is not None})
    return str(path)


def read(root: Path, records: Any = None, split: str = "train", **changes: Any) -> list[Sample]:
    return list(read_dataset(put(root, records, **changes), root, split))


def test_a_record_is_read_where_the_mapping_says(tmp_path: Path) -> None:
    (sample,) = read(tmp_path)
    assert (sample.key, sample.level, sample.kind) == ("jitbench/train/q7", 3, "spatial")
    assert sample.questions == ("which one?",)
    assert [p.name for p in sample.pictures] == ["000.png", "001.png"]
    assert set(sample.truth) == {0}
    assert np.array_equal(masks.decode(sample.truth[0]), made.FIRST)


def test_other_forms(tmp_path: Path) -> None:
    (still,) = read(
        tmp_path,
        [{**RECORD, "clip": {"name": "v1/000.png"}, "seg": made.rle(made.SECOND), "query": ["a", "b"]}],
    )  # fmt: skip
    assert (still.key, still.questions, len(still.pictures)) == ("jitbench/train/0", ("a", "b"), 1)
    (placed,) = read(tmp_path, [{**RECORD, "seg": {"1": made.rle(made.FIRST)}}])
    assert set(placed.truth) == {1}
    (bare,) = read(tmp_path, [RECORD], masks=None, level=None, kind=None)
    assert (bare.truth, bare.level, bare.kind) == (None, 0, "")
    lines = "\n".join(json.dumps({**RECORD, "query": f"q{k}"}) for k in range(3))
    name = put(tmp_path, file="l.jsonl", at=None)
    (tmp_path / "l.jsonl").write_text(lines)
    assert [s.questions for s in read_dataset(name, tmp_path)] == [("q0",), ("q1",), ("q2",)]


@pytest.mark.parametrize(
    ("changes", "record", "message"),
    [
        ({"question": "query.text"}, {}, "expected the key 'text' of 'query.text'"),
        ({"question": "asked"}, {}, "got the keys clip, difficulty"),
        ({"name": "refcoco"}, {}, "a name of its own"),
        ({"name": "../x"}, {}, "name: "),
        ({"keys": "x"}, {}, "keys: "),
        ({"file": "../../etc/passwd"}, {}, "expected a name below"),
        ({"at": "data"}, {}, "expected the key 'clip'"),
        ({}, {"clip": {"name": "../../x"}}, "expected a name below"),
        ({}, {"clip": {"name": "nowhere"}}, "expected a picture or a folder"),
        ({}, {"seg": [None]}, "expected masks of 2 frames, got 1"),
        ({}, {"seg": {"5": made.rle(made.FIRST)}}, "frames 0 to 1"),
        ({}, {"query": " "}, "one question with words"),
    ],
)
def test_what_does_not_fit_is_said(
    tmp_path: Path, changes: dict[str, Any], record: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, {"q": {**RECORD, **record}}, **changes)


def test_its_twins_are_built_and_its_held_out_videos_refused(tmp_path: Path) -> None:
    name = put(tmp_path)
    assert dataset_of(name).held_out == ("test",)
    held = held_pictures(name, tmp_path)
    assert held == {"jitbench/v2"}
    build_twins(name, tmp_path, "train", tmp_path / "a", Fake({1: made.FIRST}))
    (task,) = read_tasks(tmp_path / "a")
    assert (task.source, task.ids, task.level) == ("jitbench", (1,), 3)
    assert leak_of(task, held) is None
    build_twins(name, tmp_path, "test", tmp_path / "b", Fake({1: made.FIRST}))
    (other,) = read_tasks(tmp_path / "b")
    assert str(leak_of(other, held)).startswith("picture: ")
