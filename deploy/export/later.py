"""Features are judged by the masks that a later graph makes of them.

A small error of features says little: 4 % of its encoder's output cost the embedded set 1.5 % of
mask IoU, and networks of published size with random weights 8 %. So the mask decoder, in
float32, turns the features of both formats into masks, with prompts that it was given while
inputs were recorded.

Not covered: the detector and depth, whose outputs are what a twin holds; memory's encoder, of
whose features a frame uses several at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...perception.bundle import Bundle
from .int8 import Feeds

__all__ = ["Later", "masks_of"]

Later = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]
"""Turns a graph's outputs into those of a later graph."""

_DECODER = "segmenter_decoder.onnx"
# graph -> whether its features are decoded with prompts, its outputs by the decoder's inputs
_DECODED: dict[str, tuple[bool, dict[str, str]]] = {
    "segmenter_encoder.onnx": (
        True,
        {"embedding": "image_embedding", "high_res_0": "high_res_0", "high_res_1": "high_res_1"},
    ),
    "segmenter_memory_attention.onnx": (False, {"embedding": "conditioned"}),
}
_MOST = 4  # recorded inputs of the decoder: each is run for both formats of every held-out input


def masks_of(graph: str, bundle: Bundle, recorded: Mapping[str, Feeds]) -> Later | None:
    """Return what turns a graph's outputs into ``mask_logits`` (N, H, W), None for most graphs.

    Args:
        graph: the graph's file name.
        bundle: has the decoder, in float32.
        recorded: graph's file name -> inputs; the decoder's give the prompts.
    """
    if graph not in _DECODED:
        return None
    prompted, features = _DECODED[graph]
    fed = recorded.get(_DECODER, ())
    # Labels are negative where there is no prompt and memory alone says what is meant.
    chosen = [dict(f) for f in fed if (np.max(f["labels"], initial=-1) >= 0) == prompted][:_MOST]
    if not chosen:
        return None
    decoder = bundle.engine(_DECODER)

    def later(outputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        rows = len(outputs[features["embedding"]])
        masks = []
        for one in chosen:
            prompts = {name: np.repeat(one[name][:1], rows, 0) for name in ("points", "labels")}
            taken = {name: outputs[output] for name, output in features.items()}
            logits = decoder.run({**one, **prompts, **taken})["mask_logits"]
            masks.append(logits.reshape(-1, *logits.shape[-2:]))
        return {"mask_logits": np.concatenate(masks)}

    return later
