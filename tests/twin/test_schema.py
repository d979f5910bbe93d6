"""The records' schema: committed, versioned, and true of the records that are written."""

from __future__ import annotations

import hashlib
import json
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
from edgetwin.twin.schema import SCHEMA_VERSION, FrameTwin, ObjectTwin, Rle

from .build import frame, obj

# One entry per published version, never edited: a changed record needs a new version.
# Renew the file with `python -m edgetwin.twin.schema_json --write`.
VERSIONS = {1: "4abcf24a5de9a85aa14d6819fee9c3d5269cfcfd4d3636a36ff0bba63f5ee86d"}


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
    with pytest.raises(SchemaError, match="expected a SCHEMA_VERSION over 1"):
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
            obj(1, z=0.5, mask=Rle(size=(256, 256), counts="0"), centroid_m=(0.1, 0.2, 0.5)),
            obj(2, state="left", attributes={"color": "red"}),
        ],
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
    ],
)
def test_a_record_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ObjectTwin.model_validate(obj(1).model_dump() | change)


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
