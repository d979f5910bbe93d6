"""PyTorch: runs a graph module of :mod:`edgetwin.perception.graphs` as an engine.

For GPU workstations, training-time evaluation and parity checks against exported files.
Needs the ``[train]`` extra; torch is imported at first use only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ...twin.errors import InputError, MissingExtraError, ModelError
from .base import Port
from .checks import check_inputs

if TYPE_CHECKING:
    import torch

__all__ = ["TorchEngine"]


class TorchEngine:
    """A torch module whose ``forward`` takes the inputs in port order and returns the outputs.

    ``forward`` may return one tensor, or a tuple of as many tensors as there are output
    ports. Runs in eval mode without gradients on ``device``. ``autocast`` names the type that
    matrix products and convolutions compute in (``"bfloat16"``, ``"float16"``); weights and
    outputs keep theirs. ``channels_last`` lays pictures and weights out as GPUs' convolutions
    like them. :meth:`run_tensors` keeps tensors on the device between networks.

    Raises:
        MissingExtraError: if torch is not installed.
        InputError: if ``autocast`` names no floating-point type.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        *,
        device: str = "cpu",
        autocast: str | None = None,
        channels_last: bool = False,
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("torch", "train") from error
        if autocast not in (None, "bfloat16", "float16"):
            raise InputError(f"expected autocast to bfloat16 or float16, got {autocast!r}")
        self._torch = torch
        self._device = device
        self._autocast = None if autocast is None else getattr(torch, autocast)
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        placed: dict[str, Any] = {"device": device}
        if channels_last:
            placed["memory_format"] = torch.channels_last
        self._module: torch.nn.Module | None = module.eval().to(**placed)
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
        check_inputs(self._name, self._inputs, inputs)
        torch = self._torch
        tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
        found = self.run_tensors(tensors)
        return {port.name: _numpy(found[port.name], port.dtype) for port in self._outputs}

    def run_tensors(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run once on tensors of any device, moved to the engine's; outputs stay there.

        Raises:
            InputError: if inputs are missing or unknown.
            ModelError: if the engine is closed or the number of outputs is not the ports'.
        """
        if self._module is None:
            raise ModelError("expected an open engine, got one that was closed")
        expected = sorted(port.name for port in self._inputs)
        if expected != sorted(inputs):
            raise InputError(f"{self._name}: expected inputs {expected}, got {sorted(inputs)}")
        torch = self._torch
        kind = torch.device(self._device).type
        with (
            torch.inference_mode(),
            torch.autocast(kind, dtype=self._autocast, enabled=self._autocast is not None),
        ):
            result = self._module(*(self._placed(inputs[port.name]) for port in self._inputs))
        values = list(result) if isinstance(result, tuple | list) else [result]
        if len(values) != len(self._outputs):
            raise ModelError(
                f"{self._name}: expected {len(self._outputs)} outputs, got {len(values)}"
            )
        return {port.name: value for port, value in zip(self._outputs, values, strict=True)}

    @property
    def _name(self) -> str:
        return type(self._module).__name__

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor on the device, pictures in the chosen layout."""
        if tensor.ndim == 4:
            return tensor.to(self._device, memory_format=self._layout)
        return tensor.to(self._device)

    def close(self) -> None:
        """Drop the module."""
        self._module = None


def _numpy(tensor: torch.Tensor, dtype: str) -> NDArray[Any]:
    """Return a tensor as an array of the port's type, which autocast may have narrowed."""
    if str(tensor.dtype) == "torch.bfloat16":  # numpy has no such type
        tensor = tensor.float()
    array: NDArray[Any] = tensor.cpu().contiguous().numpy()
    return array.astype(dtype, copy=False)
