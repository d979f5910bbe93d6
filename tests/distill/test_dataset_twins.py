"""Twins of a data set: matched to the true masks, built once, gone on with after a kill."""

from __future__ import annotations

import dataclasses
import json
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from edgetwin.distill.datasets.commands import register
from edgetwin.distill.datasets.matching import best_ids
from edgetwin.distill.datasets.twins import SetEyes, build_twins
from edgetwin.distill.sim.scene import scene_for
from edgetwin.distill.sim.worlds import World
from edgetwin.distill.tasks.cached import read_tasks
from edgetwin.distill.tasks.leaks import leak_of, without_leaks
from edgetwin.distill.tasks.task import Task, iou_of
from edgetwin.twin import mask as masks
from edgetwin.twin.errors import InputError
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import FrameTwin, ObjectTwin
from edgetwin.twin.window import TwinWindow

from . import made_datasets as made

Masks = dict[int, NDArray[np.bool_]]


def twin_of(index: int, seen: Masks, fps: float = 10.0) -> FrameTwin:
    """A frame with objects of these masks."""
    height, width = made.SIZE_HW
    objects = {}
    for key, mask in seen.items():
        rle = masks.encode(mask)
        objects[key] = ObjectTwin(
            id=key, semantic_label="thing", confidence=1.0, mask=rle, box_xyxy=masks.to_box(rle),
            centroid=(1.0, 1.0), area=masks.area(rle), first_seen=0.0, last_seen=index / fps,
        )  # fmt: skip
    return FrameTwin(
        index=index, timestamp_s=index / fps, width=width, height=height, objects=objects
    )


class Fake:
    """Sees the same objects in every frame; counts what it is asked."""

    def __init__(self, seen: Masks, stop_after: int | None = None) -> None:
        self.seen, self.opened, self.frames, self.stop_after = seen, 0, 0, stop_after

    def identity(self) -> Any:
        return {"sees": sorted(self.seen)}

    def open(self) -> Any:
        self.opened += 1
        return self

    def observe(self, frame: Frame) -> FrameTwin:
        if self.stop_after is not None and self.frames >= self.stop_after:
            raise KeyboardInterrupt
        self.frames += 1
        assert frame.image_hw3.shape == (*made.SIZE_HW, 3)
        return twin_of(frame.index, self.seen)


# ---- matching


def box(*corners: int) -> NDArray[np.bool_]:
    return made.box_hw(*corners)


def test_ids_that_cover_the_truth_best_are_found() -> None:
    left, right, far = box(0, 0, 10, 20), box(10, 0, 20, 20), box(40, 20, 60, 40)
    window = TwinWindow([twin_of(0, {3: left, 5: right, 8: far})])
    both = {0: masks.encode(left | right)}
    assert best_ids(window, both) == best_ids(window, both, {})
    assert best_ids(window, both).ids == (3, 5)
    assert best_ids(window, both).iou == 1.0
    assert best_ids(window, {0: masks.encode(far)}).ids == (8,)
    half = best_ids(window, {0: masks.encode(box(0, 0, 10, 40))})
    assert (half.ids, half.iou) == ((3,), 0.5)
    assert best_ids(window, {0: masks.encode(box(0, 45, 3, 48))}).ids == ()
    assert best_ids(window, {}) == best_ids(TwinWindow(), {})  # nothing is meant: none is right
    assert best_ids(window, {}).iou == 1.0


def test_ignored_pixels_count_neither_way() -> None:
    seen = {1: box(0, 0, 20, 20)}
    truth, ignored = {0: masks.encode(box(0, 0, 10, 20))}, {0: masks.encode(box(10, 0, 20, 20))}
    window = TwinWindow([twin_of(0, seen)])
    assert best_ids(window, truth).iou == 0.5
    assert best_ids(window, truth, ignored).iou == 1.0


@pytest.mark.parametrize("seed", range(12))
def test_the_iou_is_the_one_that_training_sees_and_no_single_id_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def random_box() -> NDArray[np.bool_]:
        x, y = int(rng.integers(0, 50)), int(rng.integers(0, 36))
        return box(x, y, x + int(rng.integers(5, 30)), y + int(rng.integers(5, 30)))

    frames = [
        twin_of(i, {k: random_box() for k in range(1, 20) if rng.random() < 0.7}) for i in range(3)
    ]
    window = TwinWindow(frames)
    truth = {0: masks.encode(random_box() | random_box()), 2: masks.encode(random_box())}
    match = best_ids(window, truth)
    task = Task("revos/train/v/0/0", window, "it", match.ids, truth)
    assert match.ids
    assert match.iou == pytest.approx(iou_of(task, match.ids))
    assert match.iou >= max(iou_of(task, (i,)) for i in window.ids()) - 1e-12


# ---- building


def build(root: Path, out: Path, eyes: Any, name: str = "revos", **more: Any) -> Any:
    return build_twins(name, root, "train", out, eyes, **more)


