"""Looking once and reading often; vocabularies and pictures that are odd."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence

import numpy as np
import pytest

from edgetwin.perception.bundle import load_bundle, write_network_entry
from edgetwin.perception.detector import Detector, PatchView, Queries
from edgetwin.perception.records import Detections
from edgetwin.twin.errors import InputError

NOUNS = (
    "mug",
    "bowl",
    "bottle",
    "pan",
    "plate",
    "book",
    "hammer",
    "lamp",
    "banana",
    "phone",
    "ball",
)


@pytest.fixture(scope="module")
def trained() -> Detector:
    """The embedded detector: 16 nouns, 8 colours."""
    return Detector(load_bundle("embedded", device="cpu", threads=1))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A table with two things that the embedded detector sees something in."""
    rng = np.random.default_rng(3)
    image = np.full((256, 256, 3), 150, np.uint8)
    image[150:200, 40:100] = (190, 30, 30)
    image[60:110, 150:190] = (40, 60, 190)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory, trained: Detector) -> Detector:
    """The embedded networks as if their vocabulary were open: any phrase of their 24 words."""
    folder = tmp_path_factory.mktemp("open")
    own = load_bundle("embedded", device="cpu", threads=1)
    files = ["detector_image.onnx", "detector_text.onnx", "detector_tokenizer.json"]
    for file in files:
        shutil.copy(own.path(file), folder / file)
    manifest = dict(own.network("detector").config) | {
        "nouns": [], "colors": ["red", "blue"], "score_threshold": 0.0, "min_support": 0.0,
    }  # fmt: skip
    write_network_entry(folder, "detector", files, manifest)
    return Detector(load_bundle(folder, device="cpu", threads=1))


def phrases(count: int) -> list[str]:
    """Return so many different phrases of known words."""
    return [" ".join(some) for some in itertools.islice(itertools.product(NOUNS, repeat=4), count)]


def same(a: Detections, b: Detections) -> None:
    assert a.labels == b.labels
    assert a.colors == b.colors
    np.testing.assert_allclose(a.boxes_xyxy_n4, b.boxes_xyxy_n4, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(a.scores_n, b.scores_n, rtol=1e-4, atol=1e-5)


class TestVocabularies:
    def test_spelling_and_repeats_do_not_matter(
        self, trained: Detector, picture: np.ndarray
    ) -> None:
        plain = trained.detect(picture, ["mug", "book", "box", "phone"])
        odd = ["BOX", " mug", "Mug", "mug", "book\n", "phone", "phone "]
        same(trained.detect(picture, odd), plain)
        assert trained.unknown(odd) == []

    def test_empty_entries_and_two_hundred_words(
        self, trained: Detector, picture: np.ndarray
    ) -> None:
        strange = ["", "   ", "!?", "\x00", "mug mug", "red", "\U0001f600", "m" * 10_000]
        many = [f"thing{i}" for i in range(200)]
        assert trained.unknown([*strange, *many, "box"]) == [*strange, *many]
        same(trained.detect(picture, [*strange, *many, "box"]), trained.detect(picture, ["box"]))

    @pytest.mark.parametrize("words", [[], [""], ["zebra"], ["z" * 9999] * 200])
    def test_nothing_known_is_told_in_one_short_line(
        self, trained: Detector, picture: np.ndarray, words: list[str]
    ) -> None:
        with pytest.raises(InputError, match="at least one word the detector knows") as caught:
            trained.detect(picture, words)
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize("words", ["mug", [3], [None], [["mug"]]])
    def test_what_is_no_list_of_words(
        self, trained: Detector, picture: np.ndarray, words: Sequence[str]
    ) -> None:
        for ask in (lambda: trained.detect(picture, words), lambda: trained.unknown(words)):
            with pytest.raises(InputError, match="expected a list of words"):
                ask()

    def test_an_open_vocabulary_of_two_hundred_words(self, free: Detector) -> None:
        image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        words = phrases(200)
        view = free.look(image, words)  # 602 phrases: five calls of the text graph
        alone = free.look(image, words[197:198])
        assert view.queries.nouns == tuple(words)
        _, logits = view.columns(words[197:198])
        np.testing.assert_allclose(logits, alone.logits_pq, rtol=1e-3, atol=1e-3)
        with pytest.raises(InputError, match="know"):
            free.detect(image)  # nothing is asked for: there are no trained nouns

    def test_more_phrases_than_one_call_should_hold(self, free: Detector) -> None:
        image = np.zeros((8, 8, 3), np.uint8)
        assert free.look(image, phrases(1300)).logits_pq.shape[1] == 3902
        with pytest.raises(InputError, match="look for fewer words"):
            free.look(image, phrases(1400))

    def test_phrases_too_long_for_the_text_tower_are_unknown(self, free: Detector) -> None:
        # 8 positions: start, end, a colour, five words of a noun.
        long = "mug mug mug mug mug pan"
        assert free.unknown(["mug", long[4:], long, "?", "zebra"]) == [long, "?", "zebra"]


class TestPictures:
    @pytest.mark.parametrize(
        ("height", "width"), [(1, 1), (2, 3), (1, 600), (700, 1), (8, 2000), (40, 9), (255, 257)]
    )
    def test_boxes_lie_in_the_picture_and_have_an_area(
        self, trained: Detector, free: Detector, height: int, width: int
    ) -> None:
        image = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
        for detector, words in ((trained, None), (free, ["mug"])):
            boxes = detector.detect(image, words).boxes_xyxy_n4
            assert (boxes[:, :2] >= 0).all()
            assert (boxes[:, 2:] <= [width, height]).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()
        view = free.look(image, ["mug"])
        ones = np.ones((1, height, width), np.bool_)
        assert free.label_regions(view, ones, min_score=0.0).labels == ("mug",)

    def test_nothing_to_see_gives_no_detections(self, trained: Detector) -> None:
        found = trained.detect(np.full((200, 300, 3), 140, np.uint8))
        assert len(found) == 0
        assert found.boxes_xyxy_n4.shape == (0, 4)
        assert found.labels == found.colors == ()

    @pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (5, 5), (5, 5, 4)])
    def test_what_is_no_picture(self, trained: Detector, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match="expected a picture"):
            trained.detect(np.zeros(shape, np.uint8))


