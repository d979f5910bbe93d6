"""Every reader by its name: one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...twin.errors import InputError
from . import llmseg, reasonseg, refcoco, revos
from .sample import Sample

__all__ = ["DATASETS", "Dataset", "read_dataset"]


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


def read_dataset(name: str, root: str | Path, split: str = "train") -> Iterator[Sample]:
    """The samples of a data set's split, read as they are needed.

    Args:
        name: ``refcoco``, ``refcoco+``, ``refcocog``, ``reasonseg``, ``revos``, ``mevis`` or
            ``llmseg40k``.
        root: the data set's folder, or the one that holds it.
        split: as the data set names it.

    Raises:
        InputError: for an unknown name or split, now; while reading for what is missing or broken.
    """
    if name not in DATASETS:
        raise InputError(f"expected a data set in {', '.join(DATASETS)}, got {name!r}")
    if split not in DATASETS[name].splits:
        raise InputError(
            f"expected a split of {name} in {', '.join(DATASETS[name].splits)}, got {split!r}"
        )
    return DATASETS[name].read(root, split)
