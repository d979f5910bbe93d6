"""How often a perceiver runs each graph of a set, and at which sizes: counts of a whole set.

Every graph is counted for one object and for eight, so that any number of objects lies on the
line between. :meth:`SetCounts.document` is what a device bundle's manifest carries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...perception.bundle import Bundle, load_bundle
from ...perception.perceiver import bundle_look_every
from ...twin.errors import ModelError
from .records import GraphCounts, between

__all__ = ["USES", "SetCounts", "Use", "count_set", "known_sets", "sizes_of"]

FEW, MANY = 1, 8  # objects that graphs are counted for
_KNOWN = Path(__file__).with_name("counts.json")


@dataclass(frozen=True, slots=True)
class Use:
    """One way to run a graph: the perceiver's stage that times it, and its free dimensions.

    A size is a number or, as ``"objects"``, that of the objects (at most ``most`` of them).
    """

    stage: str
    graph: str
    name: str
    sizes: Mapping[str, int | str]
    most: int = 1 << 20


USES = (
    Use("encoder", "segmenter_encoder.onnx", "frame", {}),
    Use("detector", "detector_image.onnx", "look", {"queries": 144}),
    Use("words", "detector_text.onnx", "vocabulary", {"queries": 16}),
    Use(
        "segmenter", "segmenter_decoder.onnx", "boxes",
        {"rows": 1, "prompts": "objects", "points_each": 2},
    ),
    Use(
        "segmenter", "segmenter_decoder.onnx", "memory",
        {"rows": "objects", "prompts": 1, "points_each": 1},
    ),
    Use(
        "segmenter", "segmenter_memory_attention.onnx", "memory",
        {"objects": "objects", "memories": 4, "pointers": 16},
    ),
    Use("memory", "segmenter_memory_encoder.onnx", "renewed", {"objects": "objects"}, most=2),
    Use("depth", "depth.onnx", "measurement", {}),
)  # fmt: skip
"""144 queries: sixteen nouns, and each in eight colours; four memories and two renewed per
frame are the perceiver's own defaults."""


def sizes_of(use: Use, objects: int) -> dict[str, int]:
    """Return the sizes of a use's free dimensions for a number of objects."""
    many = min(objects, use.most)
    return {dim: many if size == "objects" else int(size) for dim, size in use.sizes.items()}


@dataclass(frozen=True, slots=True)
class SetCounts:
    """Counts of every use of a set's graphs: (graph, use's name) -> for one and for eight objects.

    ``look_every``, ``memory`` and ``sizes`` (role -> picture side) are those of its manifest.
    """

    name: str
    uses: dict[tuple[str, str], tuple[GraphCounts, GraphCounts]]
    look_every: int
    memory: bool
    sizes: dict[str, int]

    def at(self, use: Use, objects: int) -> GraphCounts | None:
        """Return the counts of a use for a number of objects; None if the set lacks the graph."""
        pair = self.uses.get((use.graph, use.name))
        if pair is None:
            return None
        return between(*pair, min(FEW, use.most), min(MANY, use.most), min(objects, use.most))

    def document(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        graphs: dict[str, dict[str, Any]] = {}
        for (graph, name), pair in sorted(self.uses.items()):
            graphs.setdefault(graph, {})[name] = [counts.document() for counts in pair]
        return {
            "set": self.name,
            "look_every": self.look_every,
            "memory": self.memory,
            "sizes": self.sizes,
            "graphs": graphs,
        }

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> SetCounts:
        """Read what :meth:`document` gave.

        Raises:
            ModelError: if it is malformed.
        """
        try:
            uses = {
                (graph, name): (GraphCounts.from_document(low), GraphCounts.from_document(high))
                for graph, named in values["graphs"].items()
                for name, (low, high) in named.items()
            }
            return cls(
                str(values["set"]),
                uses,
                int(values["look_every"]),
                bool(values["memory"]),
                {str(role): int(side) for role, side in values["sizes"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"expected the counts of a model set, got {error!r}; export the bundle again"
            ) from error


def count_set(folder: Path | Bundle) -> SetCounts:
    """Count the graphs of a perception bundle: its folder, or the bundle itself.

    Raises:
        MissingExtraError: without the onnx package.
        ModelError: if there is no bundle, or a file is missing, changed or no graph.
    """
    from .counts import count

    bundle = folder if isinstance(folder, Bundle) else load_bundle(folder)
    entries = bundle.manifest.networks
    present = {file for entry in entries.values() for file in entry.files}
    uses = {}
    for use in USES:
        if use.graph in present:
            path = bundle.path(use.graph)
            low, high = (count(path, _with_all(path, use, n)) for n in (FEW, MANY))
            uses[use.graph, use.name] = low, high
    config = entries["segmenter"].config if "segmenter" in entries else {}
    sizes = {r: int(e.config["image_size"]) for r, e in entries.items() if "image_size" in e.config}
    memory = bool(config.get("memory", False))
    return SetCounts(bundle.name, uses, bundle_look_every(bundle), memory, sizes)


def known_sets() -> dict[str, SetCounts]:
    """Return the counts that are part of the package, by set.

    ``edge`` is of the published sizes (SAM 2.1-tiny at 1024, OWLv2-base at 960,
    Depth-Anything-V2-Small at 518 pixels); weights' values change no count.
    """
    if not _KNOWN.is_file():
        return {}
    return {n: SetCounts.from_document(v) for n, v in json.loads(_KNOWN.read_bytes()).items()}


def _with_all(path: Path, use: Use, objects: int) -> dict[str, int]:
    """Return the sizes of a use; dimensions that a file has besides are 1 (static batches)."""
    from .counts import free_dimensions

    return dict.fromkeys(free_dimensions(path), 1) | sizes_of(use, objects)
