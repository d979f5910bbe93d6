"""OWLv2 as two graphs: pictures against query embeddings, and words into query embeddings.

The text tower runs once per vocabulary, the image graph once per keyframe, so they are
exported apart. Both wrap transformers' ``Owlv2ForObjectDetection`` without changing a
weight: any checkpoint of that class fits, the embedded one and the published ones alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Owlv2ForObjectDetection

from .onnx_file import export_graph

__all__ = ["IMAGE_OUTPUTS", "DetectorImage", "DetectorText", "export_detector"]

IMAGE_OUTPUTS = ("boxes_cxcywh", "logits", "objectness")


class DetectorImage(nn.Module):
    """Picture + queries -> what each of the P patches sees.

    ``forward(pixel_values (B, 3, S, S), query_embeds (Q, D))`` returns boxes (B, P, 4) as
    (cx, cy, w, h) in units of the padded square, class logits (B, P, Q) and objectness
    logits (B, P). S and so P are fixed by the checkpoint; Q is free. Sigmoid is left to the
    caller.
    """

    def __init__(self, model: Owlv2ForObjectDetection) -> None:
        super().__init__()
        self.model: Any = model

    def features(self, pixel_values: Tensor) -> Tensor:
        """Return patch features (B, P, width) that all three heads read."""
        feature_map, _ = self.model.image_embedder(pixel_values)
        features: Tensor = feature_map.flatten(1, 2)
        return features

    def heads(self, features_bpd: Tensor, query_embeds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, logits and objectness of patch features."""
        queries = query_embeds.unsqueeze(0).expand(features_bpd.shape[0], -1, -1)
        logits, _ = self.model.class_predictor(features_bpd, queries)
        boxes = self.model.box_predictor(features_bpd, features_bpd)
        objectness = self.model.objectness_predictor(features_bpd)
        return boxes, logits, objectness

    def forward(self, pixel_values: Tensor, query_embeds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        return self.heads(self.features(pixel_values), query_embeds)


class DetectorText(nn.Module):
    """Token ids (Q, L) int64 -> query embeddings (Q, D) of length one.

    The tower reads its result at the highest token id of a row, so end-of-text must be the
    last id of the vocabulary; what follows it is padding and has no effect (causal mask).
    """

    def __init__(self, model: Owlv2ForObjectDetection) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, input_ids: Tensor) -> Tensor:
        """See the class."""
        # get_text_features() without its recorder of hidden states, which cannot be traced.
        owl = self.model.owlv2
        pooled = owl.text_model(input_ids=input_ids).pooler_output
        embeds: Tensor = owl.text_projection(pooled)
        length: Tensor = torch.linalg.vector_norm(embeds, dim=-1, keepdim=True)
        return embeds / length


def export_detector(
    model: Owlv2ForObjectDetection, folder: Path, *, tolerance: float = 1e-3
) -> tuple[Path, Path]:
    """Write ``detector_image.onnx`` and ``detector_text.onnx`` into ``folder``.

    Raises:
        ModelError: if a written file and the module differ by more than ``tolerance``.
    """
    config: Any = model.config
    vision, text = config.vision_config, config.text_config
    generator = torch.Generator().manual_seed(0)
    # Five sample queries and three sample rows: sizes that nothing else in the graph has.
    pixels = torch.randn(1, 3, vision.image_size, vision.image_size, generator=generator)
    queries = torch.randn(5, text.hidden_size, generator=generator)
    ids = torch.randint(
        1, text.vocab_size - 1, (3, text.max_position_embeddings), generator=generator
    )
    ids[:, -1] = text.vocab_size - 1
    image = export_graph(
        DetectorImage(model),
        {"pixel_values": pixels, "query_embeds": queries},
        folder / "detector_image.onnx",
        IMAGE_OUTPUTS,
        dynamic={"query_embeds": {0: "queries"}},
        tolerance=tolerance,
    )
    words = export_graph(
        DetectorText(model),
        {"input_ids": ids},
        folder / "detector_text.onnx",
        ("query_embeds",),
        dynamic={"input_ids": {0: "queries"}},
        tolerance=tolerance,
    )
    return image, words
