"""Every reader by its name: one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...twin.errors import InputError
from . import llmseg, mapped, reasonseg, refcoco, revos
from .sample import Sample

__all__ = ["DATASETS", "Dataset", "dataset_of", "read_dataset"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A reader with its splits; ``held_out`` are those that training never sees."""

    read: Callable[[str | Path, str], Iterator[Sample]]
    splits: tuple[str, ...]
    held_out: tuple[str, ...]


def _ref(name: refcoco.RefName) -> Dataset:
    splits = refcoco.SPLITS[name]
    return Dataset(partial(refcoco.refcoco, name=name), splits, splits[1:])


DATASETS: dict[str, Dataset] = {
    "refcoco": _ref("refcoco"),
    "refcoco+": _ref("refcoco+"),
    "refcocog": _ref("refcocog"),
    "reasonseg": Dataset(reasonseg.reasonseg, reasonseg.SPLITS, ("val", "test")),
    "revos": Dataset(revos.revos, revos.REVOS_SPLITS, ("valid",)),
    "mevis": Dataset(revos.mevis, revos.MEVIS_SPLITS, ("valid_u", "valid")),
    "llmseg40k": Dataset(llmseg.llmseg40k, llmseg.SPLITS, ("validation",)),
}
"""Name -> reader."""


def dataset_of(name: str) -> Dataset:
    """The reader of a name, or of a mapping file (:mod:`.mapped`), whose splits are its own.

    Raises:
        InputError: for an unknown name or a broken mapping file.
    """
    if mapped.is_mapping(name):
        mapping = mapped.read_mapping(name)
        if mapping.name in DATASETS:
            raise InputError(f"{name}: expected a name of its own, got {mapping.name!r}")
        return Dataset(partial(mapped.read_mapped, mapping), (), mapping.held_out)
    if name not in DATASETS:
        raise InputError(
            f"expected a data set in {', '.join(DATASETS)} or a mapping file (.json), got {name!r}"
        )
    return DATASETS[name]


def read_dataset(name: str, root: str | Path, split: str = "train") -> Iterator[Sample]:
    """The samples of a data set's split, read as they are needed.

    Args:
        name: ``refcoco``, ``refcoco+``, ``refcocog``, ``reasonseg``, ``revos``, ``mevis``,
            ``llmseg40k`` or the path of a mapping file.
        root: the data set's folder, or the one that holds it.
        split: as the data set names it.

    Raises:
        InputError: for an unknown name or split, now; while reading for what is missing or broken.
    """
    dataset = dataset_of(name)
    if dataset.splits and split not in dataset.splits:
        raise InputError(
            f"expected a split of {name} in {', '.join(dataset.splits)}, got {split!r}"
        )
    return dataset.read(root, split)
