"""A Python client of the server, synchronous and asynchronous."""

from __future__ import annotations

from .async_client import AsyncClient
from .client import Client
from .records import Answer, LightTwin, Masks, Picture, Session

__all__ = ["Answer", "AsyncClient", "Client", "LightTwin", "Masks", "Picture", "Session"]
