"""Hub checkpoints run live on torch, and exported: the same twins from both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetwin.perception import Detector, Perceiver
from edgetwin.perception.bundle import Bundle, load_bundle
from edgetwin.perception.depth import DepthEstimator
from edgetwin.perception.hub import HUB_SETS, KNOWN
from edgetwin.tests.perception import hub_checkpoints as tiny
from edgetwin.twin.errors import InputError, ModelError
from edgetwin.twin.files import sha256_of
from edgetwin.twin.frame import Frame
from edgetwin.twin.mask import decode, iou
from edgetwin.twin.schema import FrameTwin

pytest.importorskip("torch")
pytest.importorskip("huggingface_hub")
slow = pytest.mark.skipif(not os.environ.get("EDGETWIN_SLOW"), reason="minutes: EDGETWIN_SLOW=1")
WORDS = ["mug", "bowl"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_cache(tmp_path_factory.mktemp("hub"))


@pytest.fixture(autouse=True)
def environment(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("EDGETWIN_MODELS", str(tmp_path / "models"))


@pytest.fixture(scope="module")
def live(cache: Path) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(cache))
        patch.setenv("HF_HUB_OFFLINE", "1")
        return load_bundle(tiny.SOURCES, device="cpu", threads=1)


def frames(count: int = 10) -> list[Frame]:
    image = np.full((90, 160, 3), 90, np.uint8)
    image[30:60, 40:80] = (200, 30, 30)
    image[20:50, 100:140] = (30, 30, 220)
    return [Frame(i, i / 10, np.roll(image, 2 * i, axis=1)) for i in range(count)]


def test_a_set_by_ids(live: Bundle, cache: Path) -> None:
    assert (live.name, live.fov_deg, live.words.nouns) == ("own", None, ())
    for role, name in tiny.SOURCES.items():
        entry = live.network(role)
        weights = cache / f"models--{name.replace('/', '--')}" / "snapshots" / tiny.COMMIT
        assert entry.files == {"model.safetensors": sha256_of(weights / "model.safetensors")}
        assert entry.source is not None
        assert (entry.source.id, entry.source.revision) == (name, tiny.COMMIT)
        assert not entry.source.pinned
    assert sorted(live.warnings) == sorted(
        f"{name} is not pinned: taken at commit {tiny.COMMIT}; give '{name}@{tiny.COMMIT}' to "
        "keep this one"
        for name in tiny.SOURCES.values()
    )
    config = live.network("segmenter").config
    assert (config["memory"], config["image_size"], config["resize"]) == (True, 128, "bilinear")
    assert live.network("detector").config["look_every"] == 8


def test_any_words_and_none(live: Bundle) -> None:
    detector = Detector(live)
    picture = frames(1)[0].image_hw3
    assert detector.unknown(["gizmo", "mug", "mug " * 12]) == ["mug " * 12]  # 16 tokens at most
    assert len(detector.detect(picture, ["red mug", "bowl of it"]))
    assert detector.detect(picture, ["mug"]).colors == (None,) * len(
        detector.detect(picture, ["mug"])
    )
    with pytest.raises(InputError, match="any noun"):
        detector.detect(picture)
    with pytest.raises(InputError, match="at least one word the detector knows"):
        detector.detect(picture, ["mug " * 12])


def test_the_template_is_part_of_the_phrase(live: Bundle) -> None:
    detector = Detector(live)
    seen: list[str] = []
    encode = detector._tokenizer.encode
    detector._tokenizer.encode = lambda phrases: seen.extend(phrases) or encode(phrases)  # type: ignore[method-assign, func-returns-value]
    detector.detect(frames(1)[0].image_hw3, WORDS)
    assert seen[-2:] == ["a photo of a mug", "a photo of a bowl"]


def test_detections_are_those_of_transformers(live: Bundle, cache: Path) -> None:
    """Processor, model and post-processing of the library against ours, end to end."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("scipy")
    module = pytest.importorskip("transformers.models.owlv2.image_processing_pil_owlv2")
    from transformers import CLIPTokenizer, Owlv2ForObjectDetection

    folder = cache / f"models--{tiny.DETECTOR.replace('/', '--')}" / "snapshots" / tiny.COMMIT
    processor = module.Owlv2ImageProcessorPil(size={"height": 64, "width": 64})
    merges = [tuple(m.split(" ")) for m in tiny.WORDS]
    tokens = CLIPTokenizer(vocab=tiny.clip_vocabulary(tiny.WORDS), merges=merges, pad_token="!")
    phrases = [f"a photo of a {word}" for word in WORDS]
    ids = np.zeros((2, 16), np.int64)
    for row, phrase in zip(ids, phrases, strict=True):
        found = tokens(phrase)["input_ids"]
        row[: len(found)] = found
    picture = frames(1)[0].image_hw3
    model = Owlv2ForObjectDetection.from_pretrained(folder).eval()
    with torch.no_grad():
        outputs = model(
            pixel_values=torch.tensor(processor(picture, return_tensors="np")["pixel_values"]).float(),
            input_ids=torch.tensor(ids),
        )  # fmt: skip
    (want,) = processor.post_process_object_detection(outputs, 0.0, target_sizes=[(90, 160)])
    view = Detector(live).look(picture, WORDS)
    boxes = np.clip(want["boxes"].numpy(), 0, [160, 90, 160, 90])
    np.testing.assert_allclose(view.boxes_xyxy_p4, boxes, atol=0.02)
    scores = 1 / (1 + np.exp(-view.logits_pq.max(axis=1)))
    np.testing.assert_allclose(scores, want["scores"].numpy(), atol=1e-4)