REVOS = {1: made.FIRST, 2: made.SECOND}


def test_a_video_becomes_tasks_with_its_own_masks(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    report = build(tmp_path, tmp_path / "out", Fake(REVOS))
    tasks = {task.key: task for task in read_tasks(tmp_path / "out")}
    left, nothing = tasks["revos/train/clip/a/1/0"], tasks["revos/train/b/0/0"]
    assert left.ids == (1,)
    # true in two of three frames, seen in all three
    assert iou_of(left, left.ids) == pytest.approx(2 / 3)
    assert nothing.ids == ()
    assert iou_of(nothing, ()) == 1.0
    assert left.pictures == str(tmp_path / "ReVOS/JPEGImages/clip/a")
    assert left.window.frames[1].timestamp_s == 0.1
    assert (report.groups, report.samples, report.questions) == (2, 3, 3)
    assert report.kept + report.uncovered == 3
    about = read_tasks(tmp_path / "out").about
    assert about["held"] == ["revos/v"]
    assert about["report"]["kept"] == report.kept


def test_what_no_object_covers_is_left_out_and_counted_or_kept(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    blind = {9: box(50, 30, 60, 40)}
    report = build(tmp_path, tmp_path / "a", Fake(blind))
    assert (report.uncovered, report.kept) == (2, 1)
    report = build(tmp_path, tmp_path / "b", Fake(blind), keep_uncovered=True)
    assert (report.uncovered, report.kept) == (2, 3)
    task = next(t for t in read_tasks(tmp_path / "b") if t.truth)
    assert task.ids == ()
    assert iou_of(task, ()) == 0.0  # "none" is not right: the masks are the truth
    made.put_refcoco(tmp_path)
    with pytest.raises(InputError, match=r"3 of 3 targets.*--keep-uncovered"):
        build(tmp_path, tmp_path / "c", Fake(blind), "refcocog")


def test_a_second_run_builds_nothing_and_a_changed_picture_its_own_twin(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    first = build(tmp_path, tmp_path / "out", Fake(REVOS))
    assert (first.built, first.reused) == (2, 0)
    again = Fake(REVOS)
    second = build(tmp_path, tmp_path / "out", again)
    assert (second.built, second.reused, again.opened) == (0, 2, 0)
    assert dataclasses.replace(second, built=2, reused=0) == first
    made.put_picture(tmp_path / "ReVOS/JPEGImages/b/00005.jpg", seed=99)
    third = build(tmp_path, tmp_path / "out", again)
    assert (third.built, third.reused, again.frames) == (1, 1, 3)
    other = Fake({**REVOS, 7: box(30, 30, 40, 40)})  # other networks: all twins anew
    assert build(tmp_path, tmp_path / "out", other).built == 2


def test_a_damaged_twin_is_built_again(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    whole = build(tmp_path, tmp_path / "out", Fake(REVOS))
    for path in (tmp_path / "out/twins").rglob("*.jsonl"):
        path.write_bytes(path.read_bytes()[:-20])
    report = build(tmp_path, tmp_path / "out", Fake(REVOS))
    assert report.built == 2
    assert report.sha256 == whole.sha256
    assert len(read_tasks(tmp_path / "out")[:]) == whole.kept


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, tmp_path / "out", Fake(REVOS, stop_after=4))
    with pytest.raises(InputError, match=r"finished folder"):
        read_tasks(tmp_path / "out")
    eyes = Fake(REVOS)
    report = build(tmp_path, tmp_path / "out", eyes)
    assert (report.built, report.reused, eyes.frames) == (1, 1, 3)
    straight = build(tmp_path, tmp_path / "straight", Fake(REVOS))
    assert report.sha256 == straight.sha256


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    script = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.distill.test_dataset_twins import REVOS, Fake, build

        class Killed(Fake):
            def observe(self, frame):
                if self.frames == 5:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().observe(frame)

        build(Path({str(tmp_path)!r}), Path({str(tmp_path / "out")!r}), Killed(REVOS))
    """)
    run = subprocess.run([sys.executable, "-c", script], timeout=100, capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()[-2000:]
    eyes = Fake(REVOS)
    report = build(tmp_path, tmp_path / "out", eyes)
    assert (report.built, report.reused, eyes.frames) == (1, 1, 3)


def test_frames_can_be_thinned(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    build(tmp_path, tmp_path / "a", Fake(REVOS), every=2, fps=5.0)
    task = next(t for t in read_tasks(tmp_path / "a") if t.key == "revos/train/clip/a/1/0")
    assert [(f.index, f.timestamp_s) for f in task.window.frames] == [(0, 0.0), (2, 0.2)]
    assert set(task.truth) == {0, 2}
    build(tmp_path, tmp_path / "b", Fake(REVOS), max_frames=1)
    assert {len(t.window) for t in read_tasks(tmp_path / "b")} == {1}
    with pytest.raises(InputError, match="expected every"):
        build(tmp_path, tmp_path / "c", Fake(REVOS), every=0)


def test_pictures_that_are_evaluated_on_do_not_become_training_tasks(tmp_path: Path) -> None:
    path = made.put_refcoco(tmp_path)
    references = made.references()
    references[3]["image_id"] = 502  # a training picture is in val, too
    path.write_bytes(pickle.dumps(references, 2))
    seen = {1: made.CROWD, 2: box(5, 5, 40, 32)}
    report = build(tmp_path, tmp_path / "out", Fake(seen), "refcocog")
    assert report.leaks == {"picture": 1}
    assert report.leaking == 1
    tasks = read_tasks(tmp_path / "out")
    assert {t.pictures.rpartition("_")[2] for t in tasks} == {"000000000501.jpg"}
    held = frozenset(tasks.about["held"])
    assert held == {"coco/502"}
    assert without_leaks(tasks, held)[1].kept == len(tasks)
    # an evaluation split is built as well, and training refuses all of it
    build_twins("refcocog", tmp_path, "val", tmp_path / "val", Fake(seen), keep_uncovered=True)
    assert all(str(leak_of(t)).startswith("split: ") for t in read_tasks(tmp_path / "val"))


def test_a_picture_of_another_size_than_its_masks_is_refused(tmp_path: Path) -> None:
    made.put_revos(tmp_path)
    made.put_picture(tmp_path / "ReVOS/JPEGImages/clip/a/00005.jpg", (40, 40))
    with pytest.raises(InputError, match=r"00005\.jpg: expected a picture of 48 x 64.*40 x 40"):
        build(tmp_path, tmp_path / "out", Fake(REVOS))


# ---- with the embedded networks


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rendered stills as RefCOCOg, a reference per object."""
    root = tmp_path_factory.mktemp("rendered")
    images: list[Any] = []
    annotations: list[Any] = []
    references: list[Any] = []
    for k in range(6):
        world = World.image(400 + k)
        shot = scene_for("cell", world.set_index).render(world, 0.0)
        name = f"COCO_train2014_{k:012d}.jpg"
        path = root / "refer_seg/images/mscoco/images/train2014" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), cv2.cvtColor(shot.rgb_hw3, cv2.COLOR_RGB2BGR))
        height, width = shot.ids_hw.shape
        images.append({"id": k, "file_name": name, "height": height, "width": width})
        for thing in world.objects:
            mask = shot.ids_hw == thing.id
            if mask.sum() < 150:
                continue
            number = len(annotations)
            rle = masks.encode(mask).model_dump(mode="json")
            annotations.append({"id": number, "image_id": k, "segmentation": rle})
            sentence = {"sent": f"the {thing.color} {thing.category}", "tokens": []}
            references.append(
                {"ref_id": number, "ann_id": number, "image_id": k, "split": "train",
                 "sentences": [sentence], "category_id": 1}
            )  # fmt: skip
    folder = root / "refer_seg/refcocog"
    made.put_json(
        folder / "instances.json",
        {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "mug"}]},
    )
    (folder / "refs(umd).p").write_bytes(pickle.dumps(references, 2))
    return root


