"""OWLv2 around its graphs: words to queries, picture to boxes, nouns and colours.

Every noun is asked for alone, every colour alone, and every colour with every noun
("red mug"), all in one call of the image graph. 16 nouns and 8 colours are 152 queries,
which take 6.9 ms where the nouns alone take 6.8 (one thread), so nothing is gained by asking
for less. A noun is the best of the noun queries, a colour the best sum of its own query and
its query with that noun. With the embedded network either one alone names as many colours
right (all of 1,600 on validation pictures); checkpoints differ in which they answer well.

A picture is looked at once (:meth:`Detector.look`) and then read as often as wanted: for the
objects of a vocabulary (:meth:`Detector.read`), or for the names of regions that somebody
else found (:meth:`Detector.label_regions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..twin.errors import InputError
from .boxes import from_square, to_square
from .bundle import Bundle
from .detector_decode import (
    DetectorConfig,
    PatchView,
    Queries,
    best_colors,
    decode,
    sigmoid,
)
from .query_words import QueryTokenizer
from .records import Detections
from .regions import UNSURE, RegionLabels, patch_weights

__all__ = ["Detector", "DetectorConfig", "PatchView", "Queries", "decode", "normalise"]

_MAX_VOCABULARIES = 16  # cached text embeddings: one per vocabulary in use, oldest dropped
_MAX_PHRASES = 4096  # what one call of the image graph is asked: bounds its logits
_TEXT_ROWS = 128  # phrases per call of the text graph: bounds its memory


class Detector:
    """Finds objects by their nouns in one picture at a time.

    Words that the embedded network was not trained on are refused or reported
    (:meth:`unknown`), never guessed. Trained nouns that were not asked for still compete, so
    that a bottle is not called a mug only because nobody asked for bottles.

    Not thread-safe (neither are its engines). Not covered: prompts that are pictures.

    Raises:
        ModelError: if the bundle's detector is incomplete or malformed.
    """

    def __init__(self, bundle: Bundle) -> None:
        network = bundle.network("detector")
        self.config = DetectorConfig.from_manifest(network.config)
        self._tokenizer = QueryTokenizer.from_file(
            bundle.path("detector_tokenizer.json"), self.config.max_tokens
        )
        self._image = bundle.engine("detector_image.onnx")
        self._text = bundle.engine("detector_text.onnx")
        self._cache: dict[Queries, NDArray[np.float32]] = {}
        self._vocabularies: dict[tuple[str, ...], dict[str, set[str | None]]] = {}

    @property
    def nouns(self) -> tuple[str, ...]:
        """Trained nouns; empty when the vocabulary is open."""
        return self.config.nouns

    def unknown(self, vocabulary: Sequence[str]) -> list[str]:
        """Return the entries that the network does not know, in order.

        Raises:
            InputError: if the vocabulary is no list of words.
        """
        return [entry for entry in _words(vocabulary) if self._parse(entry) is None]

    def detect(
        self, image_hw3: NDArray[np.uint8], vocabulary: Sequence[str] | None = None
    ) -> Detections:
        """Find every object that ``vocabulary`` names, best score first.

        An entry is a noun ("mug") or a colour and a noun ("red mug"), in any case and as often
        as you like; None means all trained nouns. Entries that the network does not know are
        left out (see :meth:`unknown`).

        Raises:
            InputError: if the picture is not (H, W, 3) uint8, or no entry is known.
        """
        return self.read(self.look(image_hw3, vocabulary), vocabulary)

    def look(
        self,
        image_hw3: NDArray[np.uint8],
        vocabulary: Sequence[str] | None = None,
        *,
        also: Sequence[str] = (),
    ) -> PatchView:
        """Run the image graph once and return what its patches saw.

        ``also`` are further nouns, to label regions with; those that the network does not
        know are left out. They do not change what :meth:`read` finds.

        Raises:
            InputError: as :meth:`detect`.
        """
        if image_hw3.dtype != np.uint8 or image_hw3.ndim != 3 or image_hw3.shape[2] != 3:
            raise InputError(
                f"expected a picture (H, W, 3) uint8, got {image_hw3.shape} {image_hw3.dtype}"
            )
        height, width = image_hw3.shape[:2]
        if not height or not width:
            raise InputError(f"expected a picture with pixels, got {image_hw3.shape}")
        wanted = () if vocabulary is None and not self.nouns and also else self._wanted(vocabulary)
        nouns = dict.fromkeys((*self.config.nouns, *wanted, *self._known_nouns(also)))
        queries = Queries(tuple(nouns), self.config.colors)
        how = self.config.resize
        square = to_square(image_hw3, self.config.image_size, self.config.pad_value, how)
        out = self._image.run(
            {"pixel_values": normalise(square, self.config.mean, self.config.std),
             "query_embeds": self._embed(queries)}
        )  # fmt: skip
        return PatchView(
            queries=queries,
            boxes_xyxy_p4=from_square(out["boxes_cxcywh"][0], height, width),
            logits_pq=out["logits"][0].astype(np.float32),
            objectness_p=sigmoid(out["objectness"][0]),
            size_hw=(height, width),
        )

    def read(self, view: PatchView, vocabulary: Sequence[str] | None = None) -> Detections:
        """Find the vocabulary's objects in what was looked at; see :meth:`detect`.

        Raises:
            InputError: if the vocabulary has no known word, or one that was not looked for.
        """
        wanted = self._wanted(vocabulary)
        extra = [noun for noun in wanted if noun not in self.config.nouns]
        queries, logits = view.columns((*self.config.nouns, *extra))
        found = decode(view.boxes_xyxy_p4, logits, queries, self.config)
        rows = [
            i
            for i, (label, color) in enumerate(zip(found.labels, found.colors, strict=True))
            if label in wanted and (None in wanted[label] or color in wanted[label])
        ]
        return found if len(rows) == len(found) else found.take(rows)

    def label_regions(
        self,
        view: PatchView,
        masks_nhw: NDArray[np.bool_],
        labels: Sequence[str] | None = None,
        *,
        min_score: float | None = None,
    ) -> RegionLabels:
        """Name regions of the picture by the patches under them, without a further pass.

        ``labels`` are nouns that were looked for (None: all of them). A region is called
        ``"object"`` where the best label's score, the sigmoid of its logits' mean over the
        region's patches (:func:`~edgetwin.perception.regions.patch_weights`), is below
        ``min_score`` (None: the detector's score threshold).

        Raises:
            InputError: if the masks are not (N, H, W) of the picture's size, or no label was
                looked for.
        """
        if masks_nhw.dtype != np.bool_ or masks_nhw.shape[1:] != view.size_hw:
            raise InputError(
                f"expected masks (N, {view.size_hw[0]}, {view.size_hw[1]}) bool, "
                f"got {masks_nhw.shape} {masks_nhw.dtype}"
            )
        nouns = view.queries.nouns if labels is None else self._known_nouns(labels)
        if not nouns:
            raise InputError("expected at least one label that the detector knows, got none")
        queries, logits = view.columns(nouns)
        weights = patch_weights(masks_nhw, view.boxes_xyxy_p4, view.objectness_p)
        by_noun, colors, pairs = queries.split(weights @ logits)
        scores, best = sigmoid(by_noun.max(axis=1)), by_noun.argmax(axis=1)
        words, color_scores = best_colors(colors, pairs, best, queries)
        least = self.config.score_threshold if min_score is None else min_score
        named = tuple(
            queries.nouns[int(i)] if score >= least else UNSURE
            for i, score in zip(best, scores, strict=True)
        )
        return RegionLabels(named, scores, words, color_scores)

    def _parse(self, entry: str) -> tuple[str | None, str] | None:
        """Return (colour or None, noun), or None if the network does not know the entry."""
        phrase = " ".join(entry.lower().split())
        first, _, rest = phrase.partition(" ")
        color, noun = (first, rest) if rest and first in self.config.colors else (None, phrase)
        if not noun or (self.config.nouns and noun not in self.config.nouns):
            return None
        if self.config.nouns:
            return color, noun
        try:  # an open vocabulary still has phrases that are too long or no words at all
            longest = max(self.config.colors, key=len, default="")
            self._tokenizer.encode([self.config.template.format(f"{longest} {noun}")])
        except InputError:
            return None
        return color, noun

    def _known_nouns(self, entries: Sequence[str]) -> tuple[str, ...]:
        """Return the nouns among the entries that the network knows, each once."""
        parsed = (self._parse(entry) for entry in _words(entries))
        return tuple(dict.fromkeys(p[1] for p in parsed if p is not None))

    def _wanted(self, vocabulary: Sequence[str] | None) -> dict[str, set[str | None]]:
        entries = self.config.nouns if vocabulary is None else _words(vocabulary)
        known = self._vocabularies.get(entries)
        if known is not None:
            return known
        wanted: dict[str, set[str | None]] = {}
        for entry in entries:
            parsed = self._parse(entry)
            if parsed is not None:
                wanted.setdefault(parsed[1], set()).add(parsed[0])
        if not wanted:
            shown = [entry[:40] for entry in entries[:5]]
            raise InputError(
                f"expected at least one word the detector knows, got {shown}; "
                f"it knows {', '.join(self.config.nouns) or 'any noun: give one'}"
            )
        if len(self._vocabularies) >= _MAX_VOCABULARIES:
            self._vocabularies.pop(next(iter(self._vocabularies)))
        self._vocabularies[entries] = wanted
        return wanted

    def _embed(self, queries: Queries) -> NDArray[np.float32]:
        cached = self._cache.pop(queries, None)
        if cached is None:
            phrases = [self.config.template.format(p) for p in queries.phrases]
            if len(phrases) > _MAX_PHRASES:
                raise InputError(
                    f"expected at most {_MAX_PHRASES} phrases at once, got {len(phrases)} (each "
                    "noun alone and with each colour): look for fewer words"
                )
            ids = self._tokenizer.encode(phrases)
            parts = [
                self._text.run({"input_ids": ids[i : i + _TEXT_ROWS]})["query_embeds"]
                for i in range(0, len(ids), _TEXT_ROWS)
            ]
            cached = np.concatenate(parts).astype(np.float32)
            if len(self._cache) >= _MAX_VOCABULARIES:
                self._cache.pop(next(iter(self._cache)))
        self._cache[queries] = cached  # last used is last in order
        return cached


def _words(vocabulary: Sequence[str]) -> tuple[str, ...]:
    """Check that a vocabulary is a list of words, and not one word or something else."""
    if isinstance(vocabulary, str) or not all(isinstance(entry, str) for entry in vocabulary):
        raise InputError(f"expected a list of words, got {str(vocabulary)[:60]!r}: give a list")
    return tuple(vocabulary)


def normalise(
    square_hw3: NDArray[Any], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Return (1, 3, H, W) float32: (pixel / 255 − mean) / std; pixels are 0–255, any dtype."""
    scale = (1.0 / (255.0 * np.asarray(std))).astype(np.float32)
    shift = (-np.asarray(mean) / np.asarray(std)).astype(np.float32)
    pixels = square_hw3.astype(np.float32) * scale + shift
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
