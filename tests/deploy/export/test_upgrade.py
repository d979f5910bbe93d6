"""Upgrades: the new bundle takes the place of the old one only after it was hashed and tried."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgetwin.deploy.export import smoke, upgrade_commands
from edgetwin.deploy.export.manifest import write
from edgetwin.deploy.export.upgrade import previous_of, rollback, try_bundle, upgrade
from edgetwin.perception.bundle import embedded_dir
from edgetwin.reasoner.bundle import EMBEDDED
from edgetwin.twin.errors import InputError, ModelError, OutputError
from edgetwin.twin.files import sha256_of

ROOT = Path(__file__).parents[3]
CLIP = ROOT / "examples" / "spatial.mp4"
embedded = pytest.mark.skipif(
    not (EMBEDDED / "model.onnx").is_file(), reason="needs the embedded reasoner"
)
GRAPH = {"role": "depth", "wanted": "fp32", "precision": "fp32", "opset": 20}
FIELDS = {"target": "cpu", "precision": "fp32"}


def bundle(place: Path, change: Callable[[Path], None] | None = None) -> Path:
    """A device bundle of the embedded set, changed before it is hashed."""
    shutil.copytree(embedded_dir(), place / "perception")
    shutil.copytree(EMBEDDED, place / "reasoner")
    if change is not None:
        change(place)
    graph = {**GRAPH, "inputs": {}, "outputs": {}}
    write(place, {"name": place.name, **FIELDS, "graphs": {"depth.onnx": graph}})
    return place


def break_the_reasoner(place: Path) -> None:
    """A reasoner whose graph is noise, hashed as if it were right."""
    graph = place / "reasoner" / "model.onnx"
    graph.write_bytes(b"no network")
    manifest = place / "reasoner" / "manifest.json"
    record = json.loads(manifest.read_bytes())
    record["files"]["model.onnx"] = sha256_of(graph)
    manifest.write_text(json.dumps(record))


@embedded
def test_from_none_to_one_to_the_next_and_back(tmp_path: Path) -> None:
    one, two, link = bundle(tmp_path / "one"), bundle(tmp_path / "two"), tmp_path / "current"
    first = upgrade(one, link)
    assert (first.before, previous_of(link), link.resolve()) == (None, None, one)
    assert first.smoke["ids"] == [1]
    assert first.smoke["frames"] == 3
    second = upgrade(two, link, clip=CLIP, question="What is left of the blue glass?")
    assert (second.before, second.now, link.resolve()) == (one, two, two)
    assert second.smoke["frames"] > 3
    assert previous_of(link) == one
    assert os.readlink(link) == "two"
    assert {p.name for p in tmp_path.iterdir()} == {"one", "two", "current", "current.previous"}
    back = rollback(link)
    assert (back.now, back.before, link.resolve(), previous_of(link)) == (one, two, one, two)
    assert rollback(link).now == two


@embedded
def test_what_does_not_pass_leaves_everything_as_it_was(tmp_path: Path) -> None:
    link = tmp_path / "current"
    good = bundle(tmp_path / "good")
    link.symlink_to("good")
    mute = bundle(tmp_path / "mute", break_the_reasoner)
    with pytest.raises(ModelError, match=r"see and answer.*the bundle in use stays"):
        upgrade(mute, link)
    changed = bundle(tmp_path / "changed")
    data = bytearray((changed / "perception" / "depth.onnx").read_bytes())
    data[5000] ^= 1
    (changed / "perception" / "depth.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=r"depth\.onnx with sha256"):
        upgrade(changed, link)
    with pytest.raises(ModelError, match=r"bundle\.json"):
        upgrade(tmp_path / "nowhere", link)
    with pytest.raises(ModelError, match="no answer within"):
        upgrade(bundle(tmp_path / "slow"), link, timeout_s=0.01)  # no process starts so fast
    assert link.resolve() == good
    assert previous_of(link) is None


@embedded
def test_a_rollback_to_a_changed_bundle_is_refused(tmp_path: Path) -> None:
    one, two, link = bundle(tmp_path / "one"), bundle(tmp_path / "two"), tmp_path / "current"
    link.symlink_to("two")
    (tmp_path / "current.previous").symlink_to("one")
    (one / "reasoner" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        rollback(link)
    assert link.resolve() == two


def test_a_link_is_a_link_and_one_upgrade_at_a_time(tmp_path: Path) -> None:
    link = tmp_path / "current"
    with pytest.raises(InputError, match="nothing to go back to"):
        rollback(link)
    link.mkdir()
    with pytest.raises(InputError, match="symbolic link"):
        upgrade(tmp_path / "new", link)
    link.rmdir()
    link.symlink_to("new")
    with pytest.raises(InputError, match="another bundle"):
        upgrade(tmp_path / "new", link)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(OutputError, match="only upgrade"):
        upgrade(tmp_path / "other", link)
    os.close(handle)


@embedded
def test_a_reader_always_finds_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetwin.deploy.export.upgrade.try_bundle", lambda *a, **k: {"ids": [1]})
    link, lost, stop = tmp_path / "current", [], threading.Event()
    bundles = [bundle(tmp_path / name) for name in ("one", "two")]
    upgrade(bundles[0], link)

    def read() -> None:
        while not stop.is_set():
            if not (link / "bundle.json").is_file():
                lost.append(os.readlink(link))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(10):
        upgrade(bundles[(turn + 1) % 2], link)
    stop.set()
    reader.join()
    assert lost == []


def test_a_crash_of_the_trial_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -11 $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(crashing))
    with pytest.raises(ModelError, match="crash with signal 11"):
        try_bundle(tmp_path)


@embedded
def test_the_trial_knows_right_from_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert smoke.smoke("embedded").ids == (1,)
    monkeypatch.setattr(smoke, "QUESTION", "What is right of the red mug?")
    with pytest.raises(ModelError, match=r"answer \[1\].*got ok \[2\]"):
        smoke.smoke("embedded")
    with pytest.raises(InputError, match="--clip"):
        smoke.smoke("embedded", question="What moved?")


@embedded
def test_the_command_switches_and_goes_back(tmp_path: Path) -> None:
    app = typer.Typer()
    upgrade_commands.register(app)
    app.command("other")(lambda: None)
    one, two, link = bundle(tmp_path / "one"), bundle(tmp_path / "two"), tmp_path / "current"
    link.symlink_to("one")
    done = CliRunner().invoke(app, ["upgrade", str(two), "--current", str(link)])
    assert done.exit_code == 0, done.output
    assert f"{link} -> {two}" in done.output
    assert "answered ok [1]" in done.output
    done = CliRunner().invoke(app, ["upgrade", "--rollback", "--current", str(link), "--json"])
    assert json.loads(done.stdout)["now"] == str(one)
    done = CliRunner().invoke(app, ["upgrade", "--current", str(link)])
    assert isinstance(done.exception, InputError)