@pytest.mark.parametrize(("name", "metric"), [(tiny.DEPTH, False), (tiny.METRIC, True)])
def test_depth_relative_and_metric(name: str, metric: bool) -> None:
    bundle = load_bundle(tiny.SOURCES, device="cpu", networks={"depth": name})
    estimator = DepthEstimator(bundle)
    assert estimator.metric is metric
    for size in ((90, 160), (160, 90)):  # the live network takes any aspect ratio
        depth = estimator.depth_m(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8))
        assert depth.shape == size
        assert (depth >= 0).all() if metric else (depth >= 1).all()
        assert depth.max() <= 20 if metric else depth.min() == pytest.approx(1)


def test_perceiver_on_live_checkpoints(live: Bundle) -> None:
    twins = [Perceiver(live, WORDS).observe(frame) for frame in frames(1)]
    assert twins[0].objects
    for item in twins[0].objects.values():
        assert item.semantic_label in WORDS
        assert item.depth_stats is not None


def test_a_named_set_with_networks_replaced(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, source in HUB_SETS["edge"].items():
        small = cache / f"models--{tiny.SOURCES[name].replace('/', '--')}" / "snapshots"
        folder = tiny.snapshot(cache, source, str(KNOWN[source].revision))
        shutil.copytree(small / tiny.COMMIT, folder, dirs_exist_ok=True)
    bundle = load_bundle("edge", device="cpu")
    assert bundle.name == "edge"
    assert bundle.warnings == ()  # pinned, and free
    taken = bundle.network("detector").source
    assert taken is not None
    assert (taken.id, taken.licence) == (HUB_SETS["edge"]["detector"], "Apache-2.0")
    other = load_bundle("edge", device="cpu", networks={"depth": f"{tiny.METRIC}@{tiny.COMMIT}"})
    assert other.network("depth").config["metric"]
    assert other.warnings == ()
    exported = tmp_path / "models" / "edge"
    exported.mkdir(parents=True)
    (exported / "manifest.json").write_text('{"set": "edge", "schema": 1}')
    assert type(load_bundle("edge")) is Bundle  # an exported set comes first
    assert load_bundle("edge", device="cpu", networks={"depth": tiny.METRIC}).network("depth")


@pytest.mark.parametrize(
    ("sources", "networks", "match"),
    [
        ({"detector": tiny.DETECTOR}, None, "one checkpoint for each of depth, detector, segm"),
        ("embedded", {"depth": tiny.DEPTH}, "whose networks are fixed"),
        (tiny.SOURCES, {"depth": tiny.DETECTOR}, "expected a depth checkpoint"),
        ("edge", {"depth": "someone/else"}, "expected checkpoint someone/else .*hf download"),
    ],
)
def test_sets_that_cannot_be(sources: Any, networks: Any, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        load_bundle(sources, networks=networks)


def test_edgetam_as_the_segmenter(cache: Path) -> None:
    if find_spec("timm") is None:  # importing it needs torchvision, or the stand-in below
        pytest.skip("timm is not installed")
    from edgetwin.tests.perception.segmenter_models import tiny_edgetam
    from edgetwin.tests.perception.torchvision_stub import torchvision_stub

    with torchvision_stub():
        folder = tiny.snapshot(cache, "someone/edgetam")
        tiny_edgetam().save_pretrained(folder)
        preprocessor = json.dumps(tiny.sam2_preprocessor())
        (folder / "preprocessor_config.json").write_text(preprocessor)
        bundle = load_bundle(
            tiny.SOURCES, device="cpu", networks={"segmenter": f"someone/edgetam@{tiny.COMMIT}"}
        )
    config = bundle.network("segmenter").config
    assert (config["memory_dtype"], config["image_size"]) == ("float32", 128)
    perceiver = Perceiver(bundle, WORDS)
    twins = [perceiver.observe(frame) for frame in frames(4)]
    assert twins[-1].objects
    assert perceiver.timings["memory"].runs


def test_edgetam_without_its_backbone_s_packages(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgetwin.perception.graphs import hub_bundle

    class Missing:
        __name__ = "EdgeTamVideoModel"

        @staticmethod
        def from_pretrained(*_: Any, **__: Any) -> Any:
            raise ImportError("No module named 'timm'\nlong trace")

    monkeypatch.setitem(hub_bundle._CLASSES, "sam2_video", Missing)
    with pytest.raises(ModelError, match=r"got: No module named 'timm'; pip install timm and"):
        load_bundle(tiny.SOURCES)


def test_without_torch_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetwin.perception import bundle

    monkeypatch.setattr(bundle, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs torch and transformers: pip install .*\[export\]"):
        load_bundle("edge", networks=tiny.SOURCES)


def copy(cache: Path, name: str, to: Path) -> Path:
    folder = cache / f"models--{name.replace('/', '--')}" / "snapshots" / tiny.COMMIT
    shutil.copytree(folder, to)
    return to


def edit(file: Path, **change: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | change))


def test_incomplete_weights_are_refused(cache: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = copy(cache, tiny.DEPTH, tmp_path / "depth")
    weights = load_file(folder / "model.safetensors")
    weights.pop("head.conv1.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    sources = {**tiny.SOURCES, "depth": str(folder)}
    with pytest.raises(ModelError, match=r"for 1 of them, such as head\.conv1\.weight"):
        load_bundle(sources)


def test_damaged_weights_are_refused(cache: Path, tmp_path: Path) -> None:
    folder = copy(cache, tiny.DEPTH, tmp_path / "depth")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"that transformers can load .*; download it again"):
        load_bundle({**tiny.SOURCES, "depth": str(folder)})


@pytest.mark.parametrize("role", ["detector", "segmenter"])
def test_sides_that_disagree_are_refused(cache: Path, tmp_path: Path, role: str) -> None:
    folder = copy(cache, tiny.SOURCES[role], tmp_path / role)
    edit(folder / "preprocessor_config.json", size={"height": 512, "width": 512})
    with pytest.raises(ModelError, match="agree on a picture's side, got 512"):
        load_bundle({**tiny.SOURCES, role: str(folder)})


def test_tokenizers_in_one_file_in_two_and_in_none(cache: Path, tmp_path: Path) -> None:
    single = tmp_path / "single"
    tiny.write_detector(single, single_file_tokenizer=True)
    assert not (single / "merges.txt").exists()
    one = Detector(load_bundle({**tiny.SOURCES, "detector": str(single)}))
    two = Detector(load_bundle(tiny.SOURCES))
    picture = frames(1)[0].image_hw3
    np.testing.assert_array_equal(
        one.look(picture, ["it's a mug!"]).logits_pq, two.look(picture, ["it's a mug!"]).logits_pq
    )
    (single / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json, or vocab\.json and merges\.txt"):
        load_bundle({**tiny.SOURCES, "detector": str(single)})


@pytest.mark.parametrize("device", ["tensorrt", "cuda"])
def test_devices_that_torch_cannot_run(device: str) -> None:
    torch = pytest.importorskip("torch")
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match="export the set as a bundle"):
        load_bundle(tiny.SOURCES, device=device)
    with pytest.raises(InputError, match="expected a device among"):
        load_bundle(tiny.SOURCES, device="abacus")


def test_an_export_that_fails_leaves_nothing(
    live: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgetwin.perception.graphs import hub_bundle

    def fails(*_: Any, **__: Any) -> Any:
        raise ModelError("expected parity")

    monkeypatch.setattr(hub_bundle, "export_depth", fails)
    with pytest.raises(ModelError, match="expected parity"):
        hub_bundle.export_bundle(live, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(ModelError, match="an empty or new folder"):
        hub_bundle.export_bundle(live, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def same_twins(live: list[FrameTwin], other: list[FrameTwin]) -> None:
    """Same ids and labels; boxes within a pixel, masks almost equal, depth within 1 %."""
    for a, b in zip(live, other, strict=True):
        assert list(a.objects) == list(b.objects)
        for one, two in zip(a.objects.values(), b.objects.values(), strict=True):
            assert (one.semantic_label, one.state) == (two.semantic_label, two.state)
            np.testing.assert_allclose(one.box_xyxy, two.box_xyxy, atol=1.01)
            assert (one.mask is None) == (two.mask is None)
            if one.mask is not None and two.mask is not None:
                assert iou(one.mask, two.mask) > 0.98
                assert decode(one.mask).shape == (90, 160)
            depths = [[] if d is None else [d] for d in (one.mean_depth, two.mean_depth)]
            assert depths[0] == pytest.approx(depths[1], rel=0.01)


@slow
def test_the_exported_set_gives_the_same_twins_without_torch(live: Any, tmp_path: Path) -> None:
    from edgetwin.perception.graphs.hub_bundle import export_bundle

    target = tmp_path / "models" / "own"
    assert export_bundle(live, target, frame_hw=(90, 160)) == target
    exported = load_bundle(target, device="cpu", threads=1)
    exported.verify()
    assert exported.fov_deg is None
    assert exported.network("depth").config["input_hw"] == [56, 98]
    for role in tiny.SOURCES:
        assert exported.network(role).source == live.network(role).source
    seen = [Perceiver(bundle, WORDS) for bundle in (live, exported)]
    twins = [[p.observe(frame) for frame in frames()] for p in seen]
    assert sum(len(t.objects) for t in twins[0]) >= 20
    same_twins(*twins)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "import numpy as np\n"
        "from edgetwin.perception import Perceiver, load_bundle\n"
        "from edgetwin.twin.frame import Frame\n"
        f"p = Perceiver(load_bundle({str(target)!r}), {WORDS!r})\n"
        "print(len(p.observe(Frame(0, 0.0, np.zeros((90, 160, 3), np.uint8))).objects) >= 0)\n"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout == "True\n"


@slow
def test_checkpoints_of_full_size(tmp_path: Path) -> None:
    """The published configurations with random weights: files, loading, one frame on torch."""
    from edgetwin.distill.evaluate.real_size import write_checkpoints

    sources = write_checkpoints(tmp_path, reduced=False)
    start = time.perf_counter()
    bundle = load_bundle(sources, device="cpu")
    print(f"loaded in {time.perf_counter() - start:.1f} s")
    sizes = {role: bundle.network(role).config["image_size"] for role in sources}
    assert sizes == {"detector": 960, "segmenter": 1024, "depth": 518}
    picture = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    view = Detector(bundle).look(picture, ["mug"])
    assert view.boxes_xyxy_p4.shape == (3600, 4)
    assert DepthEstimator(bundle).depth_m(picture).shape == (720, 1280)
