"""Hub checkpoints: ids, pins, caches and everything that is refused, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgetwin.perception.hub import HUB_SETS, KNOWN, find_checkpoint, hub_cache, split_source
from edgetwin.perception.hub_preprocess import preprocessing
from edgetwin.tests.perception.hub_checkpoints import (
    COMMIT,
    depth_preprocessor,
    owlv2_preprocessor,
    sam2_preprocessor,
    snapshot,
)
from edgetwin.twin.errors import ModelError

pytest.importorskip("huggingface_hub")
DEPTH = "depth-anything/Depth-Anything-V2-Small-hf"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def fill(folder: Path, kind: str = "depth_anything", **files: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / "model.safetensors").write_bytes(b"weights")
    preprocessors = {
        "depth_anything": depth_preprocessor(518),
        "owlv2": owlv2_preprocessor(960),
        "sam2_video": sam2_preprocessor(1024),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessors[kind]))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize(
    ("source", "want"),
    [
        ("google/owlv2-base-patch16", ("google/owlv2-base-patch16", None)),
        (f"a/b.c_d-e@{COMMIT}", ("a/b.c_d-e", COMMIT)),
        ("a/b@refs/pr/3", ("a/b", "refs/pr/3")),
    ],
)
def test_sources(source: str, want: tuple[str, str | None]) -> None:
    assert split_source(source) == want


@pytest.mark.parametrize(
    "source",
    ["", "name", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a/b@-x", "http://a/b", "a b/c"],
)
def test_what_is_no_source(source: str) -> None:
    with pytest.raises(ModelError, match="'owner/name@revision' or a local folder"):
        split_source(source)


def test_pins_are_commits_and_sets_are_known() -> None:
    for name, known in KNOWN.items():
        split_source(name)
        assert known.revision is None or (len(known.revision) == 40 and int(known.revision, 16) > 0)
    commits = [k.revision for k in KNOWN.values() if k.revision]
    assert len(set(commits)) == len(commits)
    for roles in HUB_SETS.values():
        assert {role: KNOWN[name].role for role, name in roles.items()} == {r: r for r in roles}


def test_the_caches_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert hub_cache() == tmp_path
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert hub_cache() == tmp_path / "home" / "hub"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert hub_cache() == tmp_path / "xdg" / "huggingface" / "hub"


def test_a_known_id_is_taken_at_its_pinned_commit(cache: Path) -> None:
    pinned = KNOWN[DEPTH].revision
    assert pinned is not None
    fill(snapshot(cache, DEPTH, "f" * 40))  # what "main" names today
    with pytest.raises(ModelError, match=f"Small-hf@{pinned}"):
        find_checkpoint(DEPTH, "depth")
    found = find_checkpoint(f"{DEPTH}@{'f' * 40}", "depth")  # asked for by the caller
    assert (found.revision, found.pinned, found.warnings) == ("f" * 40, True, ())
    fill(snapshot(cache, DEPTH, pinned))
    found = find_checkpoint(DEPTH, "depth")
    assert (found.id, found.revision, found.pinned) == (DEPTH, pinned, True)
    assert found.licence == "Apache-2.0"
    assert found.folder == cache / f"models--{DEPTH.replace('/', '--')}" / "snapshots" / pinned


def test_an_unpinned_id_is_resolved_recorded_and_warned_of(cache: Path) -> None:
    fill(snapshot(cache, "someone/depth"))
    found = find_checkpoint("someone/depth", "depth")
    assert (found.revision, found.pinned, found.licence) == (COMMIT, False, None)
    (line,) = found.warnings
    assert f"'someone/depth@{COMMIT}'" in line
    branch = find_checkpoint("someone/depth@main", "depth")  # a branch moves: no pin either
    assert (branch.revision, branch.pinned) == (COMMIT, False)


def test_a_licence_without_commerce_is_said(cache: Path) -> None:
    name = DEPTH.replace("Small", "Large")
    fill(snapshot(cache, name, str(KNOWN[name].revision)))
    assert find_checkpoint(name, "depth").warnings == (
        f"{name} is licensed CC-BY-NC-4.0: not for commercial use",
    )


def test_a_local_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    found = find_checkpoint(fill(folder), "depth")
    assert (found.revision, found.pinned, found.warnings) == ("local", True, ())
    assert found.weights == (folder / "model.safetensors",)


def test_what_cannot_be_had_says_what_to_do(cache: Path) -> None:
    with pytest.raises(ModelError) as caught:
        find_checkpoint("google/owlv2-base-patch16-ensemble", "detector")
    text = str(caught.value)
    for part in ("config.json", "*.safetensors", "tokenizer", "hf download google/owlv2",
                 str(cache / "models--google--owlv2-base-patch16-ensemble"),
                 "HF_HUB_OFFLINE is set", "`--models embedded`"):  # fmt: skip
        assert part in text


def test_a_failing_network_is_a_model_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def unreachable(name: str, **arguments: Any) -> str:
        asked.append(arguments)
        raise ConnectionError("no route to host\nand a trace")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(ModelError, match="got none: no route to host; with network") as caught:
        find_checkpoint("someone/thing", "depth")
    assert "trace" not in str(caught.value)
    assert [a.get("local_files_only", False) for a in asked] == [True, False]
    for arguments in asked:
        assert "model.safetensors" not in arguments["allow_patterns"]
        assert "*.safetensors" in arguments["allow_patterns"]
        assert not [p for p in arguments["allow_patterns"] if p.endswith((".bin", ".py", ".pt"))]


def test_half_a_download_is_completed_not_loaded(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    folder = fill(snapshot(cache, "someone/depth"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"expected model\.safetensors in .*, got none"):
        find_checkpoint("someone/depth", "depth")  # offline: no other way
    calls: list[bool] = []

    def download(name: str, *, local_files_only: bool = False, **_: Any) -> str:
        calls.append(local_files_only)
        if not local_files_only:
            fill(folder)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = find_checkpoint("someone/depth", "depth", offline=False)
    assert calls == [True, False]
    assert found.weights[0].is_file()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "sam2.1_hiera_tiny.pt", "x.pth"])
def test_pickles_are_never_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    fill(folder)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=f"got {name}, which may hold code and is never read"):
        find_checkpoint(folder, "depth")


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["a.safetensors", "b.safetensors"], None),
        (["a.safetensors", "missing.safetensors"], "missing"),
        (["../up.safetensors"], "not allowed"),
        (["a.bin"], "not allowed"),
        ([], "no name"),
    ],
)
def test_weights_in_parts(tmp_path: Path, names: list[str], match: str | None) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    fill(folder, **{"model.safetensors.index": {"weight_map": dict(enumerate(names))}})
    (folder / "model.safetensors").unlink()
    for name in ("a.safetensors", "b.safetensors"):
        (folder / name).write_bytes(b"part")
    if match is None:
        assert [p.name for p in find_checkpoint(folder, "depth").weights] == names
        return
    with pytest.raises(ModelError, match=match):
        find_checkpoint(folder, "depth")


@pytest.mark.parametrize(
    ("files", "role", "match"),
    [
        ({"config": {"model_type": "depth_anything", "auto_map": {"a": "b.C"}}}, "depth",
         "without code of its own"),
        ({"config": {"model_type": "owlvit"}}, "detector", "model_type owlv2.*got 'owlvit'"),
        ({"config": {"model_type": "depth_anything"}}, "segmenter",
         "edgetam_video or sam2_video.*got 'depth_anything'"),
        ({"config": [1]}, "depth", "expected a JSON object"),
    ],
)  # fmt: skip
def test_other_architectures_and_code_are_refused(
    tmp_path: Path, files: dict[str, Any], role: str, match: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    fill(folder, **files)
    with pytest.raises(ModelError, match=match):
        find_checkpoint(folder, role)


def test_a_known_id_in_a_wrong_role() -> None:
    with pytest.raises(ModelError, match="expected a depth checkpoint, got google/owlv2"):
        find_checkpoint("google/owlv2-base-patch16", "depth")


def checkpoint(tmp_path: Path, kind: str, role: str, change: dict[str, Any]) -> Any:
    folder = tmp_path / "mine"
    folder.mkdir()
    fill(folder, kind)
    file = folder / "preprocessor_config.json"
    values = {k: v for k, v in (json.loads(file.read_text()) | change).items() if v != "absent"}
    file.write_text(json.dumps(values))
    return find_checkpoint(folder, role)


def test_preprocessing_that_is_published(tmp_path: Path) -> None:
    got = preprocessing(checkpoint(tmp_path, "depth_anything", "depth", {}))
    assert got == {
        "image_size": 518, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        "resize": "bicubic", "fit": "keep_aspect", "multiple": 14,
    }  # fmt: skip


def test_early_owlv2_files(tmp_path: Path) -> None:
    """The first OWL files say "rescale" and leave defaults out."""
    change = {"do_rescale": "absent", "rescale": True, "size": "absent", "resample": "absent"}
    got = preprocessing(checkpoint(tmp_path, "owlv2", "detector", change))
    assert (got["image_size"], got["resize"], got["pad_value"]) == (960, "gaussian", 0.0)


def test_newer_files_nest_the_processor(tmp_path: Path) -> None:
    found = checkpoint(tmp_path, "sam2_video", "segmenter", {})
    file = found.folder / "preprocessor_config.json"
    nested = {"image_processor": json.loads(file.read_text()), "processor_class": "Sam2Processor"}
    (found.folder / "processor_config.json").write_text(json.dumps(nested))
    file.unlink()
    assert preprocessing(found)["resize"] == "bilinear"
    (found.folder / "processor_config.json").unlink()
    with pytest.raises(ModelError, match=r"expected preprocessor_config\.json"):
        preprocessing(found)


@pytest.mark.parametrize(
    ("kind", "role", "change"),
    [
        ("owlv2", "detector", {"do_pad": False}),
        ("owlv2", "detector", {"resample": 3}),
        ("owlv2", "detector", {"do_center_crop": True}),
        ("owlv2", "detector", {"size": {"height": 960, "width": 640}}),
        ("owlv2", "detector", {"keep_aspect_ratio": True}),
        ("owlv2", "detector", {"image_processor_type": "OwlViTImageProcessor"}),
        ("sam2_video", "segmenter", {"do_normalize": False}),
        ("sam2_video", "segmenter", {"resample": 0}),
        ("sam2_video", "segmenter", {"do_pad": True}),
        ("sam2_video", "segmenter", {"image_mean": [0.5]}),
        ("sam2_video", "segmenter", {"size": {"longest_edge": 1024}}),
        ("sam2_video", "segmenter", {"pad_size": {"height": 1024, "width": 1024}}),
        ("depth_anything", "depth", {"rescale_factor": 1.0}),
        ("depth_anything", "depth", {"do_pad": True, "size_divisor": 14}),
        ("depth_anything", "depth", {"image_std": [0.2, 0.2, 0]}),
        ("depth_anything", "depth", {"prompt_scale_to_meter": 0.001}),
    ],
)
def test_preprocessing_that_is_not_ours_is_refused(
    tmp_path: Path, kind: str, role: str, change: dict[str, Any]
) -> None:
    found = checkpoint(tmp_path, kind, role, change)
    with pytest.raises(ModelError, match=f"expected {next(iter(change))} .*does not do"):
        preprocessing(found)
