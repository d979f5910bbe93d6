"""Qwen-VL through transformers: Qwen2-VL, Qwen2.5-VL and Qwen3-VL checkpoints, on a GPU or a CPU.

Needs torch and transformers (``pip install 'edgetwin[train]'``), neither torchvision nor Pillow:
pictures are resized, normalised and cut into patches here, as Qwen's processor does (equal to it
in the tests for pictures whose sides fit), and the chat is put together here as its template does.
Every text is encoded as plain text: a tag such as ``<|im_end|>`` in a question is data.

Weights are safetensors only, and no code from a checkpoint runs. A hub checkpoint is pinned:
``owner/name@commit``.

Tested with random tiny Qwen2.5-VL and Qwen3-VL networks; never run with published weights or on
a GPU, which this project's machines do not have. Not covered: videos as such (frames are single
pictures), batches, cutting the reading of the prompt short (the deadline holds between tokens).
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...reasoner.models.endpoint import Message, Picture, Reply, Sampling, Usage
from ...reasoner.models.http import TimedOut
from ...twin.errors import MissingExtraError, ModelError

__all__ = ["PatchConfig", "QwenVl", "patches"]

_FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
_PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{7,40}")
_SYSTEM = "You are a helpful assistant."  # Qwen2-VL's and Qwen2.5-VL's template adds it
_MAX_PICTURES = 8
_MOST_PIXELS = 1280 * 32 * 32  # of a picture; larger ones are shrunk

Array = NDArray[np.float32]


class PatchConfig:
    """How a checkpoint's pictures become patches, from its ``preprocessor_config.json``.

    Raises:
        ModelError: if a value makes no sense.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        try:
            self.patch = int(values.get("patch_size", 14))
            self.merge = int(values.get("merge_size", 2))
            self.frames = int(values.get("temporal_patch_size", 2))
            mean = values.get("image_mean") or (0.48145466, 0.4578275, 0.40821073)
            std = values.get("image_std") or (0.26862954, 0.26130258, 0.27577711)
            self.mean, self.std = (np.array(v, np.float32).reshape(3) for v in (mean, std))
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"expected a preprocessor_config.json of Qwen-VL, got: {error}"
            ) from None
        sound = min(self.patch, self.merge, self.frames) > 0 and bool((self.std > 0).all())
        if not sound or max(self.patch, self.merge, self.frames) > 64:
            raise ModelError(
                "expected patches of 1 to 64 pixels and positive deviations, got others"
            )


