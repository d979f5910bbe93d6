"""How well the segmenter segments: whole held-out pictures, true and spoilt prompts, baselines.

IoU is taken at the picture's own size between the upsampled prediction and the exact mask.
The inscribed ellipse and the filled box say what the prompt alone is worth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam2VideoModel

from .segmenter_data import Pictures, boxes_and_masks, normalise
from .segmenter_loss import decode, encode

__all__ = ["ODD", "evaluate_images", "iou_of", "upsample"]

ODD = 0.6  # a shape whose inscribed ellipse has a lower IoU than this counts as odd


def iou_of(a_nhw: NDArray[np.bool_], b_nhw: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the IoU of N pairs of masks; 1 where both are empty."""
    union = (a_nhw | b_nhw).sum((1, 2))
    return np.where(union == 0, 1.0, (a_nhw & b_nhw).sum((1, 2)) / np.maximum(union, 1))


def upsample(logits_nhw: Tensor, side: int) -> NDArray[np.bool_]:
    """Return masks at ``side`` pixels: bilinear logits above zero."""
    size = (side, side)
    big = F.interpolate(
        logits_nhw[:, None].float(), size=size, mode="bilinear", align_corners=False
    )
    masks: NDArray[np.bool_] = (big[:, 0] > 0).cpu().numpy()
    return masks


def _fills(boxes: NDArray[np.float32], side: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the inscribed ellipses and the filled boxes."""
    at = np.arange(side) + 0.5
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    centre = boxes[:, :2] + half
    dx = (at[None, None, :] - centre[:, 0, None, None]) / half[:, 0, None, None]
    dy = (at[None, :, None] - centre[:, 1, None, None]) / half[:, 1, None, None]
    return dx**2 + dy**2 <= 1, (np.abs(dx) <= 1) & (np.abs(dy) <= 1)


def _inner_points(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the pixel of each mask that is nearest to its centroid."""
    points = np.zeros((len(masks), 2), np.float32)
    for k, mask in enumerate(masks):
        ys, xs = np.nonzero(mask)
        best = np.argmin((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2)
        points[k] = xs[best], ys[best]
    return points


@torch.no_grad()
def evaluate_images(
    model: Sam2VideoModel,
    pictures: Pictures,
    *,
    limit: int,
    mean: Sequence[float],
    std: Sequence[float],
    smallest: int = 40,
    seed: int = 0,
) -> dict[str, float]:
    """Return mean IoUs over all objects of at least ``smallest`` pixels in ``limit`` pictures.

    ``box`` from true boxes, ``jitter`` from boxes with each side moved by up to 5 %, ``point``
    from one inner pixel, ``ellipse`` and ``fill`` the baselines, ``odd`` and ``odd_ellipse``
    over odd shapes, ``score_error`` the mean distance of the predicted from the true IoU.
    """
    model.eval()
    rng = np.random.default_rng(seed)
    rows: dict[str, list[NDArray[np.float64]]] = {
        k: [] for k in ("box", "jitter", "point", "ellipse", "fill", "score_error")
    }
    device = model.device
    for index in range(min(limit, len(pictures))):
        _, boxes, masks = boxes_and_masks(pictures.ids[index], smallest)
        if not len(boxes):
            continue
        side = masks.shape[1]
        pixels = normalise(pictures.rgb[index][None], mean, std).to(device)
        offsets = torch.zeros(1, 2, dtype=torch.long)
        features = encode(model, pixels, offsets)
        row = torch.zeros(len(boxes), dtype=torch.long, device=device)
        noise = rng.uniform(-0.05, 0.05, boxes.shape) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        spoilt = (boxes + noise).astype(np.float32)
        prompts = {
            "box": (boxes.reshape(-1, 2, 2), (2, 3)),
            "jitter": (spoilt.reshape(-1, 2, 2), (2, 3)),
            "point": (_inner_points(masks)[:, None], (1,)),
        }
        for name, (points, kinds) in prompts.items():
            labels = torch.tensor(kinds, device=device).expand(len(boxes), -1)
            out = decode(model, features, offsets, row, torch.from_numpy(points).to(device), labels)
            rows[name].append(iou_of(upsample(out.logits, side), masks))
            if name == "box":
                rows["score_error"].append(np.abs(out.iou.cpu().numpy() - rows[name][-1]))
        ellipses, fills = _fills(boxes, side)
        rows["ellipse"].append(iou_of(ellipses, masks))
        rows["fill"].append(iou_of(fills, masks))
    columns = {name: np.concatenate(parts) for name, parts in rows.items() if parts}
    if not columns:
        return {"objects": 0.0}
    odd = columns["ellipse"] < ODD
    scores = {name: float(values.mean()) for name, values in columns.items()}
    if odd.any():
        scores["odd"] = float(columns["box"][odd].mean())
        scores["odd_ellipse"] = float(columns["ellipse"][odd].mean())
    return scores | {"objects": float(len(odd))}
