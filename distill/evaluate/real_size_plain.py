"""The straightforward side of the speed comparison: everything on every frame, by transformers.

Importing this needs neither torch nor transformers; building it does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...perception.boxes import to_square
from ...perception.depth import DepthConfig, input_size
from ...perception.detector import normalise
from ...perception.query_words import QueryTokenizer
from ...perception.resample import resize
from .real_size_script import Film

__all__ = ["Straightforward"]


class Straightforward:
    """Detector, segmenter and depth on every frame of a film.

    ``live`` is a hub bundle, whose models it shares. With ``session`` the objects' boxes prompt
    transformers' SAM 2 video session on the first frame, which then follows them; else the
    image model is prompted with boxes on every frame.
    """

    def __init__(self, live: Any, film: Film, *, session: bool = False) -> None:
        import torch

        from .real_size_models import image_segmenter

        self.label = "transformers, video session" if session else "transformers, every frame"
        self._torch, self._film, self._next = torch, film, 0
        self._device = live.device
        networks = live.networks
        self._configs = {role: n.config for role, n in networks.items()}
        self._detector = networks["detector"].model.to(self._device)
        self._depth = networks["depth"].model.to(self._device)
        if session:
            self._segmenter = networks["segmenter"].model.to(self._device)
        else:
            self._segmenter = image_segmenter(networks["segmenter"].checkpoint).to(self._device)
        self._session = self._new_session(self._segmenter) if session else None
        length = self._configs["detector"]["max_tokens"]
        tokens = QueryTokenizer(networks["detector"].tokenizer, length)
        ids = tokens.encode([f"a photo of a {word}" for word in film.words])
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
                self._grown(self._masks(seen["segmenter"], height, width), height, width).gt(
                    0
                ).cpu()
            with self._timed("depth"):
                depth = self._depth(pixel_values=seen["depth"]).predicted_depth
                self._grown(depth[None], height, width).cpu()
        self._next += 1

    def _masks(self, pixels: Any, height: int, width: int) -> Any:
        """Return mask logits (N, 1, h, w) of the scripted objects."""
        torch = self._torch
        side = pixels.shape[-1]
        scale = np.array([side / width, side / height] * 2, np.float32)
        boxes = torch.from_numpy(self._film.boxes(self._next) * scale).to(self._device)
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