def patches(
    image_hw3: NDArray[np.uint8], config: PatchConfig
) -> tuple[Array, tuple[int, int, int]]:
    """Rows (P, C * frames * patch * patch) of a picture, and its grid (1, rows, columns).

    Sides that are no multiples of ``patch * merge`` are resized to the nearest that are.
    """
    unit = config.patch * config.merge
    height, width = image_hw3.shape[:2]
    scale = min(1.0, math.sqrt(_MOST_PIXELS / (height * width)))
    tall, wide = (max(unit, round(side * scale / unit) * unit) for side in (height, width))
    if (tall, wide) != (height, width):
        how = cv2.INTER_AREA if tall * wide < height * width else cv2.INTER_CUBIC
        image_hw3 = np.asarray(cv2.resize(image_hw3, (wide, tall), interpolation=how), np.uint8)
    planes = ((image_hw3.astype(np.float32) / 255.0 - config.mean) / config.std).transpose(2, 0, 1)
    rows, columns, merge, side = (
        tall // config.patch,
        wide // config.patch,
        config.merge,
        config.patch,
    )
    cut = planes.reshape(3, rows // merge, merge, side, columns // merge, merge, side)
    cut = cut.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
    cut = np.broadcast_to(cut, (*cut.shape[:5], config.frames, *cut.shape[6:]))
    return np.ascontiguousarray(cut.reshape(rows * columns, -1)), (1, rows, columns)


class QwenVl:
    """A Qwen-VL checkpoint as a :class:`~.base.VisionModel`.

    Args:
        source: a folder with config.json, safetensors, tokenizer.json and
            preprocessor_config.json; or ``owner/name@commit``.
        device: such as ``cpu`` or ``cuda:0``; ``auto`` takes a GPU if there is one.
        max_tokens: of prompt and answer together.

    Raises:
        MissingExtraError: if torch or transformers is missing.
        ModelError: if the checkpoint cannot be used.
    """

    def __init__(
        self, source: str | Path, *, device: str = "auto", max_tokens: int = 16_384
    ) -> None:
        self._torch, library = _library("torch"), _library("transformers")
        place, options = _place(source)
        cuda = self._torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
        self._device = ("cuda" if cuda else "cpu") if device == "auto" else device
        dtype = self._torch.bfloat16 if cuda else self._torch.float32
        try:
            config: Any = library.AutoConfig.from_pretrained(place, **options)
            if config.model_type not in _FAMILIES:
                raise ModelError(
                    f"expected a Qwen-VL checkpoint ({', '.join(_FAMILIES)}), got "
                    f"{str(config.model_type)[:40]!r}"
                )
            model: Any = library.AutoModelForImageTextToText.from_pretrained(
                place, dtype=dtype, use_safetensors=True, **options
            )
            tokenizer: Any = library.AutoTokenizer.from_pretrained(place, **options)
            values, _ = library.ImageProcessingMixin.get_image_processor_dict(place, **options)
        except ModelError:
            raise
        except Exception as error:  # the libraries raise OSError, ValueError, KeyError and more
            raise ModelError(
                f"expected {str(source)[:80]} to load as a Qwen-VL checkpoint of safetensors, got: "
                f"{_first(error)}"
            ) from error
        self.name, self.sha256, self._max_tokens = str(source), "", max_tokens
        self._model = model.eval().requires_grad_(False).to(self._device)
        self._patches = PatchConfig(values)
        self._tokenizer: Any = tokenizer.backend_tokenizer
        self._tokenizer.encode_special_tokens = True  # in texts they are text
        self._ids = {name: self._special(name) for name in ("im_start", "im_end", "vision_start", "vision_end")}  # fmt: skip
        self._ids["image"] = int(config.image_token_id)
        self._greets = config.model_type != "qwen3_vl"
        self._typed = "mm_token_type_ids" in inspect.signature(model.forward).parameters
        self._library = library

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling | None = None,
        deadline_s: float | None = None,
    ) -> Reply:
        """See :class:`~.base.VisionModel`; ``sampling.extra`` is ignored."""
        sampling, torch = sampling or Sampling(), self._torch
        if deadline_s is not None and time.monotonic() >= deadline_s:
            raise TimedOut("expected time to answer, got none left: allow more seconds")
        inputs = self._inputs(messages)
        count = int(inputs["input_ids"].shape[1])
        if count + sampling.max_tokens > self._max_tokens:
            raise ModelError(
                f"expected a prompt of at most {self._max_tokens - sampling.max_tokens} tokens, "
                f"got {count}: send smaller pictures"
            )
        watch = self._watch(count, sampling.stop, deadline_s)
        how: dict[str, Any] = {"do_sample": sampling.temperature > 0}
        if sampling.temperature > 0:
            how["temperature"] = sampling.temperature
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        try:
            with torch.no_grad():
                out = self._model.generate(
                    **inputs,
                    max_new_tokens=sampling.max_tokens,
                    eos_token_id=self._ids["im_end"],
                    pad_token_id=self._ids["im_end"],
                    stopping_criteria=self._library.StoppingCriteriaList([watch]),
                    **how,
                )
        except RuntimeError as error:  # out of memory is one of them
            raise ModelError(f"expected {self.name} to answer, got: {_first(error)}") from error
        said = [int(token) for token in out[0, count:]]
        if watch.late and self._ids["im_end"] not in said:
            raise TimedOut(
                f"expected an answer in the time allowed, got {len(said)} tokens: allow more seconds"
            )
        return self._reply(said, count, sampling)

    # ---- pieces

    def _reply(self, said: list[int], count: int, sampling: Sampling) -> Reply:
        end = self._ids["im_end"]
        ended = end in said
        text = str(self._tokenizer.decode(said[: said.index(end)] if ended else said))
        places = [(text.find(stop), stop) for stop in sampling.stop if stop in text]
        stop = ""
        if places:
            place, stop = min(places)
            text = text[:place]
        reason = "stop" if ended or stop else "length"
        return Reply(text, reason, Usage(count, len(said)), stop)

    def _inputs(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Token ids of the chat, patches and grids of its pictures, as tensors."""
        ids, rows, grids = list[int](), list[Array](), list[tuple[int, int, int]]()
        if self._greets and (not messages or messages[0].role != "system"):
            messages = [Message("system", (_SYSTEM,)), *messages]
        for message in messages:
            ids += [self._ids["im_start"], *self._text(f"{message.role}\n")]
            for part in message.parts:
                if isinstance(part, str):
                    ids += self._text(part)
                    continue
                if len(grids) == _MAX_PICTURES:
                    raise ModelError(f"expected at most {_MAX_PICTURES} pictures, got more")
                pixels, grid = patches(_decoded(part), self._patches)
                rows.append(pixels)
                grids.append(grid)
                tokens = grid[1] * grid[2] // self._patches.merge**2
                pad = [self._ids["image"]] * tokens
                ids += [self._ids["vision_start"], *pad, self._ids["vision_end"]]
            ids += [self._ids["im_end"], *self._text("\n")]
        ids += [self._ids["im_start"], *self._text("assistant\n")]
        torch = self._torch
        found: dict[str, Any] = {"input_ids": torch.tensor([ids])}
        found["attention_mask"] = torch.ones_like(found["input_ids"])
        if self._typed:
            found["mm_token_type_ids"] = (found["input_ids"] == self._ids["image"]).int()
        if grids:
            found["pixel_values"] = torch.from_numpy(np.concatenate(rows)).to(self._model.dtype)
            found["image_grid_thw"] = torch.tensor(grids)
        return {name: tensor.to(self._device) for name, tensor in found.items()}

    def _text(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _special(self, name: str) -> int:
        found = self._tokenizer.token_to_id(f"<|{name}|>")
        if found is None:
            raise ModelError(f"expected the token <|{name}|> in {self.name}'s tokenizer, got none")
        return int(found)

    def _watch(self, count: int, stops: Sequence[str], deadline_s: float | None) -> Any:
        """What ends generation at a stop or at the deadline, in transformers' terms."""
        torch, tokenizer = self._torch, self._tokenizer

        class Watch(self._library.StoppingCriteria):  # type: ignore[misc,name-defined]
            late = False

            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                self.late = deadline_s is not None and time.monotonic() >= deadline_s
                tail = tokenizer.decode([int(t) for t in input_ids[0, max(count, len(input_ids[0]) - 32) :]])  # fmt: skip
                done = self.late or any(stop in tail for stop in stops)
                return torch.full((input_ids.shape[0],), done, device=input_ids.device)

        return Watch()


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(name, "train") from None


def _place(source: str | Path) -> tuple[str, dict[str, str]]:
    """Folder or hub id, and the options that load it."""
    if _PINNED.fullmatch(str(source)):
        name, _, revision = str(source).partition("@")
        return name, {"revision": revision}
    folder = Path(source)
    if not (folder / "config.json").is_file():
        raise ModelError(
            "expected a vision-language model: http://host/v1#model, a folder with config.json, or "
            f"a pinned checkpoint such as owner/name@commit, got {str(source)[:80]!r}"
        )
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"expected a readable {folder / 'config.json'}, got: {error}") from error
    return str(folder), {}


def _decoded(picture: Picture) -> NDArray[np.uint8]:
    raw = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)
    if raw is None:
        raise ModelError("expected a PNG or JPEG picture, got one that cannot be decoded")
    return np.asarray(cv2.cvtColor(raw, cv2.COLOR_BGR2RGB), np.uint8)


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
