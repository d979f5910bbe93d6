"""The check of inputs against ports that every engine makes before it runs."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ...twin.errors import InputError
from .base import Port

__all__ = ["check_inputs"]


def check_inputs(where: str, ports: tuple[Port, ...], inputs: dict[str, NDArray[Any]]) -> None:
    """Compare arrays with ports; free dimensions take any size.

    Raises:
        InputError: names the network, the port, what it expects and what it got.
    """
    expected = {port.name for port in ports}
    if expected != set(inputs):
        raise InputError(f"{where}: expected inputs {sorted(expected)}, got {sorted(inputs)}")
    for port in ports:
        array = inputs[port.name]
        if array.dtype.name != port.dtype:
            raise InputError(
                f"{where}: expected input {port.name!r} as {port.dtype}, got {array.dtype.name}"
            )
        fits = len(array.shape) == len(port.shape) and all(
            not isinstance(want, int) or want == got
            for want, got in zip(port.shape, array.shape, strict=True)
        )
        if not fits:
            raise InputError(
                f"{where}: expected input {port.name!r} of shape {port.shape}, got {array.shape}"
            )
