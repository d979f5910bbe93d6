"""LLM-Seg40K: questions and answers on COCO and EgoObjects pictures.

Layout: ``split/{train,validation}.json`` = {picture: {``from_dataset``: ``coco`` or
``ego_objects``, ``qa_pairs``: [{``question``, ``answer``, ``rle_seg`` and/or
``segmentation_path``}]}}; pictures in ``coco/train2017`` and ``ego_objects/images``.

The released training reader takes ``rle_seg``, its validation reader the picture at
``segmentation_path``; where a pair has both, so does this one. (That validation reader stops at
100 samples, shuffled with seed 42: a published figure may be on those.)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...deploy.stream.source import open_source
from ...twin import mask as masks
from ...twin.errors import InputError
from ...twin.schema import Rle
from .coco_masks import rle_of
from .reading import first_folder, mapping, picture, read_json, value
from .sample import Sample

__all__ = ["SPLITS", "llmseg40k"]

SPLITS = ("train", "validation")
_FOLDERS = {"coco": "coco/train2017", "ego_objects": "ego_objects/images"}
_HINT = (
    "download LLM-Seg40K from its authors (github.com/wangjunchi/LLMSeg), COCO's train2017.zip "
    "(cocodataset.org) into coco/ and EgoObjects' pictures into ego_objects/"
)


def llmseg40k(root: str | Path, split: str) -> Iterator[Sample]:
    """The questions of a split, picture by picture in the order of the file.

    Raises:
        InputError: for an unknown split, a file or picture that is missing, or a pair without a
            mask.
    """
    if split not in SPLITS:
        raise InputError(f"expected a split of LLM-Seg40K in {', '.join(SPLITS)}, got {split!r}")
    path = first_folder(root, "LLM-Seg40K", "split", _HINT) / "split" / f"{split}.json"
    folder = path.parents[1]
    for name, record in mapping(read_json(path, _HINT), str(path)).items():
        source = value(record, "from_dataset", str, f"{path}, {name}")
        if source not in _FOLDERS:
            raise InputError(
                f"{path}, {name}: expected from_dataset {' or '.join(_FOLDERS)}, got {source!r}"
            )
        image = picture(folder / _FOLDERS[source], name, _HINT)
        for number, pair in enumerate(value(record, "qa_pairs", list, f"{path}, {name}")):
            key = f"llmseg40k/{split}/{name}/{number}"
            yield Sample(
                key=key,
                dataset="llmseg40k",
                split=split,
                group=f"{source}/{name}",
                pictures=(image,),
                questions=(value(pair, "question", str, key).strip(),),
                truth={0: _mask(pair, split, folder, key)},
                kind="long",
            )


def _mask(pair: dict[str, Any], split: str, folder: Path, where: str) -> Rle:
    """The pair's mask from whichever of its two forms the split's own reader takes first."""
    drawn, coded = pair.get("segmentation_path"), pair.get("rle_seg")
    if isinstance(drawn, str) and drawn and (split == "validation" or coded is None):
        frame = next(iter(open_source(picture(folder, drawn, _HINT))))
        return masks.encode(frame.image_hw3.max(axis=2) > 0)
    if coded is None:
        raise InputError(f"{where}: expected rle_seg or segmentation_path, got neither")
    return rle_of(coded, where)
