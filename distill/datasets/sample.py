"""One sample of a data set: pictures, what is asked of them, and what is meant, as masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...twin.errors import InputError
from ...twin.schema import Rle

__all__ = ["Sample"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A target with the questions that mean it.

    Args:
        key: ``<data set>/<split>/<what the data set calls it>``, unique.
        dataset: the reader's name, such as ``refcocog``.
        split: as the data set names it.
        group: picture or video; samples of one group lie together and share a twin.
        pictures: the frames in order; one for a still picture.
        questions: texts that all mean the same target.
        truth: true masks by place of the frame (0 is the first), as compressed COCO RLE; a frame
            that is missing has no true pixel. None: the split is published without masks.
        ignore: pixels that count neither as right nor as wrong, by place of the frame.
        kind: the data set's own kind of question (``long``, ``referring`` …), empty if it has none.
        level: reasoning steps, 0 where the data set does not say.
        folder: the folder of the frames; None where the pictures lie among others.

    Raises:
        InputError: without pictures or questions, for an empty question, a mask of a frame that
            is not there, or masks of several sizes.
    """

    key: str
    dataset: str
    split: str
    group: str
    pictures: tuple[Path, ...]
    questions: tuple[str, ...]
    truth: Mapping[int, Rle] | None
    ignore: Mapping[int, Rle] | None = None
    kind: str = ""
    level: int = 0
    folder: Path | None = None

    def __post_init__(self) -> None:
        if not self.pictures or not self.questions or not all(q.strip() for q in self.questions):
            raise InputError(
                f"{self.key}: expected at least one picture and one question with words, got "
                f"{len(self.pictures)} pictures and {list(self.questions)[:3]}"
            )
        masks = {**(self.truth or {}), **(self.ignore or {})}
        wrong = [place for place in masks if not 0 <= place < len(self.pictures)]
        sizes = {rle.size for rle in masks.values()}
        if wrong or len(sizes) > 1:
            raise InputError(
                f"{self.key}: expected masks of one size for frames 0 to {len(self.pictures) - 1}, "
                f"got sizes {sorted(sizes)} and frames {wrong[:3]}"
            )

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Height and width of the masks in pixels; None without masks."""
        rles = [*(self.truth or {}).values(), *(self.ignore or {}).values()]
        return rles[0].size if rles else None
