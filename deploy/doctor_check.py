"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Check", "State"]

State = Literal["ok", "missing", "info"]


@dataclass(frozen=True)
class Check:
    """One line: ``state`` ``missing`` means the device cannot run until it is mended."""

    name: str
    state: State
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return plain values."""
        return asdict(self)
