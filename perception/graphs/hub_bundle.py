"""Hub checkpoints as a bundle: live on torch, or exported as ONNX files with a manifest.

``HubBundle.load({"detector": ..., "segmenter": ..., "depth": ...})`` finds the checkpoints
(:mod:`edgetwin.perception.hub`), reads their pre-processing and runs the same graphs that
:func:`export_bundle` writes, so a workstation with torch and a device without see the same.

Not covered: half precision on torch (everything runs in float32), several GPUs, and
checkpoints whose tokenizer is not CLIP's.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    DepthAnythingForDepthEstimation,
    EdgeTamVideoModel,
    Owlv2ForObjectDetection,
    Sam2VideoModel,
)
from transformers.utils import logging

from ...twin.errors import InputError, ModelError
from ...twin.files import sha256_of
from ..bundle import Bundle, Manifest, NetworkEntry, Source, write_network_entry
from ..depth import DepthConfig, input_size
from ..engines import DEVICES, Engine
from ..hub import ROLES, Checkpoint, find_checkpoint
from ..hub_preprocess import preprocessing
from ..query_words import QueryTokenizer, clip_json
from .depth import export_depth
from .detector import export_detector
from .segmenter import image_side
from .segmenter_bundle import segmenter_manifest
from .segmenter_export import export_segmenter
from .torch_bundle import open_module

__all__ = ["HubBundle", "HubNetwork", "export_bundle", "load_network"]

_TOKENIZER = "detector_tokenizer.json"
_CLASSES: dict[str, Any] = {
    "sam2_video": Sam2VideoModel,
    "edgetam_video": EdgeTamVideoModel,
    "owlv2": Owlv2ForObjectDetection,
    "depth_anything": DepthAnythingForDepthEstimation,
}
# Weights that a checkpoint may lack because nothing we run reads them.
_UNREAD = ("mask_token",)
# OWLv2's scores are low: transformers' own default is .1, its examples use .1 to .3. Chosen
# without a published checkpoint at hand; a tracker confirms or drops what is doubtful.
_OPEN_WORDS = {"template": "a photo of a {}", "score_threshold": 0.2, "nms_iou": 0.5}
_LOOK_EVERY = 8  # frames between two looks of a detector that costs more than the rest together


@dataclass(frozen=True, slots=True)
class HubNetwork:
    """A checkpoint's live model, its manifest config and, for a detector, its tokenizer."""

    checkpoint: Checkpoint
    model: Any
    config: dict[str, Any]
    tokenizer: dict[str, Any] | None = None

    def entry(self) -> NetworkEntry:
        """Return what a manifest says of it: the weights' hashes, config and source."""
        files = {file.name: sha256_of(file) for file in self.checkpoint.weights}
        found = self.checkpoint
        source = Source(
            id=found.id, revision=found.revision, pinned=found.pinned, licence=found.licence
        )
        return NetworkEntry(files=files, config=self.config, source=source)


