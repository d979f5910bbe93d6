"""A twin on disk: opened as frames whatever its form, checked, and never written to."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgetwin.deploy.twin_check import APPLICATION_ID, MAX_FAULTS, Checked, check_twin
from edgetwin.deploy.twin_files import TwinFile, is_twin
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import EdgeTwinError, InputError, SchemaError, StoreError
from edgetwin.twin.jsonl import read_frames, write_frames
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.store import TwinStore

from .scenes import picture
from .twins import tracked


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tracked(tmp_path_factory.mktemp("twin"))


@pytest.fixture
def copy(twin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(twin, tmp_path / "copy"))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def faults(path: Path) -> list[str]:
    return [str(fault) for checked in check_twin(path) for fault in checked.faults]


# ---- opened as frames


def test_folder_lines_and_store_give_the_same_frames(twin: Path) -> None:
    wanted = read_frames(twin / "twin.jsonl")
    assert len(wanted) == 8
    before = contents(twin)
    for path, kind in (
        (twin, "sqlite"),
        (twin / "twin.jsonl", "jsonl"),
        (twin / "twin.sqlite", "sqlite"),
    ):
        file = TwinFile(path)
        assert file.kind == kind
        assert list(file.frames()) == wanted
        assert list(file.frames(newest=3)) == wanted[-3:]
        assert list(file.more()) == []
        assert list(file.frames(newest=99)) == wanted
    assert contents(twin) == before  # nothing was written, no log left beside the store


def test_what_is_no_twin_is_told_apart(twin: Path, tmp_path: Path) -> None:
    assert is_twin(twin)
    assert not is_twin(twin.parent / "squares.mp4")
    assert not is_twin(tmp_path)
    assert not is_twin(tmp_path / "none")
    for path in (twin.parent / "squares.mp4", tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="expected a twin at"):
            TwinFile(path)


@pytest.mark.parametrize("name", ["twin.jsonl", "twin.sqlite"])
def test_what_a_writer_adds_comes_with_more(twin: Path, tmp_path: Path, name: str) -> None:
    frames = read_frames(twin / "twin.jsonl")
    path = tmp_path / name
    if name == "twin.jsonl":
        text = [frame.model_dump_json() + "\n" for frame in frames]
        path.write_text("".join(text[:3]) + text[3][:50])  # a line being written
        file = TwinFile(path)
        assert list(file.frames()) == frames[:3]
        path.write_text("".join(text))
        assert list(file.more()) == frames[3:]
    else:
        with TwinStore(path) as store:
            for frame in frames[:3]:
                store.append(frame)
            store.flush()
            file = TwinFile(path)
            assert list(file.frames()) == frames[:3]
            for frame in frames[3:]:
                store.append(frame)
            store.flush()
            assert list(file.more()) == frames[3:]


def test_of_a_store_with_two_runs_the_newest_is_read(twin: Path, tmp_path: Path) -> None:
    frames = read_frames(twin / "twin.jsonl")
    for count in (8, 2):
        with TwinStore(tmp_path / "twin.sqlite") as store:
            for frame in frames[:count]:
                store.append(frame)
    file = TwinFile(tmp_path)
    assert list(file.frames()) == frames[:2]
    assert file.run == 2


def test_lines_stand_in_for_an_empty_or_damaged_store(copy: Path) -> None:
    wanted = read_frames(copy / "twin.jsonl")
    (copy / "twin.sqlite").write_bytes(b"SQLite format 3\0" + b"\7" * 4000)
    assert list(TwinFile(copy).frames()) == wanted
    with pytest.raises(StoreError, match="edgetwin twin check"):
        list(TwinFile(copy / "twin.sqlite").frames())


def test_a_view_that_counts_for_ever_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "twin.sqlite"
    db = sqlite3.connect(path)
    db.executescript(
        f"PRAGMA application_id = {APPLICATION_ID};"
        "CREATE VIEW frames AS WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n)"
        " SELECT seq, 1 AS run, 'x' AS source_id, seq AS frame_index, seq AS timestamp_s,"
        " '{}' AS record FROM n;"
    )
    db.close()
    with pytest.raises(StoreError, match="no table frames"):
        list(TwinFile(path).frames())
    assert any("no table" in fault for fault in faults(path))


# ---- checked


def test_a_whole_twin_has_no_fault(twin: Path) -> None:
    lines, store = twin / "twin.jsonl", twin / "twin.sqlite"
    assert [(c.file, c.frames, c.count) for c in check_twin(twin)] == [
        (str(lines), 8, 0), (str(store), 8, 0), (f"{twin}: twin.jsonl and twin.sqlite", 8, 0)
    ]  # fmt: skip


def spoil_time(frame: dict[str, Any]) -> None:
    frame["timestamp_s"] = 0.0


def spoil_index(frame: dict[str, Any]) -> None:
    frame["index"] = 2


def spoil_size(frame: dict[str, Any]) -> None:
    frame["width"] = 64


def spoil_source(frame: dict[str, Any]) -> None:
    frame["source_id"] = "other.mp4"


def spoil_version(frame: dict[str, Any]) -> None:
    frame["schema_version"] = 99


def spoil_mask(frame: dict[str, Any]) -> None:
    frame["objects"]["1"]["mask"]["counts"] = "0!"


def spoil_area(frame: dict[str, Any]) -> None:
    frame["objects"]["1"]["area"] += 1


def spoil_box(frame: dict[str, Any]) -> None:
    frame["objects"]["1"]["box_xyxy"][0] -= 5


def spoil_id(frame: dict[str, Any]) -> None:
    frame["objects"]["1"]["first_seen"] = 0.3


def spoil_seen(frame: dict[str, Any]) -> None:
    frame["objects"]["1"]["last_seen"] = 0.1


def spoil_state(frame: dict[str, Any]) -> None:
    frame["objects"]["1"]["state"] = "occluded"


def spoil_key(frame: dict[str, Any]) -> None:
    frame["objects"]["7"] = frame["objects"].pop("1")


def spoil_mask_size(frame: dict[str, Any]) -> None:
    mask = frame["objects"]["1"]["mask"]
    mask["size"] = [mask["size"][1], mask["size"][0]]


FAULTS: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (spoil_time, "time goes back from 0.300 to 0.000 s"),
    (spoil_index, "frame 2 comes after frame 3"),
    (spoil_size, "the frame is 64x96 after 128x96"),
    (spoil_source, "source 'other.mp4' comes after 'squares.mp4'"),
    (spoil_version, "at schema_version"),
    (spoil_mask, "id 1: expected mask"),
    (spoil_area, "pixels"),
    (spoil_box, "id 1 has the box"),
    (spoil_id, "id 1 was first seen at 0.000 s before and at 0.300 s here"),
    (spoil_seen, "id 1, visible at 0.400 s, was last seen at 0.100 s"),
    (spoil_state, "id 1 is occluded and has a mask"),
    (spoil_key, "expected objects keyed by id"),
    (spoil_mask_size, "id 1 has a mask of 96x128 in a frame of 128x96"),
]


@pytest.mark.parametrize(("spoil", "told"), FAULTS, ids=[f.__name__ for f, _ in FAULTS])
def test_each_fault_is_told_with_its_line_and_row(
    copy: Path, spoil: Callable[[dict[str, Any]], None], told: str
) -> None:
    lines = (copy / "twin.jsonl").read_text().splitlines()
    frame = json.loads(lines[4])
    spoil(frame)
    lines[4] = json.dumps(frame)
    (copy / "twin.jsonl").write_text("\n".join(lines) + "\n")
    db = sqlite3.connect(copy / "twin.sqlite")
    values = (lines[4], frame["timestamp_s"], frame["index"], frame["source_id"])
    db.execute(
        "UPDATE frames SET record = ?, timestamp_s = ?, frame_index = ?, source_id = ? WHERE seq = 5",
        values,
    )
    db.commit()
    db.close()
    text, store = check_twin(copy)
    for checked, place in ((text, "line 5"), (store, "row 5")):
        assert any(f.place == place and told in f.what and f.advice for f in checked.faults)


def test_a_cut_last_line_and_broken_ones_are_told(copy: Path) -> None:
    path = copy / "twin.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = "{not json"
    path.write_text("\n".join(lines)[:-40])
    broken, cut = faults(path)
    assert "line 3: expected a frame of the twin as JSON" in broken
    assert "line 8: the last line is cut off" in cut
    with pytest.raises(SchemaError, match=r"line 3.*twin check"):
        list(TwinFile(path).frames())


def test_lines_and_store_that_differ_are_told(copy: Path) -> None:
    path = copy / "twin.jsonl"
    frames = read_frames(path)
    write_frames(path, frames[:6])
    assert "frame 7: only twin.sqlite goes on from here" in faults(copy)[0]
    write_frames(
        path, [*frames[:4], frames[4].model_copy(update={"vocabulary": ("mug",)}), *frames[5:]]
    )
    assert "frame 5: the two differ" in faults(copy)[0]


def test_a_store_that_questions_refined_agrees_with_its_lines(copy: Path) -> None:
    frames = read_frames(copy / "twin.jsonl")
    found = frames[3].objects[1].model_copy(update={"id": 9, "origin": "detect(lamp)"})
    with TwinStore(copy / "twin.sqlite") as store:
        amended = frames[3].model_copy(update={"objects": {**frames[3].objects, 9: found}})
        assert store.amend([amended]) == 1
    assert faults(copy) == []
    assert list(TwinFile(copy).frames())[3] == amended


def test_columns_answers_and_versions_of_a_store_are_checked(copy: Path) -> None:
    db = sqlite3.connect(copy / "twin.sqlite")
    db.execute("UPDATE frames SET frame_index = 77 WHERE seq = 2")
    db.execute("UPDATE frames SET record = x'00ff' WHERE seq = 3")
    db.execute("INSERT INTO answers (record) VALUES ('[1]')")
    db.commit()
    told = "\n".join(faults(copy / "twin.sqlite"))
    assert "row 2: its columns ['squares.mp4', 77, 0.1] are not those of its record" in told
    assert "row 3: its columns hold other values" in told
    assert "answer 1: it is no JSON object" in told
    db.execute("INSERT INTO schema_version (version) VALUES (9)")
    db.commit()
    assert "its layout is version 9" in faults(copy / "twin.sqlite")[0]
    db.execute("PRAGMA application_id = 1")
    db.commit()
    db.close()
    assert "another program's database" in faults(copy / "twin.sqlite")[0]


def test_faults_are_counted_beyond_what_is_kept(tmp_path: Path) -> None:
    (tmp_path / "twin.jsonl").write_text("{}\n" * (MAX_FAULTS + 5))
    (checked,) = check_twin(tmp_path)
    assert (checked.count, len(checked.faults), checked.frames) == (MAX_FAULTS + 5, MAX_FAULTS, 0)


def damaged(data: bytes, random_: random.Random) -> bytes:
    """Bytes with a few flipped, cut, repeated or filled."""
    spoilt = bytearray(data)
    for _ in range(random_.randint(1, 6)):
        place, length = random_.randrange(len(spoilt)), random_.randint(1, 200)
        how = random_.randrange(4)
        if how == 0:
            spoilt[place] = random_.randrange(256)
        elif how == 1:
            del spoilt[place : place + length]
        elif how == 2:
            spoilt[place:place] = spoilt[place : place + length]
        else:
            spoilt[place : place + length] = bytes([random_.randrange(256)]) * length
        spoilt = spoilt or bytearray(b"x")
    return bytes(spoilt)


@pytest.mark.parametrize("name", ["twin.jsonl", "twin.sqlite"])
def test_damaged_files_never_end_in_a_traceback(twin: Path, tmp_path: Path, name: str) -> None:
    data = (twin / name).read_bytes()
    path = tmp_path / name
    told = 0
    for seed in range(150):
        path.write_bytes(damaged(data, random.Random(seed)))
        try:
            found: list[Checked] = check_twin(path)
        except InputError:
            continue  # nothing that a twin would be recognised by is left
        told += any(checked.count for checked in found)
        assert all(fault.what and fault.advice for c in found for fault in c.faults)
        try:
            assert all(isinstance(frame, FrameTwin) for frame in TwinFile(path).frames())
        except EdgeTwinError:
            assert any(checked.count for checked in found), seed
    assert told > 75


def test_masks_of_the_shared_twin_are_the_squares(twin: Path) -> None:
    """What the checks above rest on: the twin is what stands in the pictures."""
    frame = read_frames(twin / "twin.jsonl")[3]
    red_hw = rle.decode(frame.objects[1].mask)
    assert red_hw.sum() == 400
    assert (picture(3)[red_hw] == (200, 30, 30)).all()
