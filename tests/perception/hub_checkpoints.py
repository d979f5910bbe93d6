"""Tiny random checkpoints of the published architectures, laid out as the hub's cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SEGMENTER, DETECTOR = "someone/sam2-tiny", "someone/owlv2-tiny"
DEPTH, METRIC = "someone/depth-tiny-hf", "someone/depth-metric-tiny-hf"
SOURCES = {"segmenter": SEGMENTER, "detector": DETECTOR, "depth": DEPTH}
COMMIT = "0123456789abcdef0123456789abcdef01234567"

# The published files' switches (what they hold beside sizes).
COMMON: dict[str, Any] = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "rescale_factor": 1 / 255,
}  # fmt: skip
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def owlv2_preprocessor(side: int = 64) -> dict[str, Any]:
    size = {"height": side, "width": side}
    kind = {"image_processor_type": "Owlv2ImageProcessor", "processor_class": "Owlv2Processor"}
    return {**COMMON, **CLIP, **kind, "do_pad": True, "resample": 2, "size": size}


def sam2_preprocessor(side: int = 128) -> dict[str, Any]:
    return {
        **COMMON, **IMAGENET, "image_processor_type": "Sam2ImageProcessorFast", "resample": 2,
        "processor_class": "Sam2VideoProcessor", "size": {"height": side, "width": side},
        "mask_size": {"height": side // 4, "width": side // 4}, "crop_size": None,
        "data_format": "channels_first", "default_to_square": True, "do_center_crop": None,
        "do_convert_rgb": True, "device": None, "input_data_format": None,
    }  # fmt: skip


def depth_preprocessor(side: int = 56) -> dict[str, Any]:
    return {
        **COMMON, **IMAGENET, "image_processor_type": "DPTImageProcessor", "do_pad": False,
        "ensure_multiple_of": 14, "keep_aspect_ratio": True, "resample": 3, "size_divisor": None,
        "size": {"height": side, "width": side},
    }  # fmt: skip


def clip_vocabulary(merges: tuple[str, ...] = ()) -> dict[str, int]:
    """Bytes, bytes that end a word, what the merges make, start- and end-of-text."""
    from edgetwin.perception.query_words import _byte_alphabet

    letters = sorted(_byte_alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    pieces += [merge.replace(" ", "") for merge in merges]
    return {p: i for i, p in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}


MERGES = ("m u", "g </w>", "mu g</w>", "h o", "ho t", "o </w>", "ho t</w>", "c u", "cu p</w>")


def merges_for(words: tuple[str, ...]) -> tuple[str, ...]:
    """Merges that make each word one piece, left to right."""
    found: list[str] = []
    for word in words:
        left = word[0]
        for i, letter in enumerate(word[1:], 1):
            piece = letter + ("</w>" if i == len(word) - 1 else "")
            found.append(f"{left} {piece}")
            left += piece
    return tuple(dict.fromkeys(found))


WORDS = merges_for(("a", "photo", "of", "mug", "bowl", "red", "it"))


def snapshot(cache: Path, name: str, commit: str = COMMIT) -> Path:
    repo = cache / f"models--{name.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True, exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    folder = repo / "snapshots" / commit
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_detector(folder: Path, *, single_file_tokenizer: bool = False) -> None:
    import torch
    from transformers import CLIPTokenizer, Owlv2ForObjectDetection

    from edgetwin.perception.graphs.configs_detector import embedded_detector_config

    vocab = clip_vocabulary(WORDS)
    torch.manual_seed(0)
    config = embedded_detector_config(
        len(vocab), image_size=64, width=32, layers=2, text_width=32, text_layers=1, text_length=16
    )
    model = Owlv2ForObjectDetection(config).eval()
    with torch.no_grad():  # random heads see boxes without area: these see patches that stand out
        model.box_head.dense2.weight.mul_(0.02)
        model.box_head.dense2.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 1.0]))
        for head, bias in (
            (model.class_head.logit_shift, -0.25),
            (model.class_head.logit_scale, 9),
        ):
            head.weight.zero_()
            head.bias.fill_(bias)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(owlv2_preprocessor()))
    if single_file_tokenizer:
        merges = [tuple(m.split(" ")) for m in WORDS]
        CLIPTokenizer(vocab=vocab, merges=merges).save_pretrained(folder)
    else:
        (folder / "vocab.json").write_text(json.dumps(vocab))
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *WORDS]) + "\n")


def write_segmenter(folder: Path) -> None:
    from edgetwin.perception.graphs.configs_segmenter import embedded_segmenter_config
    from edgetwin.perception.graphs.segmenter import build_segmenter

    config = embedded_segmenter_config(
        image_size=128, widths=(16, 32, 48, 64), fpn=128, mlp=64, blocks=(1, 1, 2, 1)
    )
    build_segmenter(config).eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(sam2_preprocessor()))


def write_depth(folder: Path, *, metric: bool = False) -> None:
    import torch
    from transformers import DepthAnythingForDepthEstimation

    from edgetwin.perception.graphs.configs_depth import embedded_depth_config

    torch.manual_seed(0)
    config = embedded_depth_config(image_size=56, patch=14, width=32, layers=4, fusion=8)
    config.depth_estimation_type = "metric" if metric else "relative"
    config.max_depth = 20 if metric else 1
    model = DepthAnythingForDepthEstimation(config).eval()
    with torch.no_grad():  # a random head gives zero nearly everywhere: this one differs by place
        model.head.conv3.weight.mul_(20)
        model.head.conv3.bias.fill_(1.0)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(depth_preprocessor()))


def write_cache(cache: Path) -> Path:
    """Fill a hub cache with one tiny checkpoint per role (and a metric depth one)."""
    write_detector(snapshot(cache, DETECTOR))
    write_segmenter(snapshot(cache, SEGMENTER))
    write_depth(snapshot(cache, DEPTH))
    write_depth(snapshot(cache, METRIC), metric=True)
    return cache
