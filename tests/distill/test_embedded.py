"""The orchestrator: recipe, choice of networks, and replacing weights only by better ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetwin.distill import embedded
from edgetwin.distill.embedded import NETS, distill_embedded, load_recipe, replace_if_better
from edgetwin.perception.bundle import load_bundle, write_network_entry
from edgetwin.twin.errors import InputError, ModelError


def make(folder: Path, net: str, content: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{net}.onnx").write_text(content)
    words = {"nouns": [content], "colors": []} if net == "detector" else None
    write_network_entry(folder, net, [f"{net}.onnx"], {"made": content}, words)
    return folder


def length(folder: Path) -> float:
    """A judge: a network is as good as its file is long."""
    bundle = load_bundle(folder)
    (net,) = [n for n in bundle.manifest.networks if n in ("detector", "depth")][:1]
    return float(bundle.path(f"{net}.onnx").stat().st_size)


def test_shipped_recipe_is_valid() -> None:
    recipe = load_recipe()
    assert set(recipe.shares) == set(NETS)
    assert sum(recipe.shares.values()) == pytest.approx(1.0)
    assert recipe.tier == "cell"
    assert recipe.start == {}


def test_only_the_reasoner_can_go_on_from_weights(tmp_path: Path) -> None:
    shipped = Path(embedded.__file__).parent / "recipes" / "embedded.yaml"
    file = tmp_path / "r.yaml"
    file.write_text(shipped.read_text().replace("start: {}", "start: {reasoner: out/weights}"))
    assert load_recipe(file).start == {"reasoner": "out/weights"}
    file.write_text(shipped.read_text().replace("start: {}", "start: {depth: out/weights}"))
    with pytest.raises(InputError, match="depth"):
        load_recipe(file)


def test_recipe_with_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("tier: cell\ndatta: {}\n")
    with pytest.raises(InputError, match="datta"):
        load_recipe(file)


def test_unknown_network_device_and_no_time() -> None:
    with pytest.raises(InputError, match=r"or all, got \['nose'\]"):
        distill_embedded(["nose"])
    with pytest.raises(InputError, match="minutes above 0"):
        distill_embedded(["depth"], minutes=0)
    with pytest.raises(InputError, match="auto, cpu or cuda, got 'tpu'"):
        distill_embedded(["depth"], device="tpu")


def test_better_weights_replace_and_keep_the_other_networks(tmp_path: Path) -> None:
    shipped = make(tmp_path / "shipped", "detector", "mug")
    make(shipped, "segmenter", "untouched")
    candidate = make(tmp_path / "new", "detector", "mug and bowl")
    outcome = replace_if_better("detector", candidate, shipped, length)
    assert (outcome.new, outcome.shipped, outcome.replaced) == (12.0, 3.0, True)
    bundle = load_bundle(shipped)
    bundle.verify()
    assert bundle.path("detector.onnx").read_text() == "mug and bowl"
    assert bundle.words.nouns == ("mug and bowl",)
    assert bundle.network("detector").config == {"made": "mug and bowl"}
    assert bundle.path("segmenter.onnx").read_text() == "untouched"
    assert not list(shipped.glob(".*"))
    assert str(outcome) == "detector: new 12.0000, shipped 3.0000: replaced"


@pytest.mark.parametrize("content", ["cup", "mug!"])
def test_equal_or_not_clearly_better_weights_are_kept_out(tmp_path: Path, content: str) -> None:
    shipped = make(tmp_path / "shipped", "depth", "old")
    before = (shipped / "manifest.json").read_bytes()
    outcome = replace_if_better(
        "depth", make(tmp_path / "new", "depth", content), shipped, length, 1.0
    )
    assert not outcome.replaced
    assert "kept the shipped one" in str(outcome)
    assert (shipped / "depth.onnx").read_text() == "old"
    assert (shipped / "manifest.json").read_bytes() == before


def test_missing_or_damaged_shipped_weights_lose(tmp_path: Path) -> None:
    candidate = make(tmp_path / "new", "depth", "x")
    assert replace_if_better("depth", candidate, tmp_path / "none", length).shipped is None
    assert length(tmp_path / "none") == 1.0
    damaged = make(tmp_path / "damaged", "depth", "long content")
    (damaged / "depth.onnx").write_text("long content?")
    assert replace_if_better("depth", candidate, damaged, length).replaced
    load_bundle(damaged).verify()


def test_candidate_that_cannot_be_judged_is_an_error(tmp_path: Path) -> None:
    shipped = make(tmp_path / "shipped", "depth", "old")
    broken = make(tmp_path / "new", "depth", "new!")
    (broken / "depth.onnx").unlink()
    with pytest.raises(ModelError):
        replace_if_better("depth", broken, shipped, length)


def test_reasoner_folder_is_replaced_whole(tmp_path: Path) -> None:
    new, shipped = tmp_path / "new", tmp_path / "shipped"
    for folder, text in ((new, "better"), (shipped, "old")):
        folder.mkdir()
        (folder / "model.onnx").write_text(text)
        (folder / "manifest.json").write_text(json.dumps({"text": text}))

    def judge(folder: Path) -> float:
        return float((folder / "model.onnx").stat().st_size)

    assert replace_if_better("reasoner", new, shipped, judge).replaced
    assert (shipped / "model.onnx").read_text() == "better"
    assert json.loads((shipped / "manifest.json").read_text()) == {"text": "better"}


@pytest.mark.slow
def test_depth_from_nothing_twice(tmp_path: Path) -> None:
    """Render, train for seconds, judge, ship; the same command again goes on and compares."""
    for module in ("torch", "transformers", "mujoco"):
        pytest.importorskip(module)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "tier: cell\n"
        "data: {train_images: 6, val_images: 4, train_clips: 0, val_clips: 0,"
        " clip_frames: 2, clip_fps: 5.0, processes: 1}\n"
        "shares: {depth: 1.0}\n"
        "validation: {pictures: 4, worlds: 1, questions: 1, margin: 0.0}\n"
    )
    places = {name: tmp_path / name for name in ("data", "work", "weights")}
    (first,) = distill_embedded(["depth"], minutes=0.03, device="cpu", recipe=recipe, **places)
    assert (first.net, first.shipped, first.replaced) == ("depth", None, True)
    bundle = load_bundle(places["weights"])
    bundle.verify()
    assert {"depth.onnx", "depth.card.md"} <= set(bundle.network("depth").files)
    (second,) = distill_embedded(["depth"], minutes=0.03, device="cpu", recipe=recipe, **places)
    assert second.shipped == first.new
    assert not second.replaced  # the time was used up: nothing was trained, nothing is better
