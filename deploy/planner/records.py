"""What was counted of a graph: plain numbers that a bundle's manifest carries to the device.

Importing this needs nothing; counting itself (:mod:`.counts`) needs the onnx package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...twin.errors import ModelError

__all__ = ["KINDS", "GraphCounts", "KindCounts", "between"]

KINDS = ("conv", "matmul", "norm", "elementwise", "move")
"""``norm`` holds softmax, normalisation, pooling and reductions; ``move`` what only copies."""


@dataclass(frozen=True, slots=True)
class KindCounts:
    """Work of all nodes of one kind in one run.

    ``flops``: a multiplication with its addition counts 2; ``int8_flops`` are those among them
    whose operands come out of a DequantizeLinear, so that an engine may run them in int8.
    ``weight_bytes`` are constants as stored in the file, each counted where it is first read;
    ``activation_bytes`` what the nodes read and write if nothing is fused.
    """

    nodes: float = 0
    flops: float = 0
    int8_flops: float = 0
    weight_bytes: float = 0
    activation_bytes: float = 0


@dataclass(frozen=True, slots=True)
class GraphCounts:
    """Work of one run of a graph at given sizes of its free dimensions.

    ``sizes``: free dimension -> size; ``float_bytes``: bytes of the floating-point numbers that
    flow (4 or 2); ``input_bytes`` and ``output_bytes`` of the graph's ports; ``peak_bytes``: the
    most activations alive at once, each freed after its last reader; ``unknown``: nodes whose
    sizes could not be told and which are left out.
    """

    sizes: dict[str, int]
    kinds: dict[str, KindCounts]
    float_bytes: int = 4
    input_bytes: float = 0
    output_bytes: float = 0
    peak_bytes: float = 0
    unknown: int = 0
    total: KindCounts = field(init=False)

    def __post_init__(self) -> None:
        sums = {
            name: sum(getattr(kind, name) for kind in self.kinds.values())
            for name in KindCounts.__dataclass_fields__
        }
        object.__setattr__(self, "total", KindCounts(**sums))

    def document(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        kinds = {
            name: {key: round(getattr(kind, key)) for key in KindCounts.__dataclass_fields__}
            for name, kind in self.kinds.items()
        }
        return {
            "sizes": dict(self.sizes),
            "float_bytes": self.float_bytes,
            "input_bytes": round(self.input_bytes),
            "output_bytes": round(self.output_bytes),
            "peak_bytes": round(self.peak_bytes),
            "unknown": self.unknown,
            "kinds": kinds,
        }

    @classmethod
    def from_document(cls, values: Mapping[str, Any]) -> GraphCounts:
        """Read what :meth:`document` gave.

        Raises:
            ModelError: if something is missing or of another kind.
        """
        try:
            kinds = {str(k): KindCounts(**v) for k, v in values["kinds"].items()}
            numbers = {
                key: values[key]
                for key in ("float_bytes", "input_bytes", "output_bytes", "peak_bytes", "unknown")
            }
            if not set(kinds) <= set(KINDS):
                raise ValueError(f"kinds {sorted(kinds)}")
            return cls({str(k): int(v) for k, v in values["sizes"].items()}, kinds, **numbers)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"expected counts of a graph (sizes, kinds, bytes), got {error!r}; export the "
                "bundle again"
            ) from error


def between(
    low: GraphCounts, high: GraphCounts, dim_low: int, dim_high: int, at: int
) -> GraphCounts:
    """Return the counts at ``at`` objects from those at ``dim_low`` and ``dim_high``.

    Work grows in a straight line with the number of objects, since they do not know of each
    other in any graph; peaks do so approximately.
    """
    if dim_low == dim_high:
        return low
    share = (at - dim_low) / (dim_high - dim_low)

    def mix(a: float, b: float) -> float:
        return max(0.0, a + (b - a) * share)

    kinds = {}
    for name in sorted(set(low.kinds) | set(high.kinds)):
        a, b = low.kinds.get(name, KindCounts()), high.kinds.get(name, KindCounts())
        kinds[name] = KindCounts(
            **{k: mix(getattr(a, k), getattr(b, k)) for k in KindCounts.__dataclass_fields__}
        )
    sizes = {d: round(mix(size, high.sizes[d])) for d, size in low.sizes.items()}
    return GraphCounts(
        sizes,
        kinds,
        low.float_bytes,
        mix(low.input_bytes, high.input_bytes),
        mix(low.output_bytes, high.output_bytes),
        mix(low.peak_bytes, high.peak_bytes),
        max(low.unknown, high.unknown),
    )
