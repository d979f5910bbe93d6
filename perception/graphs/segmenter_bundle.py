"""A live torch model in place of a bundle, so that one segmenter serves both engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...twin.errors import ModelError
from ..bundle import NetworkEntry
from ..engines import Engine, Port
from ..engines.torch_engine import TorchEngine
from .configs_segmenter import SAM2_MEAN, SAM2_STD
from .edgetam import SegmenterModel, is_edgetam
from .segmenter import (
    DecoderGraph,
    EncoderGraph,
    MemoryAttentionGraph,
    MemoryEncoderGraph,
    image_side,
)

__all__ = ["TorchSegmenterBundle", "segmenter_manifest"]

_Graph = EncoderGraph | DecoderGraph | MemoryEncoderGraph | MemoryAttentionGraph
_GRAPHS: dict[str, type[_Graph]] = {
    "segmenter_encoder.onnx": EncoderGraph,
    "segmenter_decoder.onnx": DecoderGraph,
    "segmenter_memory_encoder.onnx": MemoryEncoderGraph,
    "segmenter_memory_attention.onnx": MemoryAttentionGraph,
}
_PROMPTS = 4
_RANKS = {"pixel_values": 4, "embedding": 4, "high_res_0": 4, "high_res_1": 4, "points": 4}
_RANKS |= {"labels": 3, "mask_logits": 3, "object_logits": 1, "prompted": 1, "memories": 4}
_RANKS |= {"memory_offsets": 2, "pointers": 3, "pointer_offsets": 2}


def segmenter_manifest(
    model: SegmenterModel,
    mean: Sequence[float] = SAM2_MEAN,
    std: Sequence[float] = SAM2_STD,
    *,
    oldest_pointer: int | None = None,
) -> dict[str, Any]:
    """Return what the manifest says of a SAM 2 or EdgeTAM model (see ``SegmenterConfig``).

    Checkpoints that read prompted frames without bound (``max_cond_frame_num`` -1) read the
    latest 4 here, as many as SAM 2 was trained with.
    """
    config = model.config
    return {
        "image_size": image_side(model),
        "mean": list(mean),
        "std": list(std),
        "width": int(model.hidden_dim),
        "memories": int(config.num_maskmem),
        "pointers": int(config.max_object_pointers_in_encoder),
        "prompts": int(config.max_cond_frame_num) if config.max_cond_frame_num > 0 else _PROMPTS,
        "oldest_pointer": oldest_pointer,
        # transformers rounds SAM 2's memories to bfloat16, and EdgeTAM's not.
        "memory_dtype": "float32" if is_edgetam(model) else "bfloat16",
    }


class TorchSegmenterBundle:
    """``Segmenter(TorchSegmenterBundle(model))`` runs the torch graphs on a device."""

    def __init__(self, model: SegmenterModel, device: str = "cpu") -> None:
        self._model, self._device = model, device

    def network(self, name: str) -> NetworkEntry:
        """Return the segmenter's entry.

        Raises:
            ModelError: for any other network.
        """
        if name != "segmenter":
            raise ModelError(f"expected network 'segmenter' of a torch model, got {name!r}")
        return NetworkEntry(
            files=dict.fromkeys(_GRAPHS, "0" * 64), config=segmenter_manifest(self._model)
        )

    def engine(self, filename: str) -> Engine:
        """Return the torch engine of the graph that the file name stands for.

        Raises:
            ModelError: for an unknown file name.
        """
        graph = _GRAPHS.get(filename)
        if graph is None:
            raise ModelError(f"expected one of {sorted(_GRAPHS)}, got {filename!r}")
        inputs = [Port(n, (None,) * _RANKS[n], _kind(n)) for n in graph.inputs]
        outputs = [Port(n, (), "float32") for n in graph.outputs]
        return TorchEngine(graph(self._model), inputs, outputs, device=self._device)


def _kind(name: str) -> str:
    return "int64" if name in ("labels", "memory_offsets") else "float32"