class HubBundle(Bundle):
    """Hub checkpoints behind a bundle's interface; engines are torch on one device.

    ``words`` are empty (any word may be asked for), ``fov_deg`` is unknown. ``manifest`` holds
    ids, revisions and the hashes of the checkpoints' weights.

    Raises:
        ModelError: if a role is missing, or the device cannot run torch.
        InputError: if the device is unknown.
    """

    def __init__(
        self,
        networks: Mapping[str, HubNetwork],
        *,
        name: str = "own",
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        if set(networks) != set(ROLES):
            raise ModelError(f"expected networks {', '.join(ROLES)}, got {sorted(networks)}")
        entries = {role: network.entry() for role, network in networks.items()}
        manifest = Manifest.model_validate(
            {"set": name, "schema": 1, "networks": entries, "fov_deg": None}
        )
        folder = networks["segmenter"].checkpoint.folder
        super().__init__(folder, manifest, device=_torch_device(device), threads=threads)
        if threads is not None:  # torch knows no threads per module
            torch.set_num_threads(threads)
        self.networks = dict(networks)
        self._temporary = Path(tempfile.mkdtemp(prefix="edgetwin-hub-"))
        weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)

    @classmethod
    def load(
        cls,
        sources: Mapping[str, str | Path],
        *,
        name: str = "own",
        device: str = "auto",
        threads: int | None = None,
        offline: bool | None = None,
    ) -> HubBundle:
        """Find and load one checkpoint per role.

        Raises:
            ModelError: if one cannot be had or is of a kind that is not implemented.
        """
        device = _torch_device(device)
        networks = {
            role: load_network(find_checkpoint(source, role, offline=offline))
            for role, source in sorted(sources.items())
        }
        return cls(networks, name=name, device=device, threads=threads)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Revisions that are not pinned, licences that forbid commercial use."""
        return tuple(w for n in self.networks.values() for w in n.checkpoint.warnings)

    def path(self, filename: str) -> Path:
        """Return the tokenizer's file, or a checkpoint's weights by their file name.

        Raises:
            ModelError: for any other file: graphs have none here, see :meth:`engine`.
        """
        if filename == _TOKENIZER:
            file = self._temporary / filename
            if not file.is_file():
                file.write_text(json.dumps(self.networks["detector"].tokenizer), encoding="utf-8")
            return file
        raise ModelError(
            f"expected {_TOKENIZER}, the one file that live hub checkpoints have, got "
            f"{filename!r}; export the set first (export_bundle) to have graphs as files"
        )

    def verify(self) -> None:
        """Do nothing: the weights were hashed and read when they were loaded."""

    def engine(self, filename: str) -> Engine:
        """Return the torch engine of the graph that a bundle's file name stands for.

        Raises:
            ModelError: for an unknown file name.
        """
        models = {role: network.model for role, network in self.networks.items()}
        return open_module(filename, models, self.device)


def load_network(checkpoint: Checkpoint) -> HubNetwork:
    """Load a checkpoint's weights and say how it is to be used.

    Raises:
        ModelError: if weights are missing or of another shape than the config says, or the
            pre-processing is not one of ours.
    """
    pictures = preprocessing(checkpoint)
    model = _load_model(checkpoint)
    if checkpoint.role == "segmenter":
        _same_side(checkpoint, pictures["image_size"], image_side(model))
        config = segmenter_manifest(model) | pictures | {"memory": True}
        return HubNetwork(checkpoint, model, config)
    if checkpoint.role == "detector":
        vision, text = model.config.vision_config, model.config.text_config
        _same_side(checkpoint, pictures["image_size"], vision.image_size)
        length = int(text.max_position_embeddings)
        tokenizer = _tokenizer(checkpoint)
        QueryTokenizer(tokenizer, length)  # raises if it is not CLIP's
        config = pictures | _OPEN_WORDS | {"max_tokens": length, "look_every": _LOOK_EVERY}
        return HubNetwork(checkpoint, model, config, tokenizer)
    patch = int(model.config.patch_size)
    if pictures["multiple"] % patch:
        raise ModelError(
            f"expected ensure_multiple_of a multiple of {patch} in {checkpoint.id}, got "
            f"{pictures['multiple']}; the network takes whole patches"
        )
    metric = model.config.depth_estimation_type == "metric"
    config = pictures | {"metric": metric, "max_depth": float(model.config.max_depth or 1)}
    DepthConfig.from_manifest(config)
    return HubNetwork(checkpoint, model, config)


def export_bundle(
    bundle: HubBundle,
    folder: str | Path,
    *,
    frame_hw: tuple[int, int] = (1080, 1920),
    tolerance: float = 1e-3,
) -> Path:
    """Write a hub set as ONNX files with a manifest; what it returns loads without torch.

    ``frame_hw`` is the camera's picture size: the depth graph is fixed to what the published
    pre-processing makes of it, and frames of another aspect ratio are stretched.

    Raises:
        ModelError: if ``folder`` is not empty, or a file differs from its module by more than
            ``tolerance``.
    """
    target = Path(folder)
    if target.exists() and any(target.iterdir()):
        raise ModelError(f"expected an empty or new folder to export to, got {target}; remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        for role, network in sorted(bundle.networks.items()):
            network.model.to("cpu")
            files, config = _export_network(role, network, part, frame_hw, tolerance)
            network.model.to(bundle.device)
            source = bundle.network(role).source
            write_network_entry(
                part, role, files, config, set_name=bundle.name, fov_deg=None, source=source
            )
        part.chmod(0o755)
        if target.exists():
            target.rmdir()
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return target


def _export_network(
    role: str, network: HubNetwork, folder: Path, frame_hw: tuple[int, int], tolerance: float
) -> tuple[list[str], dict[str, Any]]:
    model, config = network.model, network.config
    if role == "segmenter":
        return list(export_segmenter(model, folder, tolerance=tolerance)), config
    if role == "detector":
        paths = export_detector(model, folder, tolerance=tolerance)
        (folder / _TOKENIZER).write_text(json.dumps(network.tokenizer), encoding="utf-8")
        return [p.name for p in paths] + [_TOKENIZER], config
    size_hw = input_size(*frame_hw, DepthConfig.from_manifest(config))
    path = export_depth(model, folder, size_hw=size_hw, tolerance=tolerance)
    return [path.name], config | {"input_hw": list(size_hw)}


def _load_model(checkpoint: Checkpoint) -> Any:
    """Return the model in eval mode with every weight from the checkpoint."""
    model_class = _CLASSES[str(checkpoint.config["model_type"])]
    shows = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, info = model_class.from_pretrained(
            checkpoint.folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except ImportError as error:
        raise ModelError(
            f"expected the packages that {checkpoint.id} is built from (EdgeTAM's backbone is "
            f"timm's, which imports torchvision), got: {_first_line(error)}; pip install timm and "
            "the torchvision of your torch, or take an exported bundle, which needs neither"
        ) from error
    except Exception as error:  # transformers and safetensors raise a dozen classes
        raise ModelError(
            f"expected a checkpoint that transformers can load at {checkpoint.folder}, got: "
            f"{_first_line(error)}; download it again"
        ) from error
    finally:
        if shows:
            logging.enable_progress_bar()
    lacking = sorted(
        {str(k) for k in info["missing_keys"] if not str(k).endswith(_UNREAD)}
        | {str(k[0] if isinstance(k, tuple) else k) for k in info.get("mismatched_keys", ())}
    )
    if lacking:
        raise ModelError(
            f"expected every weight of {model_class.__name__} in {checkpoint.id}, got none (or "
            f"another shape) for {len(lacking)} of them, such as {', '.join(lacking[:3])}; they "
            "would be random: use a complete checkpoint"
        )
    return model.eval().requires_grad_(False)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _tokenizer(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the tokenizer.json of a detector, made from vocab.json and merges.txt if need be."""
    spec = checkpoint.json("tokenizer.json")
    if spec is not None:
        return spec
    vocab = checkpoint.json("vocab.json")
    merges = checkpoint.folder / "merges.txt"
    if vocab is None or not merges.is_file():
        raise ModelError(
            f"expected tokenizer.json, or vocab.json and merges.txt, in {checkpoint.folder}, got "
            "neither; download the checkpoint again"
        )
    return clip_json(vocab, merges.read_text(encoding="utf-8").splitlines())


def _same_side(checkpoint: Checkpoint, published: int, network: Any) -> None:
    if published != network:
        raise ModelError(
            f"expected {checkpoint.id}'s preprocessor and network to agree on a picture's side, "
            f"got {published} and {network}; use a published checkpoint"
        )


def _torch_device(device: str) -> str:
    """Return torch's name of a device: the GPU for "auto" where there is one."""
    if device not in DEVICES:
        raise InputError(f"expected a device among {', '.join(DEVICES)}, got {device!r}")
    there = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if there else "cpu"
    if device == "tensorrt" or (device == "cuda" and not there):
        raise ModelError(
            f"expected a device that torch can run hub checkpoints on, got {device!r}; export "
            "the set as a bundle, or use device 'cpu'"
        )
    return device
