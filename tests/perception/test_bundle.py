"""Bundles: names, manifests, hashes, and what happens when something was changed."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pytest

from edgetwin.perception.bundle import (
    FrameStatistics,
    load_bundle,
    write_network_entry,
    write_statistics,
)
from edgetwin.twin.errors import ModelError


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "a.onnx").write_bytes(b"first")
    (tmp_path / "b.onnx").write_bytes(b"second")
    words = {"nouns": ["mug", "bowl"], "colors": ["red"]}
    write_network_entry(tmp_path, "detector", ["a.onnx", "b.onnx"], {"image_size": 64}, words)
    return tmp_path


def test_round_trip(weights: Path) -> None:
    bundle = load_bundle(weights)
    assert bundle.name == "embedded"
    assert bundle.fov_deg == 45.0
    assert bundle.words.nouns == ("mug", "bowl")
    assert bundle.words.colors == ("red",)
    entry = bundle.network("detector")
    assert entry.config == {"image_size": 64}
    assert entry.files["a.onnx"] == hashlib.sha256(b"first").hexdigest()
    assert bundle.path("a.onnx").read_bytes() == b"first"
    bundle.verify()
    assert sorted(p.name for p in weights.iterdir()) == ["a.onnx", "b.onnx", "manifest.json"]


def test_writing_again_hashes_again_and_keeps_other_networks(weights: Path) -> None:
    (weights / "a.onnx").write_bytes(b"new")
    (weights / "d.onnx").write_bytes(b"depth")
    write_network_entry(weights, "depth", ["d.onnx"], {"metric": True})
    write_network_entry(weights, "detector", ["a.onnx"], {})
    bundle = load_bundle(weights)
    bundle.verify()
    assert set(bundle.manifest.networks) == {"detector", "depth"}
    assert set(bundle.network("detector").files) == {"a.onnx"}
    assert bundle.words.nouns == ("mug", "bowl")


def test_exporters_may_write_at_the_same_time(tmp_path: Path) -> None:
    names = [f"net{k}" for k in range(8)]
    for name in names:
        (tmp_path / f"{name}.onnx").write_text(name)

    def export(name: str) -> None:
        write_network_entry(tmp_path, name, [f"{name}.onnx"], {})

    threads = [threading.Thread(target=export, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(load_bundle(tmp_path).manifest.networks) == names


def test_tampered_file_is_refused(weights: Path) -> None:
    (weights / "b.onnx").write_bytes(b"Second")
    bundle = load_bundle(weights)
    assert bundle.path("a.onnx").name == "a.onnx"
    with pytest.raises(ModelError, match=r"b\.onnx with sha256 .* damaged or was changed"):
        bundle.path("b.onnx")
    with pytest.raises(ModelError, match=r"b\.onnx"):
        bundle.verify()


def test_missing_file_is_refused(weights: Path) -> None:
    (weights / "b.onnx").unlink()
    with pytest.raises(ModelError, match="no such file; reinstall edgetwin or restore"):
        load_bundle(weights).engine("b.onnx")


def test_file_that_is_not_listed_is_refused(weights: Path) -> None:
    (weights / "c.onnx").write_bytes(b"stranger")
    with pytest.raises(ModelError, match=r"got 'c\.onnx'"):
        load_bundle(weights).path("c.onnx")


def test_missing_network_names_what_is_there(weights: Path) -> None:
    with pytest.raises(ModelError, match=r"'depth' .* got \['detector'\].*distill embedded"):
        load_bundle(weights).network("depth")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"schema": 2}, "schema"),
        ({"networks": {"x": {"files": {"../up.onnx": "0" * 64}}}}, "networks"),
        ({"networks": {"x": {"files": {"a.onnx": "short"}}}}, "networks"),
        ({"networks": {"x": {"files": {}}}}, "networks"),
        ({"fov_deg": 180.0}, "fov_deg"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_malformed_manifest_says_where(weights: Path, change: dict, where: str) -> None:
    file = weights / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=f"bundle manifest of schema 1 .* got in {where}"):
        load_bundle(weights)


def test_manifest_that_is_not_json_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"manifest at .*manifest\.json"):
        load_bundle(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ModelError, match="got in the file"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("name", ["edge", "server"])
def test_named_set_that_cannot_be_had(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETWIN_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError) as caught:
        load_bundle(name)
    text = str(caught.value)
    assert str(tmp_path / name) in text
    assert "facebook/sam2.1-hiera" in text
    assert "`--models embedded`" in text
    assert "offline" in text


def test_named_set_that_was_put_there(
    weights: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    weights.rename(home / "edge")
    monkeypatch.setenv("EDGETWIN_MODELS", str(home))
    assert load_bundle("edge").path("a.onnx").is_file()


def test_neither_name_nor_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="embedded, edge, server"):
        load_bundle(tmp_path / "nowhere")


def test_exported_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"x\.onnx, got no such file"):
        write_network_entry(tmp_path, "x", ["x.onnx"], {})
    assert not (tmp_path / "manifest.json").exists()


def test_statistics_are_kept(weights: Path) -> None:
    statistics = FrameStatistics(features=("a",), mean=(1.0,), std=(2.0,), limit=3.0)
    write_statistics(weights, statistics)
    assert load_bundle(weights).manifest.statistics == statistics
    assert load_bundle(weights).words.nouns == ("mug", "bowl")