class TestLooking:
    def test_more_labels_do_not_change_what_is_found(self, free: Detector) -> None:
        image = np.random.default_rng(2).integers(0, 255, (64, 64, 3), np.uint8)
        plain = free.detect(image, ["mug", "pan"])
        assert len(plain) >= 1
        view = free.look(image, ["mug", "pan"], also=["bowl", "nonsense", "mug", "box"])
        assert view.queries.nouns == ("mug", "pan", "bowl", "box")
        same(free.read(view, ["mug", "pan"]), plain)
        same(free.read(view, ["PAN"]), free.detect(image, ["pan"]))
        with pytest.raises(InputError, match="words that were looked for"):
            free.read(view, ["lamp"])

    def test_labels_alone_may_be_looked_for(self, free: Detector) -> None:
        image = np.zeros((64, 64, 3), np.uint8)
        assert free.look(image, also=["mug"]).queries.nouns == ("mug",)

    def test_objectness_is_a_probability_and_boxes_are_pixels(
        self, trained: Detector, picture: np.ndarray
    ) -> None:
        view = trained.look(picture)
        assert view.objectness_p.shape == (256,)
        assert ((view.objectness_p >= 0) & (view.objectness_p <= 1)).all()
        assert view.boxes_xyxy_p4.max() > 2
        assert view.size_hw == (256, 256)


class TestLabels:
    """A picture of 40 x 40 with a grid of 2 x 2 patches; a mug on the left, a bowl right."""

    QUERIES = Queries(("mug", "bowl"), ("red", "blue"))
    # Columns: mug bowl | red blue | red mug, blue mug, red bowl, blue bowl.
    LEFT, RIGHT = (3, -3, 2, 0, 2, 0, 0, 0), (-3, 1, 0, 1, 0, 0, 0, 1)

    def view(self) -> PatchView:
        left, right = (0, 0, 20, 40), (20, 0, 40, 40)
        return PatchView(
            queries=self.QUERIES,
            boxes_xyxy_p4=np.array([left, right, left, right], np.float32),
            logits_pq=np.array([self.LEFT, self.RIGHT, self.LEFT, self.RIGHT], np.float32),
            objectness_p=np.ones(4, np.float32),
            size_hw=(40, 40),
        )

    def masks(self) -> np.ndarray:
        masks = np.zeros((2, 40, 40), np.bool_)
        masks[0, :, :20] = True
        masks[1, 5:30, 22:38] = True
        return masks

    @pytest.fixture
    def detector(self, trained: Detector) -> Detector:
        return trained

    def test_names_and_colours(self, detector: Detector) -> None:
        got = detector.label_regions(self.view(), self.masks())
        assert got.labels == ("mug", "bowl")
        assert got.colors == ("red", "blue")
        assert got.scores_n.tolist() == pytest.approx([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-1))])
        assert got.color_scores_n.tolist() == pytest.approx(
            [1 / (1 + np.exp(-4)), 1 / (1 + np.exp(-2))]
        )

    def test_unsure_is_object(self, detector: Detector) -> None:
        got = detector.label_regions(self.view(), self.masks(), min_score=0.8)
        assert got.labels == ("mug", "object")
        assert got.scores_n[1] == pytest.approx(1 / (1 + np.exp(-1)))

    def test_only_the_labels_asked_for(self, detector: Detector) -> None:
        got = detector.label_regions(self.view(), self.masks(), ["Bowl", "zebra"], min_score=0.3)
        assert got.labels == ("object", "bowl")
        with pytest.raises(InputError, match="at least one label"):
            detector.label_regions(self.view(), self.masks(), ["zebra"])
        with pytest.raises(InputError, match="words that were looked for"):
            detector.label_regions(self.view(), self.masks(), ["pan"])

    def test_no_region_and_wrong_masks(self, detector: Detector) -> None:
        got = detector.label_regions(self.view(), self.masks()[:0])
        assert (got.labels, got.colors) == ((), ())
        assert got.scores_n.shape == (0,)
        for wrong in (np.zeros((1, 40, 39), np.bool_), np.zeros((1, 40, 40), np.uint8)):
            with pytest.raises(InputError, match=r"expected masks \(N, 40, 40\) bool"):
                detector.label_regions(self.view(), wrong)
