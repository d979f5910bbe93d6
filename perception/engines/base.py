"""What every inference engine offers: named arrays in, named arrays out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

__all__ = ["Engine", "Port"]


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a network.

    ``shape`` has an int for each fixed dimension and a str (the exporter's name for it) or
    None for each free one; ``dtype`` is a numpy dtype name, such as ``"float32"``.
    """

    name: str
    shape: tuple[int | str | None, ...]
    dtype: str


@runtime_checkable
class Engine(Protocol):
    """A compiled network. Stateless between calls; not safe for calls from several threads.

    ``run`` takes one array per input port and returns one array per output port.
    ``device`` names where it runs, for reports: ``"cpu"``, ``"cuda"``, ``"tensorrt"``.
    """

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Input ports in the network's order."""
        ...

    @property
    def outputs(self) -> tuple[Port, ...]:
        """Output ports in the network's order."""
        ...

    @property
    def device(self) -> str:
        """Where the network runs."""
        ...

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the network once.

        Raises:
            InputError: if an input is missing, unknown, or has a shape or dtype that the
                port does not take.
            ModelError: if the engine itself fails.
        """
        ...

    def close(self) -> None:
        """Release the network's memory; a later ``run`` raises ModelError."""
        ...
