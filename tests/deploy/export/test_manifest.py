"""The device bundle's manifest: what it lists is what is there, to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgetwin.deploy.export.manifest import MANIFEST, DeviceBundle, load, write
from edgetwin.twin.errors import ModelError

GRAPH = {
    "role": "depth",
    "wanted": "int8",
    "precision": "fp16",
    "fell_back": "error .2 above .05",
    "opset": 20,
    "inputs": {"pixel_values": {"shape": [1, 3, 256, 256], "dtype": "float32"}},
    "outputs": {"depth": {"shape": [1, 256, 256], "dtype": "float32"}},
}
KINDS = (
    "perception/depth.onnx",
    "perception/manifest.json",
    "reasoner/genai_config.json",
    "reasoner/tokenizer.json",
    "gguf/model-q8_0.gguf",
    "tensorrt-edge-llm/model.safetensors",
)


@pytest.fixture
def bundle(tmp_path: Path) -> DeviceBundle:
    for number, name in enumerate(KINDS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes([number]) * 100)
    fields: dict[str, Any] = {
        "name": "embedded",
        "target": "jetson-orin-nx",
        "precision": "int8",
        "graphs": {"depth.onnx": GRAPH},
    }
    return write(tmp_path, fields)


def test_what_was_written_is_read_and_verified(bundle: DeviceBundle) -> None:
    again = load(bundle.folder)
    assert again.manifest == bundle.manifest
    assert set(again.manifest.files) == set(KINDS)
    assert again.verify() == 600
    (bundle.folder / "plans").mkdir()
    (bundle.folder / "plans" / "depth.engine").write_bytes(b"made on the device")
    (bundle.folder / "report.md").write_text("fine")
    assert load(bundle.folder).verify() == 600


@pytest.mark.parametrize("name", KINDS)
def test_one_changed_byte_of_any_kind_of_file_is_refused_by_name(
    bundle: DeviceBundle, name: str
) -> None:
    file = bundle.folder / name
    data = bytearray(file.read_bytes())
    data[50] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match=f"{Path(name).name} with sha256 .* got another"):
        load(bundle.folder).verify()


def test_missing_foreign_and_linked_files_are_refused(bundle: DeviceBundle) -> None:
    extra = bundle.folder / "perception" / "more.onnx"
    extra.write_bytes(b"x")
    with pytest.raises(ModelError, match=r"got perception/more\.onnx; move"):
        load(bundle.folder).verify()
    extra.unlink()
    file = bundle.folder / KINDS[0]
    file.rename(bundle.folder / "depth.engine")
    with pytest.raises(ModelError, match="got no such file"):
        load(bundle.folder).verify()
    file.symlink_to(bundle.folder / "depth.engine")
    with pytest.raises(ModelError, match="got no such file"):
        load(bundle.folder).path(KINDS[0])
    with pytest.raises(ModelError, match=r"lists, got 'depth\.engine'"):
        load(bundle.folder).path("depth.engine")


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../b", "a//b", "a\\b"])
def test_a_manifest_cannot_name_what_is_outside(bundle: DeviceBundle, name: str) -> None:
    manifest = json.loads((bundle.folder / MANIFEST).read_text())
    manifest["files"][name] = manifest["files"][KINDS[0]]
    (bundle.folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="plain path inside the bundle"):
        load(bundle.folder)


def test_what_is_no_manifest_is_refused(bundle: DeviceBundle, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="edgetwin export --target"):
        load(tmp_path / "none")
    for text in ("", "[]", '{"schema": 2}', "[" * 100_000):
        (bundle.folder / MANIFEST).write_text(text)
        with pytest.raises(ModelError, match="expected a bundle manifest of schema 1"):
            load(bundle.folder)
    with pytest.raises(ModelError, match="valid bundle manifest"):
        write(bundle.folder, {"name": "x", "target": "toaster", "precision": "int8", "graphs": {}})
