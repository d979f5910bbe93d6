"""The few names of torchvision that timm imports, so that its RepViT can be built without it.

For tests only: nothing here computes anything but the frozen batch norm's type, which RepViT
does not use.
"""

from __future__ import annotations

import enum
import importlib.machinery
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from torch import nn


class FrozenBatchNorm2d(nn.Module):
    """Never built here; timm asks ``isinstance``."""


class InterpolationMode(enum.Enum):
    """As in torchvision."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class _Transform:
    """Base class of timm's image transforms, which are never used here."""


def _module(name: str, **names: Any) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    vars(module).update(names)
    return module


@contextmanager
def torchvision_stub() -> Iterator[None]:
    """Stand in for torchvision where it is not installed; gone again afterwards."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        pass
    else:
        yield
        return
    # What looks for torchvision by itself is imported before it seems to be there.
    from transformers import EdgeTamVideoModel, Sam2VideoModel  # noqa: F401

    functional = _module("torchvision.transforms.functional", InterpolationMode=InterpolationMode)
    names = ("ToTensor", "Compose", "Normalize", "CenterCrop", "RandomApply", "RandomResizedCrop")
    transforms = _module(
        "torchvision.transforms",
        functional=functional,
        InterpolationMode=InterpolationMode,
        **dict.fromkeys((*names, "PILToTensor"), _Transform),
    )
    misc = _module("torchvision.ops.misc", FrozenBatchNorm2d=FrozenBatchNorm2d)
    datasets = dict.fromkeys(("CIFAR100", "CIFAR10", "MNIST", "KMNIST", "FashionMNIST"), object)
    stubs = [
        functional,
        transforms,
        misc,
        _module("torchvision.ops", misc=misc),
        _module("torchvision.datasets", ImageFolder=object, **datasets),
        _module("torchvision", transforms=transforms, __version__="0"),
    ]
    sys.modules.update({stub.__name__: stub for stub in stubs})
    _forget_what_is_available()
    try:
        yield
    finally:
        for stub in stubs:
            sys.modules.pop(stub.__name__, None)
        _forget_what_is_available()


def _forget_what_is_available() -> None:
    from transformers.utils import import_utils

    for name in ("is_torchvision_available", "is_timm_available"):
        getattr(import_utils, name).cache_clear()
