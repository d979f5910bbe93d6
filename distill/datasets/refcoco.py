"""RefCOCO, RefCOCO+ and RefCOCOg: phrases for one object of a COCO picture.

Layout::

    refer_seg/refcocog/refs(umd).p         pickled list of references
    refer_seg/refcocog/instances.json      COCO annotations
    refer_seg/images/mscoco/images/train2014/COCO_train2014_….jpg

The usual split owners are ``unc`` for RefCOCO and RefCOCO+ and ``umd`` for RefCOCOg; Google's
split of RefCOCOg has one picture in several splits and is read only when asked for.

A reference's own ``file_name`` carries the annotation's number and names no file; the picture's
name is taken from ``instances.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...twin.errors import InputError
from .coco_masks import mask_of
from .plain_pickle import read_plain_pickle
from .reading import first_folder, mapping, picture, read_json, value
from .sample import Sample

__all__ = ["OWNERS", "SPLITS", "RefName", "categories", "picture_ids", "refcoco"]

RefName = Literal["refcoco", "refcoco+", "refcocog"]
OWNERS: dict[RefName, tuple[str, ...]] = {
    "refcoco": ("unc", "google"),
    "refcoco+": ("unc",),
    "refcocog": ("umd", "google"),
}
SPLITS: dict[RefName, tuple[str, ...]] = {
    "refcoco": ("train", "val", "testA", "testB"),
    "refcoco+": ("train", "val", "testA", "testB"),
    "refcocog": ("train", "val", "test"),
}
_HINT = (
    "download the references from the authors of RefCOCO (github.com/lichengunc/refer) and unpack "
    "them into refer_seg/"
)
_PICTURES = (
    "download COCO's train2014.zip (cocodataset.org) and unpack it into "
    "refer_seg/images/mscoco/images/"
)


@dataclass(frozen=True, slots=True)
class _Pictures:
    folder: Path
    by_id: dict[int, dict[str, Any]]

    def of(self, reference: Any, where: str) -> tuple[Path, tuple[int, int]]:
        """The picture of a reference and its height and width."""
        record = self.by_id.get(value(reference, "image_id", int, where))
        size = (value(record, "height", int, where), value(record, "width", int, where))
        return picture(self.folder, value(record, "file_name", str, where), _PICTURES), size


def refcoco(
    root: str | Path, split: str, name: RefName = "refcocog", owner: str | None = None
) -> Iterator[Sample]:
    """The references of a split, each with all its phrases; in the order of the file.

    Args:
        root: ``refer_seg`` or the folder that holds it.
        split: ``train``, ``val``, ``testA``, ``testB``; for RefCOCOg ``test``.
        name: which of the three.
        owner: whose split; the usual one when None.

    Raises:
        InputError: for an unknown split or owner, a file or picture that is missing (the message
            says where to get it), a pickle that does more than hold values, and a broken mask.
    """
    owner = owner or OWNERS[name][0]
    if split not in SPLITS[name] or owner not in OWNERS[name]:
        raise InputError(
            f"expected a split of {name} in {', '.join(SPLITS[name])} by {', '.join(OWNERS[name])},"
            f" got {split!r} by {owner!r}"
        )
    folder = first_folder(root, "refer_seg", name, _HINT)
    references = read_plain_pickle(folder / name / f"refs({owner}).p", _HINT)
    if not isinstance(references, list):
        raise InputError(
            f"{folder / name}: expected a list of references, got {type(references).__name__}"
        )
    instances = read_json(folder / name / "instances.json", _HINT)
    where = str(folder / name / "instances.json")
    annotations = _by_id(value(instances, "annotations", list, where), where)
    pictures = _Pictures(
        folder / "images/mscoco/images/train2014",
        _by_id(value(instances, "images", list, where), where),
    )
    del instances
    for reference in references:
        if mapping(reference, where).get("split") == split:
            sample = _sample(reference, annotations, pictures, f"{name}/{split}")
            if sample is not None:
                yield sample


def categories(root: str | Path, name: RefName = "refcocog") -> tuple[str, ...]:
    """The nouns of the data set's objects, as COCO names them: words to look for.

    Raises:
        InputError: as :func:`refcoco`.
    """
    path = first_folder(root, "refer_seg", name, _HINT) / name / "instances.json"
    records = value(read_json(path, _HINT), "categories", list, str(path))
    return tuple(dict.fromkeys(value(r, "name", str, str(path)) for r in records))


def picture_ids(
    root: str | Path, name: RefName = "refcocog", owner: str | None = None
) -> dict[str, frozenset[int]]:
    """Split -> COCO's ids of its pictures; needs the references alone.

    Raises:
        InputError: as :func:`refcoco`.
    """
    path = (
        first_folder(root, "refer_seg", name, _HINT) / name / f"refs({owner or OWNERS[name][0]}).p"
    )
    found: dict[str, set[int]] = {}
    for reference in read_plain_pickle(path, _HINT):
        split = value(reference, "split", str, str(path))
        found.setdefault(split, set()).add(value(reference, "image_id", int, str(path)))
    return {split: frozenset(ids) for split, ids in found.items()}


def _sample(
    reference: dict[str, Any],
    annotations: dict[int, dict[str, Any]],
    pictures: _Pictures,
    prefix: str,
) -> Sample | None:
    """One reference; None where no phrase has words."""
    key = f"{prefix}/{value(reference, 'ref_id', int, prefix)}"
    sentences = [s for s in value(reference, "sentences", list, key) if isinstance(s, dict)]
    texts = [str(s.get("sent") or s.get("raw") or "").strip() for s in sentences]
    questions = tuple(dict.fromkeys(text for text in texts if text))
    if not questions:
        return None
    path, size_hw = pictures.of(reference, key)
    annotation = annotations.get(value(reference, "ann_id", int, key))
    if annotation is None:
        raise InputError(
            f"{key}: expected annotation {reference['ann_id']} in instances.json, got none; {_HINT}"
        )
    name, _, split = prefix.partition("/")
    truth = {0: mask_of(annotation.get("segmentation"), size_hw, key)}
    return Sample(key, name, split, path.name, (path,), questions, truth, kind="referring")


def _by_id(records: list[Any], where: str) -> dict[int, dict[str, Any]]:
    return {value(record, "id", int, where): record for record in records}
