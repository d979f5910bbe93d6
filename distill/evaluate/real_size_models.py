"""Random weights in the published configurations, saved as hub checkpoints.

The sizes are those of ``google/owlv2-base-patch16``, ``facebook/sam2.1-hiera-tiny``,
``yonigozlan/EdgeTAM-hf`` and ``depth-anything/Depth-Anything-V2-Small-hf``; the picture's side
may be another. Importing this needs torch and transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from ...deploy.bench_plain import quiet
from ...deploy.bench_script import NAMES
from ...perception.query_words import clip_json
from ...twin.errors import ModelError

__all__ = ["PREPROCESSORS", "build"]

_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
# The published preprocessor_config.json files, less their sizes.
PREPROCESSORS: dict[str, dict[str, Any]] = {
    "detector": {"image_processor_type": "Owlv2ImageProcessor", "do_pad": True, **_CLIP},
    "segmenter": {"image_processor_type": "Sam2ImageProcessorFast", "resample": 2, **_IMAGENET},
    "depth": {
        "image_processor_type": "DPTImageProcessor",
        "keep_aspect_ratio": True,
        "ensure_multiple_of": 14,
        "resample": 3,
        **_IMAGENET,
    },
}


def build(role: str, segmenter: str, side: int, seed: int, folder: Path) -> None:
    """Save a random checkpoint for one role.

    Raises:
        ModelError: if EdgeTAM's backbone cannot be built because timm is missing.
    """
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    if role == "detector":
        model: Any = _detector(side, folder)
    elif role == "depth":
        model = _depth(side)
    else:
        model = _sam2(side) if segmenter == "sam2.1-tiny" else _edgetam(side)
    with quiet():
        model.eval().save_pretrained(folder)


def _detector(side: int, folder: Path) -> Any:
    """OWLv2-base-patch16; its vocabulary is as large as CLIP's."""
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    config = transformers.Owlv2Config(
        text_config={"vocab_size": 49408},
        vision_config={"image_size": side, "patch_size": 16},
    )
    return transformers.Owlv2ForObjectDetection(config)


def _tokenizer() -> dict[str, Any]:
    """Return a tokenizer of CLIP's kind that has the comparison's words as one token each."""
    letters = [chr(c) for c in range(33, 127)]
    merges: dict[str, str] = {}
    for word in (*NAMES, "photo", "of"):
        left = word[0]
        for k, letter in enumerate(word[1:], 2):
            right = letter + ("</w>" if k == len(word) else "")
            merges[f"{left} {right}"] = left + right
            left += right
    pieces = dict.fromkeys([*letters, *(c + "</w>" for c in letters), *merges.values()])
    vocab = {piece: k for k, piece in enumerate(pieces)}
    return clip_json(vocab | {"<|startoftext|>": 49406, "<|endoftext|>": 49407}, list(merges))


def _depth(side: int) -> Any:
    make: Any = transformers.Dinov2Config
    backbone = make(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        image_size=518,
        patch_size=14,
        out_indices=[3, 6, 9, 12],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=384,
        neck_hidden_sizes=[48, 96, 192, 384],
        fusion_hidden_size=64,
        head_hidden_size=32,
    )
    return transformers.DepthAnythingForDepthEstimation(config)


def _sam2(side: int) -> Any:
    make: Any = transformers.Sam2HieraDetConfig
    backbone = make(
        hidden_size=96,
        image_size=[side, side],
        blocks_per_stage=[1, 2, 7, 2],
        embed_dim_per_stage=[96, 192, 384, 768],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 14, 7],
        global_attention_blocks=[5, 7, 9],
        window_positional_embedding_background_size=[7, 7],
    )
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[768, 384, 192, 96],
        backbone_feature_sizes=_maps(side),
    )
    config = transformers.Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"image_size": side},
        image_size=side,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
    )
    return transformers.Sam2VideoModel(config)


def _edgetam(side: int) -> Any:
    from transformers.models.edgetam.configuration_edgetam import EdgeTamVisionConfig

    make: Any = transformers.TimmWrapperConfig
    arguments = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    vision = EdgeTamVisionConfig(
        backbone_config=make(architecture="repvit_m1", model_args=arguments),
        backbone_channel_list=[384, 192, 96, 48],
        backbone_feature_sizes=_maps(side),
    )
    config = transformers.EdgeTamVideoConfig(
        vision_config=vision,
        prompt_encoder_config={"image_size": side},
        image_size=side,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
    )
    try:
        return transformers.EdgeTamVideoModel(config)
    except ImportError as error:
        raise ModelError(
            f"expected timm (and the torchvision it imports) for EdgeTAM's backbone, got: "
            f"{str(error).strip().splitlines()[0][:200]}; install both, or compare with "
            "sam2.1-tiny"
        ) from error


def _maps(side: int) -> list[list[int]]:
    return [[side // stride, side // stride] for stride in (4, 8, 16)]