@pytest.fixture
def run() -> Callable[..., Any]:
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)  # a single command would lose its name
    return lambda *args: CliRunner().invoke(app, [*map(str, args)], catch_exceptions=False)


def test_the_embedded_set_covers_most_of_rendered_stills(
    rendered: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    command = ("twins", "refcocog", rendered, "-o", tmp_path / "out", "--json")
    report = json.loads(run(*command).stdout)
    assert report["built"] == report["groups"] == 6
    assert report["uncovered"] <= 0.25 * report["samples"]
    assert report["mean_iou"] > 0.8
    tasks = read_tasks(tmp_path / "out")
    named = [
        task.window.latest(i).semantic_label in task.question for task in tasks for i in task.ids
    ]
    assert np.mean(named) > 0.8
    again = json.loads(run(*command).stdout)
    assert (again["built"], again["reused"]) == (0, 6)
    assert again["sha256"] == report["sha256"]
    shown = run("twins", "refcocog", rendered, "-o", tmp_path / "few", "--limit", 1)
    assert shown.stdout.startswith("1 twins: 1 built")


def test_perceivers_of_a_set_share_networks_and_no_memory(rendered: Path) -> None:
    paths = sorted((rendered / "refer_seg/images").rglob("*.jpg"))[:2]
    frames = [
        Frame(0, 0.0, np.ascontiguousarray(cv2.imread(str(p))[..., ::-1]), p.name) for p in paths
    ]
    eyes = SetEyes()
    shared = [eyes.open().observe(frame) for frame in frames]
    alone = [SetEyes().open().observe(frame) for frame in frames]
    assert shared == alone
    assert eyes.identity()["networks"]["detector"]["sha256"]
