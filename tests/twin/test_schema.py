"""The records' schema: committed, versioned, and true of the records that are written."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from edgetwin.twin import schema_json
from edgetwin.twin.errors import InputError, SchemaError
from edgetwin.twin.frame import Frame
from edgetwin.twin.jsonl import read_frames
from edgetwin.twin.schema import SCHEMA_VERSION, FrameTwin, ObjectTwin, Rle
from edgetwin.twin.store import TwinStore
from edgetwin.twin.text import describe
from edgetwin.twin.window import TwinWindow

from .build import frame, obj

# One entry per published version, never edited: a changed record needs a new version.
# Renew the file with `python -m edgetwin.twin.schema_json --write`.
VERSIONS = {
    1: "4abcf24a5de9a85aa14d6819fee9c3d5269cfcfd4d3636a36ff0bba63f5ee86d",
    2: "547d045debc37f9606cf4c8d7ba0edbeecd523a9aeb00a44192947c4a7ee6881",
    3: "972c50066df28ce20f07501a4bfcdc96efbd470fa54fdc26427df3198203d406",
}


def test_the_committed_schema_is_the_generated_one() -> None:
    assert schema_json.committed() == schema_json.generate()


def test_no_change_without_a_new_version() -> None:
    digest = hashlib.sha256(schema_json.render(schema_json.generate()).encode()).hexdigest()
    assert VERSIONS.get(SCHEMA_VERSION) == digest
    assert FrameTwin.model_fields["schema_version"].default == SCHEMA_VERSION


def test_writing_refuses_an_unversioned_change(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    assert schema_json.write(path)
    assert not schema_json.write(path)
    old = json.loads(path.read_text())
    del old["properties"]["source_id"]
    path.write_text(json.dumps(old))
    with pytest.raises(SchemaError, match="expected a SCHEMA_VERSION over 3"):
        schema_json.write(path)
    assert schema_json.write(path, same_version=True)
    path.write_text(json.dumps(old | {"version": 0}))
    assert schema_json.write(path)


def test_the_command_line() -> None:
    command = [sys.executable, "-m", "edgetwin.twin.schema_json"]
    assert subprocess.run([*command, "--check"], check=False).returncode == 0
    assert schema_json.main(["--check"]) == 0
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == schema_json.committed()


def test_written_frames_satisfy_the_schema() -> None:
    item = frame(
        3,
        [
            obj(
                1,
                z=0.5,
                mask=Rle(size=(256, 256), counts="0"),
                centroid_m=(0.1, 0.2, 0.5),
                extent_m=(0.1, 0.05, 0.02),
            ),
            obj(2, state="left", attributes={"color": "red"}, origin="detect(mug)"),
        ],
        vocabulary=("ball", "mug"),
        intrinsics={"fx": 300, "fy": 300, "cx": 128, "cy": 128},
    )
    validator = jsonschema.Draft202012Validator(schema_json.committed())
    validator.validate(json.loads(item.model_dump_json()))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**json.loads(item.model_dump_json()), "index": -1})


@pytest.mark.parametrize(
    "change",
    [
        {"id": 0},
        {"id": 2**31},
        {"semantic_label": ""},
        {"semantic_label": "x" * 65},
        {"confidence": 1.1},
        {"box_xyxy": (5, 0, 4, 1)},
        {"centroid": (float("nan"), 0)},
        {"last_seen": -1.0},
        {"first_seen": 3.0, "last_seen": 2.0},
        {"state": "gone"},
        {"extra": 1},
        {"extent_m": (0.1, 0.1)},
        {"extent_m": (0.1, -0.1, 0.1)},
        {"extent_m": (0.1, float("inf"), 0.1)},
        {"origin": ""},
        {"origin": "x" * 129},
    ],
)
def test_a_record_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ObjectTwin.model_validate(obj(1).model_dump() | change)


def old_record(**more: object) -> dict[str, object]:
    """A frame as version 1 wrote it: the bytes of a release, not what this version makes."""
    return json.loads(VERSION_1) | more


VERSION_1 = (
    '{"schema_version":1,"source_id":"sim:cell:1000000","index":0,"timestamp_s":0.0,"width":256,'
    '"height":256,"intrinsics":{"fx":309.0,"fy":309.0,"cx":128.0,"cy":128.0},"objects":{"1":'
    '{"id":1,"semantic_label":"box","attributes":{"color":"orange"},"confidence":1.0,'
    '"state":"visible","mask":null,"box_xyxy":[77.0,50.0,129.0,103.0],"centroid":[103.5,76.0],'
    '"area":1880,"mean_depth":0.875,"depth_stats":{"unit":"m","variance":0.0005,"min":0.84,'
    '"max":0.956,"p5":0.854,"p50":0.875,"p95":0.923},"centroid_m":[-0.07,-0.149,0.875],'
    '"velocity":[0.0,0.0],"first_seen":0.0,"last_seen":0.0}}}'
)


VERSION_2 = VERSION_1.replace('"schema_version":1', '"schema_version":2').replace(
    '"velocity"', '"extent_m":[0.125,0.25,0.5],"velocity"'
)


@pytest.mark.parametrize(
    ("record", "extent_m"), [(VERSION_1, None), (VERSION_2, (0.125, 0.25, 0.5))], ids=["1", "2"]
)
def test_older_versions_are_read_everywhere_and_written_as_version_3(
    record: str, extent_m: tuple[float, float, float] | None, tmp_path: Path
) -> None:
    lines = tmp_path / "old.jsonl"
    lines.write_text(record + "\n")
    (read,) = read_frames(lines)
    assert read.schema_version == 3
    assert read.objects[1].extent_m == extent_m
    assert (read.vocabulary, read.objects[1].origin) == (None, None)
    assert read.objects[1].centroid_m == (-0.07, -0.149, 0.875)
    assert describe(TwinWindow([read])) == (
        "frame 256x256\n1 orange box x104 y76 w52 h53 z88\ntime 0.0\n"
    )
    again = json.loads(read.model_dump_json())
    jsonschema.Draft202012Validator(schema_json.committed()).validate(again)
    new = again["objects"]["1"]
    assert new.pop("origin") is None
    assert again.pop("vocabulary") is None
    if extent_m is None:
        assert new.pop("extent_m") is None
    assert again == json.loads(record) | {"schema_version": 3}

    path = tmp_path / "old.db"
    with TwinStore(path) as store:
        store.append(read)
    db = sqlite3.connect(path)
    db.execute("UPDATE frames SET record = ?", (record,))
    db.commit()
    db.close()
    with TwinStore(path) as store:
        assert list(store.frames()) == [read]
        assert store.window().last == read


@pytest.mark.parametrize("version", [0, 4, "1", True, 2.0, None])
def test_other_versions_are_refused(version: object) -> None:
    with pytest.raises(ValidationError, match="schema_version"):
        FrameTwin.model_validate(old_record(schema_version=version))


@pytest.mark.parametrize("words", [("",), ("x" * 65,), ("mug",) * 4097])
def test_a_vocabulary_has_bounds(words: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="vocabulary"):
        frame(0, [], vocabulary=words)


def test_objects_are_keyed_by_their_id() -> None:
    with pytest.raises(ValidationError, match="keyed by id"):
        FrameTwin(index=0, timestamp_s=0, width=8, height=8, objects={2: obj(1)})


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 4), "uint8"), ((4, 4, 4), "uint8"), ((0, 4, 3), "uint8"), ((4, 4, 3), "float32")],
)
def test_a_picture_of_another_shape_or_type_is_refused(shape: tuple[int, ...], dtype: str) -> None:
    assert Frame(0, 0.0, np.zeros((2, 3, 3), np.uint8)).source_id == "source"
    with pytest.raises(InputError, match=r"expected an RGB picture of shape \(H, W, 3\)"):
        Frame(0, 0.0, np.zeros(shape, dtype))
