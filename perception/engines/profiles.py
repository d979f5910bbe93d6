"""How large the free dimensions of our graphs get: TensorRT's optimisation profiles.

TensorRT wants a smallest, a usual and a largest size of every free dimension when it builds,
chooses its kernels for the usual one and reserves memory for the largest. So the largest
sizes are a question of memory, and dimensions whose entries do not know of each other
(objects, prompts, rows, queries: ``apart``) need not hold the most that a stream can bring:
the engine runs more of them in parts (:mod:`.parts`).

Not covered: sizes of pictures and feature maps, which every exporter fixes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...twin.errors import ModelError
from .base import Port

__all__ = ["BOUNDS", "Bound", "Profile", "Sizes", "bound", "profiles"]

Sizes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
Profile = dict[str, Sizes]
"""Input -> its smallest, usual and largest shape."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Sizes of the free dimension ``dim`` (of input ``port`` only, where one is named).

    ``apart``: entries along it are computed independently of each other.
    """

    dim: str
    least: int
    usual: int
    most: int
    why: str
    port: str | None = None
    apart: bool = False


BOUNDS = (
    Bound(
        "queries", 1, 64, 1024,
        "phrases a picture is compared with: a vocabulary times its colours is about a hundred; "
        "1,024 x 3,600 patches of OWLv2-base are 15 MB of logits",
        port="query_embeds", apart=True,
    ),
    Bound(
        "queries", 1, 16, 128,
        "phrases in one call of the text tower, which the detector sends at most 128 at a time",
        port="input_ids", apart=True,
    ),
    Bound(
        "rows", 1, 4, 16,
        "objects that memory follows, one feature map each: 16 maps of 32 x 256 x 256 are 134 MB "
        "of float32 at 1,024 pixels",
        apart=True,
    ),
    Bound(
        "prompts", 1, 8, 32,
        "boxes or points on one picture: a crowded view has a few dozen; 32 upscaled feature "
        "maps are 268 MB at 1,024 pixels",
        apart=True,
    ),
    Bound("points_each", 1, 2, 8, "points per prompt: 2 for a box, 1 for a click, some to refine"),
    Bound(
        "objects", 1, 4, 8,
        "objects whose memories are read or written in one call: 7 memories of 4,096 tokens "
        "against 4,096 make 470 MB of attention scores each where TensorRT does not fuse them",
        apart=True,
    ),
    Bound(
        "memories", 1, 7, 10,
        "SAM 2 reads 6 recent memories (num_maskmem 7) and up to 4 prompted ones",
    ),
    Bound(
        "pointers", 1, 16, 20,
        "SAM 2 reads 16 object pointers (max_object_pointers_in_encoder) and those of up to 4 "
        "prompted frames",
    ),
)  # fmt: skip

# In every call of the decoder one of the two is 1: prompts on one picture, or one (empty)
# prompt on each remembered object. Each way gets a profile of its own, since one profile for
# both would reserve memory for the product of their largest sizes.
_EITHER = ("rows", "prompts")


def bound(port: str, dim: str) -> Bound | None:
    """Return the bound of an input's free dimension, None for a name that is not known."""
    named = [b for b in BOUNDS if b.dim == dim and b.port in (port, None)]
    return named[0] if named else None


def profiles(ports: Sequence[Port], most: Mapping[str, int] | None = None) -> tuple[Profile, ...]:
    """Return the profiles that cover every free dimension of these inputs.

    ``most`` replaces the largest size of dimensions by name, for another use of memory.

    Raises:
        ModelError: if a free dimension has no name, or one that :data:`BOUNDS` lacks.
    """
    dims = {dim for port in ports for dim in port.shape if isinstance(dim, str)}
    ways: list[dict[str, int]] = [{}]
    if all(dim in dims for dim in _EITHER):
        ways = [{_EITHER[0]: 1}, {_EITHER[1]: 1}]
    return tuple({port.name: _sizes(port, fixed, most or {}) for port in ports} for fixed in ways)


def _sizes(port: Port, fixed: Mapping[str, int], most: Mapping[str, int]) -> Sizes:
    columns = [_column(port, dim, fixed, most) for dim in port.shape]
    low, usual, high = zip(*columns, strict=True) if columns else ((), (), ())
    return low, usual, high


def _column(
    port: Port, dim: int | str | None, fixed: Mapping[str, int], most: Mapping[str, int]
) -> tuple[int, int, int]:
    """Return the smallest, usual and largest size of one dimension."""
    if isinstance(dim, int):
        return dim, dim, dim
    found = bound(port.name, dim) if dim is not None else None
    if found is None:
        raise ModelError(
            f"expected a bound of free dimension {dim!r} of input {port.name!r}, got none among "
            f"{sorted({b.dim for b in BOUNDS})}; give the profiles yourself, or add it to "
            "edgetwin.perception.engines.profiles.BOUNDS"
        )
    if found.dim in fixed:
        return (fixed[found.dim],) * 3
    high = max(found.least, most.get(found.dim, found.most))
    return found.least, min(found.usual, high), high
