"""PyTorch: runs a graph module of :mod:`edgetwin.perception.graphs` as an engine.

For GPU workstations, training-time evaluation and parity checks against exported files.
Needs the ``[train]`` extra; torch is imported at first use only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ...twin.errors import MissingExtraError, ModelError
from .base import Port
from .checks import check_inputs

if TYPE_CHECKING:
    import torch

__all__ = ["TorchEngine"]


class TorchEngine:
    """A torch module whose ``forward`` takes the inputs in port order and returns the outputs.

    ``forward`` may return one tensor, or a tuple of as many tensors as there are output
    ports. Runs in eval mode without gradients on ``device``.

    Raises:
        MissingExtraError: if torch is not installed.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        *,
        device: str = "cpu",
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("torch", "train") from error
        self._torch = torch
        self._device = device
        self._module: torch.nn.Module | None = module.eval().to(device)
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Input ports in the order of ``forward``."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """Output ports in the order of the returned tuple."""
        return self._outputs

    @property
    def device(self) -> str:
        """The torch device string."""
        return self._device

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once; see :class:`~edgetwin.perception.engines.Engine`.

        Raises:
            InputError: if the arrays do not fit the ports.
            ModelError: if the engine is closed or the number of outputs is not the ports'.
        """
        if self._module is None:
            raise ModelError("expected an open engine, got one that was closed")
        name = type(self._module).__name__
        check_inputs(name, self._inputs, inputs)
        torch = self._torch
        with torch.inference_mode():
            args = [torch.from_numpy(inputs[p.name].copy()).to(self._device) for p in self._inputs]
            result = self._module(*args)
        values = list(result) if isinstance(result, tuple | list) else [result]
        if len(values) != len(self._outputs):
            raise ModelError(f"{name}: expected {len(self._outputs)} outputs, got {len(values)}")
        return {p.name: v.cpu().numpy() for p, v in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """Drop the module."""
        self._module = None
