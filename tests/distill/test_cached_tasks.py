"""Tasks on disk: what is written is what is read, and a damaged file is refused by its name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgetwin.distill.stages.recipe import WorldsChoice
from edgetwin.distill.tasks.cached import CachedTasks, read_tasks, write_tasks
from edgetwin.distill.tasks.task import Task, iou_of
from edgetwin.distill.tasks.worlds import Worlds
from edgetwin.twin import mask as masks
from edgetwin.twin.errors import InputError
from edgetwin.twin.window import TwinWindow

CHOICE = WorldsChoice(first=300, count=5, per_world=6, restricted=1.0)


def same(a: Task, b: Task) -> bool:
    """Equal in everything; windows have no equality of their own."""

    def plain(task: Task) -> dict[str, object]:
        values = {f.name: getattr(task, f.name) for f in dataclasses.fields(task)}
        for name in ("window", "whole"):
            window: TwinWindow | None = values[name]
            values[name] = None if window is None else (window.frames, window.max_frames)
        return values

    return plain(a) == plain(b)


@pytest.fixture(scope="module")
def worlds() -> list[Task]:
    found = {task.key: task for task in Worlds(CHOICE)}
    assert any(task.whole is not None for task in found.values())
    return list(found.values())


@pytest.fixture
def folder(worlds: Sequence[Task], tmp_path: Path) -> Path:
    write_tasks(tmp_path, worlds)
    return tmp_path


def with_masks(task: Task) -> Task:
    """The task with the mask of its first object as its truth."""
    frames = []
    for frame in task.window.frames:
        canvas = np.zeros((frame.height, frame.width), bool)
        canvas[10:20, 30:50] = True
        rle = masks.encode(canvas)
        objects = {
            i: obj.model_copy(update={"mask": rle, "area": 200}) for i, obj in frame.objects.items()
        }
        frames.append(frame.model_copy(update={"objects": objects}))
    truth = {frames[0].index: rle}
    return dataclasses.replace(
        task,
        key="masked/1",
        window=TwinWindow(frames),
        whole=None,
        ids=tuple(i for i in task.ids if i in task.window),
        truth=truth,
        pictures="x/y",
    )


def test_every_field_survives(worlds: list[Task], tmp_path: Path) -> None:
    tasks = [*worlds, with_masks(next(t for t in worlds if set(t.ids) & set(t.window.ids())))]
    digest = write_tasks(tmp_path, iter(tasks))
    read = read_tasks(tmp_path)
    assert len(read) == len(tasks)
    assert read.sha256 == digest
    assert all(same(a, b) for a, b in zip(read, tasks, strict=True))
    assert same(read[-1], tasks[-1])
    assert len(read[2:5]) == 3
    assert iou_of(read[-1], ()) == 0.0
    with pytest.raises(IndexError):
        read[len(tasks)]


def test_a_twin_is_written_once_and_tasks_come_as_they_are_asked_for(
    folder: Path, worlds: list[Task]
) -> None:
    windows = {id(w) for t in worlds for w in (t.window, t.whole) if w is not None}
    assert 1 < len(list(folder.glob("twins/*/*.jsonl"))) <= len(windows) < len(worlds)
    read = read_tasks(folder)
    for path in folder.glob("twins/*/*.jsonl"):
        path.unlink()  # opening needs none of them; asking does
    with pytest.raises(InputError, match=r"expected the twin .*distill twins"):
        read[0]


def test_the_same_tasks_have_the_same_hash_and_one_word_changes_it(
    worlds: list[Task], tmp_path: Path
) -> None:
    first = write_tasks(tmp_path / "a", worlds)
    assert write_tasks(tmp_path / "b", worlds) == first
    changed = [dataclasses.replace(worlds[0], question="Which one?"), *worlds[1:]]
    assert write_tasks(tmp_path / "c", changed) != first


def test_twice_the_same_is_written_once_and_two_of_one_name_are_refused(
    worlds: list[Task], tmp_path: Path
) -> None:
    write_tasks(tmp_path, [worlds[0], worlds[1], worlds[0]])
    assert len(read_tasks(tmp_path)) == 2
    other = dataclasses.replace(worlds[0], question="Which one?")
    with pytest.raises(InputError, match=worlds[0].key):
        write_tasks(tmp_path, [worlds[0], other])
    with pytest.raises(InputError, match="no manifest"):
        read_tasks(tmp_path)  # what was begun and not finished is not read
    with pytest.raises(InputError, match="at least one"):
        write_tasks(tmp_path, [])


def damage(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def test_damaged_files_are_refused_by_name(folder: Path) -> None:
    twin = sorted(folder.glob("twins/*/*.jsonl"))[0]
    damage(twin, b'"confidence":', b'"confidence": ')
    read = read_tasks(folder)
    with pytest.raises(InputError, match=f"{twin.name} is damaged"):
        read[:]
    damage(folder / "tasks.jsonl", b'"level":', b'"level": ')
    with pytest.raises(InputError, match=r"tasks\.jsonl is damaged"):
        read_tasks(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        read_tasks(folder)


def test_a_list_that_leads_out_of_the_folder_is_refused(folder: Path) -> None:
    def rewritten(change: str) -> CachedTasks:
        import hashlib

        line = json.loads((folder / "tasks.jsonl").read_text().splitlines()[0])
        line["twin"]["file"] = change
        data = (json.dumps(line) + "\n").encode()
        (folder / "tasks.jsonl").write_bytes(data)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest |= {"tasks": 1, "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return read_tasks(folder)

    for hostile in ("/etc/passwd", "twins/../../secret", "manifest.json"):
        with pytest.raises(InputError, match="expected a twin below"):
            rewritten(hostile)[0]
