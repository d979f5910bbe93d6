"""The straightforward side of the speed comparison: everything on every frame, by transformers.

Importing this needs neither torch nor transformers; building it does.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..perception.boxes import to_square
from ..perception.bundle import Bundle
from ..perception.depth import DepthConfig, input_size
from ..perception.detector import normalise
from ..perception.query_words import QueryTokenizer
from ..perception.resample import resize
from ..twin.errors import MissingExtraError, ModelError
from .bench_script import Scene

__all__ = ["Plain", "Straightforward", "plain_of", "quiet"]

_IMAGE_CLASSES = {"sam2_video": "Sam2Model", "edgetam_video": "EdgeTamModel"}


@dataclass(frozen=True, slots=True)
class Plain:
    """A set's networks as transformers models: role -> model, and role -> the manifest's config.

    ``models["segmenter"]`` is the video model, ``image_segmenter`` the same weights as the image
    model; ``tokenizer`` is the detector's tokenizer.json.
    """

    models: dict[str, Any]
    image_segmenter: Any
    configs: dict[str, Mapping[str, Any]]
    tokenizer: dict[str, Any]
    device: str = "cpu"


def plain_of(bundle: Any) -> Plain:
    """Return the models of live hub checkpoints, or of a bundle with safetensors beside its graphs.

    Raises:
        MissingExtraError: without torch and transformers.
        ModelError: if the bundle has no safetensors.
    """
    if hasattr(bundle, "networks"):
        networks = bundle.networks
        return Plain(
            {role: network.model.to(bundle.device) for role, network in networks.items()},
            _image_model(networks["segmenter"].checkpoint.folder, networks["segmenter"].model).to(
                bundle.device
            ),
            {role: network.config for role, network in networks.items()},
            networks["detector"].tokenizer,
            bundle.device,
        )
    return _from_safetensors(bundle)


def _from_safetensors(bundle: Bundle) -> Plain:
    try:
        from ..perception.graphs.torch_bundle import load_safetensors
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "export") from error
    entries = bundle.manifest.networks
    for role, entry in entries.items():
        if f"{role}.safetensors" not in entry.files:
            raise ModelError(
                f"expected {role}.safetensors in {bundle.directory} to run the same networks in "
                "transformers, got none; compare the embedded set, or live hub checkpoints"
            )
    models = {role: load_safetensors(bundle.path(f"{role}.safetensors"), role) for role in entries}
    with tempfile.TemporaryDirectory(prefix="edgetwin-plain-") as folder, quiet():
        models["segmenter"].save_pretrained(folder)
        image = _image_model(Path(folder), models["segmenter"])
    tokenizer = json.loads(bundle.path("detector_tokenizer.json").read_bytes())
    return Plain(models, image, {r: e.config for r, e in entries.items()}, tokenizer)


def _image_model(folder: Path, video: Any) -> Any:
    """Load a video checkpoint's image model, as the straightforward way does."""
    import transformers

    name = _IMAGE_CLASSES[str(video.config.model_type)]
    with quiet():
        return getattr(transformers, name).from_pretrained(folder).eval()


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, and no warning that a video checkpoint is loaded as an image model."""
    from transformers.utils import logging

    shows, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows:
            logging.enable_progress_bar()


class Straightforward:
    """Detector, segmenter and depth on every frame of a scene.

    ``plain`` holds the models. With ``session`` the objects' boxes prompt transformers' SAM 2
    video session on the first frame, which then follows them; else the image model is prompted
    with boxes on every frame.
    """

    def __init__(self, plain: Plain, film: Scene, *, session: bool = False) -> None:
        import torch

        self.label = "transformers, video session" if session else "transformers, every frame"
        self._torch, self._film, self._next = torch, film, 0
        self._device, self._configs = plain.device, plain.configs
        self._detector, self._depth = plain.models["detector"], plain.models["depth"]
        self._segmenter = plain.models["segmenter"] if session else plain.image_segmenter
        self._session = self._new_session(self._segmenter) if session else None
        detector = plain.configs["detector"]
        tokens = QueryTokenizer(plain.tokenizer, detector["max_tokens"])
        ids = tokens.encode([str(detector["template"]).format(word) for word in film.words])
        self._ids = torch.from_numpy(ids).to(self._device)
        self._spent: dict[str, float] = {}

    def spent_ms(self) -> dict[str, float]:
        """Return milliseconds per stage since the start."""
        return dict(self._spent)

    def frame(self) -> None:
        """Look at the next frame."""
        torch, configs = self._torch, self._configs
        image = self._film.frame(self._next).image_hw3
        height, width = image.shape[:2]
        side = configs["segmenter"]["image_size"]
        with self._timed("prepare"):
            deep_hw = input_size(height, width, DepthConfig.from_manifest(configs["depth"]))
            square = to_square(image, configs["detector"]["image_size"], 0.0, "gaussian")
            seen = {
                "detector": self._tensor(square, configs["detector"]),
                "segmenter": self._tensor(
                    resize(image, (side, side), "bilinear"), configs["segmenter"]
                ),
                "depth": self._tensor(resize(image, deep_hw, "bicubic"), configs["depth"]),
            }
        with torch.inference_mode():
            with self._timed("detector"):
                found = self._detector(pixel_values=seen["detector"], input_ids=self._ids)
                found.logits.max(dim=-1).values.sigmoid().cpu()
            with self._timed("segmenter"):
                masks = self._masks(seen["segmenter"], height, width)
                if masks is not None:
                    self._grown(masks, height, width).gt(0).cpu()
            with self._timed("depth"):
                depth = self._depth(pixel_values=seen["depth"]).predicted_depth
                self._grown(depth[None], height, width).cpu()
        self._next += 1

    def _masks(self, pixels: Any, height: int, width: int) -> Any:
        """Return mask logits (N, 1, h, w) of the scene's objects, None without any."""
        torch = self._torch
        side = pixels.shape[-1]
        scale = np.array([side / width, side / height] * 2, np.float32)
        boxes = torch.from_numpy(self._film.boxes(self._next) * scale).to(self._device)
        if not len(boxes):  # the encoder runs on every frame all the same
            self._segmenter.get_image_features(pixels)
            return None
        session = self._session
        if session is None:
            out = self._segmenter(
                pixel_values=pixels, input_boxes=boxes[None], multimask_output=False
            )
            return out.pred_masks[0]
        if self._next == 0:
            corners = torch.tensor([[[2, 3]]], device=self._device)
            for k, box in enumerate(boxes):
                prompt = {"point_coords": box.reshape(1, 1, 2, 2), "point_labels": corners}
                session.add_point_inputs(session.obj_id_to_idx(k), 0, prompt)
            session.obj_with_new_inputs = list(range(len(boxes)))
        return self._segmenter(session, frame=pixels).pred_masks

    def _new_session(self, model: Any) -> Any:
        from transformers.models.edgetam_video import modeling_edgetam_video
        from transformers.models.sam2_video import modeling_sam2_video

        module: Any = modeling_sam2_video
        if "EdgeTam" in type(model).__name__:
            module = modeling_edgetam_video
            return module.EdgeTamVideoInferenceSession(**self._session_arguments())
        return module.Sam2VideoInferenceSession(**self._session_arguments())

    def _session_arguments(self) -> dict[str, Any]:
        height, width = self._film.frame(0).image_hw3.shape[:2]
        return {
            "video_height": height,
            "video_width": width,
            "dtype": self._torch.float32,
            "inference_device": self._device,
        }

    def _tensor(self, pixels: NDArray[Any], config: Mapping[str, Any]) -> Any:
        planes = normalise(pixels, config["mean"], config["std"])
        return self._torch.from_numpy(planes).to(self._device)

    def _grown(self, maps: Any, height: int, width: int) -> Any:
        return self._torch.nn.functional.interpolate(
            maps, size=(height, width), mode="bilinear", align_corners=False
        )

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        spent = (time.perf_counter() - start) * 1000
        self._spent[stage] = self._spent.get(stage, 0.0) + spent
