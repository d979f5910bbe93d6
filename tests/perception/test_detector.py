"""The detector's runtime: boxes, words, decoding and a tiny exported network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetwin.perception.boxes import box_iou, from_square, suppress, to_square
from edgetwin.perception.bundle import load_bundle, write_network_entry
from edgetwin.perception.detector import Detector, DetectorConfig, Queries, decode, normalise
from edgetwin.perception.query_words import QueryTokenizer, word_level_json
from edgetwin.twin.errors import InputError, ModelError

CONFIG = DetectorConfig(image_size=64, mean=(0.5,) * 3, std=(0.25,) * 3, max_tokens=6)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_iou_by_hand() -> None:
    a = boxes((0, 0, 2, 2), (5, 5, 5, 5))
    b = boxes((1, 1, 3, 3), (0, 0, 2, 2), (5, 5, 5, 5))
    # Two 2 x 2 squares that share one pixel: 1 / (4 + 4 - 1).
    assert box_iou(a, b)[0].tolist() == pytest.approx([1 / 7, 1, 0])
    assert box_iou(a, b)[1].tolist() == [0, 0, 0]  # empty boxes overlap nothing, not even itself


def test_suppression_by_hand() -> None:
    found = boxes(
        (0, 0, 10, 10),  # 0: kept
        (1, 0, 11, 10),  # 1: IoU with 0 is 90 / 110 = .82, another label: goes
        (2, 2, 6, 6),  # 2: inside 0, the same label: goes as a part of it
        (2, 2, 6, 6),  # 3: inside 0, another label: a thing in a thing, kept
        (20, 20, 30, 30),  # 4: elsewhere, kept, and the best of all
    )
    scores = np.array([0.8, 0.7, 0.6, 0.5, 0.9], np.float32)
    labels = np.array([0, 1, 0, 2, 0], np.int64)
    assert suppress(found, scores, labels, iou=0.5, inside=0.85) == [4, 0, 3]
    assert suppress(found, scores, labels, iou=0.9, inside=0.85) == [4, 0, 1, 3]
    assert suppress(boxes(), scores[:0], labels[:0], iou=0.5, inside=0.85) == []


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 64), (90, 160), (200, 50), (1, 7)])
def test_padding_and_back(height: int, width: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    square = to_square(image, 64, 0.5)
    longest = max(height, width)
    assert square.shape == (64, 64, 3)
    rows, cols = round(height * 64 / longest), round(width * 64 / longest)
    assert (square[:rows, :cols] == 200).all()
    assert (square[rows:] == 128).all()
    assert (square[:, cols:] == 128).all()
    true = boxes((0.2 * width, 0.1 * height, 0.7 * width, 0.9 * height))
    middle, size = (true[:, :2] + true[:, 2:]) / 2, true[:, 2:] - true[:, :2]
    unit = np.concatenate([middle, size], axis=1) / longest
    np.testing.assert_allclose(from_square(unit, height, width), true, rtol=1e-5, atol=1e-5)


def test_boxes_are_clipped_to_the_frame_not_the_square() -> None:
    got = from_square(boxes((0.5, 0.5, 2, 2)), 30, 60)
    assert got.tolist() == [[0, 0, 60, 30]]


def test_normalisation_of_one_pixel() -> None:
    pixel = np.array([[[255, 0, 51]]], np.uint8)
    got = normalise(pixel, (0.5, 0.4, 0.2), (0.25, 0.2, 0.5))
    assert got.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(got.ravel(), [2, -2, 0], atol=1e-6)


def test_constants_are_the_published_ones() -> None:
    processor = pytest.importorskip("transformers.models.owlv2.image_processing_pil_owlv2")
    from edgetwin.perception.graphs.configs_detector import CLIP_MEAN, CLIP_STD, PAD_VALUE

    published = processor.Owlv2ImageProcessorPil
    assert list(CLIP_MEAN) == list(published.image_mean)
    assert list(CLIP_STD) == list(published.image_std)
    assert published.pad.__defaults__ == (PAD_VALUE,)


class TestWords:
    WORDS = ("mug", "toy", "car", "red")

    def tokenizer(self) -> QueryTokenizer:
        return QueryTokenizer(word_level_json(self.WORDS), 6)

    def test_ids(self) -> None:
        # 0 padding, 1 unknown, 2–5 words, 6 start, 7 end: the highest id.
        got = self.tokenizer().encode(["mug", "Red toy  car"])
        assert got.tolist() == [[6, 2, 7, 0, 0, 0], [6, 5, 3, 4, 7, 0]]
        assert self.tokenizer().vocab_size == 8

    def test_equals_the_tokenizers_library(self) -> None:
        library = pytest.importorskip("tokenizers")
        theirs = library.Tokenizer.from_str(json.dumps(word_level_json(self.WORDS)))
        for phrase in ("mug", "Red toy  car", "car"):
            row = self.tokenizer().encode([phrase])[0]
            assert row[: np.flatnonzero(row).max() + 1].tolist() == theirs.encode(phrase).ids

    def test_unknown_words_are_named(self) -> None:
        assert self.tokenizer().unknown("purple mug") == ["purple"]
        with pytest.raises(InputError, match="purple"):
            self.tokenizer().encode(["purple mug"])

    @pytest.mark.parametrize(
        ("phrase", "problem"),
        [("", "a word"), (" ", "a word"), ("red red red red red", "at most 4")],
    )
    def test_phrases_that_cannot_be_asked_for(self, phrase: str, problem: str) -> None:
        with pytest.raises(InputError, match=problem):
            self.tokenizer().encode([phrase])

    @pytest.mark.parametrize("words", [("mug", "mug"), ("Mug",), ("toy car",), ("",)])
    def test_vocabularies_that_cannot_be(self, words: tuple[str, ...]) -> None:
        with pytest.raises(InputError):
            word_level_json(words)

    @pytest.mark.parametrize(
        "spec",
        [
            {},
            {"model": None},
            {"model": {"type": "Unigram", "vocab": {}}},
            {"model": {"type": "WordLevel", "vocab": {"<end>": 1, "<start>": 2}}},
            {"model": {"type": "WordLevel", "vocab": {"<start>": 0, "<end>": 2}}},
        ],
    )
    def test_malformed_files(self, spec: dict[str, object]) -> None:
        with pytest.raises(ModelError):
            QueryTokenizer(spec, 6)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"tokenizer\.json"):
            QueryTokenizer.from_file(tmp_path / "none.json", 6)

    def test_byte_pairs_equal_the_tokenizers_library(self) -> None:
        library = pytest.importorskip("tokenizers")
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        pieces = [*sorted(alphabet), *(f"{c}</w>" for c in sorted(alphabet))]
        merges = [("m", "u"), ("mu", "g</w>"), ("r", "e"), ("re", "d</w>"), ("o", "o")]
        pieces += [a + b for a, b in merges]
        vocab = {p: i for i, p in enumerate((*pieces, "<|startoftext|>", "<|endoftext|>"))}
        theirs = library.Tokenizer(
            library.models.BPE(vocab, merges, end_of_word_suffix="</w>", unk_token="<|endoftext|>")
        )
        theirs.normalizer = library.normalizers.Lowercase()
        pattern = library.Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
        theirs.pre_tokenizer = library.pre_tokenizers.Sequence(
            [
                library.pre_tokenizers.Split(pattern, "removed", invert=True),
                library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        ours = QueryTokenizer(json.loads(theirs.to_str()), 32)
        start, end = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
        for phrase in ("a red mug", "Foo's 42 mugs!", "café moo", "redmug mug"):
            row = ours.encode([phrase])[0].tolist()
            stop = row.index(end)
            assert row[0] == start
            assert row[1:stop] == theirs.encode(phrase).ids, phrase
        assert ours.unknown("anything") == []


class TestDecode:
    QUERIES = Queries(("mug", "bowl"), ("red", "blue"))

    def logits(self, *rows: tuple[float, ...]) -> np.ndarray:
        return np.array(rows, np.float32)

    def test_phrases_in_column_order(self) -> None:
        assert self.QUERIES.phrases == (
            "mug", "bowl", "red", "blue", "red mug", "blue mug", "red bowl", "blue bowl",
        )  # fmt: skip

    def test_noun_and_colour(self) -> None:
        # Columns: mug bowl | red blue | red mug, blue mug, red bowl, blue bowl.
        seen = self.logits((2, 0, 1, 0, 0, 3, 9, 0), (-9, -9, 0, 0, 0, 0, 0, 0))
        found = decode(boxes((0, 0, 9, 9), (20, 0, 29, 9)), seen, self.QUERIES, CONFIG)
        assert found.labels == ("mug",)
        assert found.colors == ("blue",)  # 0 + 3 against 1 + 0; "red bowl" is not asked of a mug
        assert found.scores_n.tolist() == pytest.approx([1 / (1 + np.exp(-2))])
        assert found.color_scores_n is not None
        assert found.color_scores_n[0] == pytest.approx(1 / (1 + np.exp(-2)))

    def test_patches_vote(self) -> None:
        three = boxes((0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 11))
        seen = self.logits(
            (1.0, 0.9, 0, 0, 0, 0, 0, 0),  # best score, just about a mug
            (-1, 0.9, 0, 0, 0, 0, 0, 0),
            (-1, 0.9, 0, 0, 0, 0, 0, 0),
        )
        alone = decode(three, seen, self.QUERIES, CONFIG)
        together = decode(three, seen, self.QUERIES, replace(CONFIG, vote_iou=0.6))
        assert alone.labels == ("mug",)
        assert together.labels == ("bowl",)
        assert len(together) == 1

    def test_boxes_that_drift_together_are_one(self) -> None:
        # The outer two overlap by 40 / 160 (both kept), and each votes with the middle ones.
        rows = boxes((0, 0, 10, 10), (2, 0, 12, 10), (4, 0, 14, 10), (6, 0, 16, 10))
        seen = np.zeros((4, 8), np.float32)
        seen[:, 0] = (3, 2, 2, 2.9)
        voting = replace(CONFIG, vote_iou=0.4, nms_iou=0.45)
        assert len(decode(rows, seen, self.QUERIES, replace(voting, vote_iou=0))) == 2
        found = decode(rows, seen, self.QUERIES, voting)
        assert len(found) == 1
        assert found.scores_n[0] == pytest.approx(1 / (1 + np.exp(-3)))

    def test_a_lone_patch_is_no_object(self) -> None:
        # Two patches (scores .88 each) agree on one box, one patch alone stands for another.
        three = boxes((0, 0, 10, 10), (0, 0, 10, 9), (50, 50, 60, 60))
        seen = self.logits((2, 0, 0, 0, 0, 0, 0, 0), (2, 0, 0, 0, 0, 0, 0, 0), (3,) + (0,) * 7)
        voting = replace(CONFIG, vote_iou=0.6)
        assert len(decode(three, seen, self.QUERIES, voting)) == 2
        found = decode(three, seen, self.QUERIES, replace(voting, min_support=1.5))
        assert len(found) == 1
        assert found.boxes_xyxy_n4[0].tolist() == pytest.approx([0, 0, 10, 9.5])
        assert len(decode(three, seen, self.QUERIES, replace(voting, min_support=3))) == 0

    def test_nothing_and_limits(self) -> None:
        none = decode(boxes((0, 0, 1, 1)), self.logits((-5,) * 8), self.QUERIES, CONFIG)
        assert len(none) == 0
        apart = boxes(*((20.0 * i, 0, 20.0 * i + 9, 9) for i in range(40)))
        many = np.zeros((40, 8), np.float32)
        many[:, 0] = np.arange(40) / 10
        found = decode(apart, many, self.QUERIES, replace(CONFIG, max_detections=5))
        assert len(found) == 5
        assert found.boxes_xyxy_n4[0, 0] == 20 * 39

    def test_without_colours(self) -> None:
        words = Queries(("mug",), ())
        found = decode(boxes((0, 0, 9, 9)), self.logits((3,)), words, CONFIG)
        assert found.colors == (None,)


@pytest.fixture(scope="module")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with an untrained OWLv2 of one layer, exported here."""
    pytest.importorskip("torch")
    import torch
    from transformers import Owlv2ForObjectDetection

    from edgetwin.perception.graphs.configs_detector import embedded_detector_config
    from edgetwin.perception.graphs.detector import export_detector

    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(0)
    words = ("mug", "bowl", "red", "blue")
    config = embedded_detector_config(
        len(words) + 4,
        image_size=64,
        width=32,
        layers=1,
        text_width=32,
        text_layers=1,
        text_length=6,
    )
    model = Owlv2ForObjectDetection(config).eval()
    with torch.no_grad():  # untrained heads are so large that every box is empty or the picture
        model.box_head.dense2.weight.mul_(0.02)
    export_detector(model, folder)  # raises where parity fails
    (folder / "detector_tokenizer.json").write_text(json.dumps(word_level_json(words)))
    manifest = {
        "image_size": 64, "mean": [0.5] * 3, "std": [0.25] * 3, "max_tokens": 6,
        "nouns": ["mug", "bowl"], "colors": ["red", "blue"], "score_threshold": 0.0,
        "max_detections": 4,
    }  # fmt: skip
    files = ["detector_image.onnx", "detector_text.onnx", "detector_tokenizer.json"]
    write_network_entry(folder, "detector", files, manifest)
    return folder


class TestDetector:
    def detector(self, folder: Path) -> Detector:
        return Detector(load_bundle(folder, device="cpu", threads=1))

    def test_a_frame_that_is_not_square(self, bundle_dir: Path) -> None:
        image = np.random.default_rng(0).integers(0, 255, (48, 96, 3), np.uint8)
        found = self.detector(bundle_dir).detect(image)
        assert 1 <= len(found) <= 4
        assert set(found.labels) <= {"mug", "bowl"}
        assert set(found.colors) <= {"red", "blue"}
        assert (found.boxes_xyxy_n4 >= 0).all()
        assert (found.boxes_xyxy_n4 <= [96, 48, 96, 48]).all()

    def test_vocabulary_filters_but_does_not_rename(self, bundle_dir: Path) -> None:
        detector = self.detector(bundle_dir)
        image = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
        everything = detector.detect(image)
        for entry in ("mug", "bowl", "red mug", "blue bowl"):
            color, _, noun = entry.rpartition(" ")
            want = [
                i
                for i, label in enumerate(everything.labels)
                if label == noun and color in ("", everything.colors[i])
            ]
            got = detector.detect(image, [entry])
            np.testing.assert_array_equal(got.boxes_xyxy_n4, everything.boxes_xyxy_n4[want])

    def test_words_it_does_not_know(self, bundle_dir: Path) -> None:
        detector = self.detector(bundle_dir)
        image = np.zeros((64, 64, 3), np.uint8)
        asked = ["mug", "zebra", "green mug", "", "red bowl"]
        assert detector.unknown(asked) == ["zebra", "green mug", ""]
        detector.detect(image, asked)
        with pytest.raises(InputError, match="it knows mug, bowl"):
            detector.detect(image, ["zebra"])

    def test_pictures_of_a_wrong_kind(self, bundle_dir: Path) -> None:
        with pytest.raises(InputError, match="uint8"):
            self.detector(bundle_dir).detect(np.zeros((64, 64, 3)))  # type: ignore[arg-type]

    def test_malformed_manifests(self) -> None:
        with pytest.raises(ModelError, match="image_size"):
            DetectorConfig.from_manifest({"mean": [0, 0, 0], "std": [1, 1, 1]})
        with pytest.raises(ModelError, match="three means"):
            DetectorConfig.from_manifest({"image_size": 64, "mean": [0], "std": [1]})
