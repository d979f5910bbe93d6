"""The application: routes by noun, and around them the layers that no route can forget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.routing import APIRoute

from ... import __version__
from ..live.records import Event
from . import chat, page, pictures, probes, questions, sockets, standing, streams, webrtc
from .access import Access
from .config import ServeSettings
from .errors import install
from .headers import SafeHeaders
from .limits import BodyLimit
from .records import ErrorBody
from .state import Serving

if TYPE_CHECKING:
    from ..live.hub import LiveHub

__all__ = ["create_app"]

_ABOUT = (
    "Streams become twins; questions about them get ids and masks. Every refusal is "
    '`{"error": {"code", "message"}}`; 429 and 503 say `Retry-After`.'
)


def create_app(hub: LiveHub, settings: ServeSettings) -> FastAPI:
    """Return the application over a hub; closing the hub stays the caller's.

    The layers, outermost first: strict headers, access, body limits, routes.
    """
    serving = Serving(hub, settings)
    app = FastAPI(
        title="EdgeTwin",
        version=__version__,
        description=_ABOUT,
        lifespan=_lifespan,
        docs_url=None,  # their scripts come from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        generate_unique_id_function=_name,
        responses={
            400: {"model": ErrorBody},
            401: {"model": ErrorBody},
            403: {"model": ErrorBody},
            422: {"model": ErrorBody},
        },
    )
    for part in (probes, streams, pictures, webrtc, questions, standing, chat, sockets, page):
        app.include_router(part.router)
    install(app)
    app.state.serving = serving
    limits = settings.limits
    app.add_middleware(BodyLimit, most_bytes=limits.body_bytes, most_s=limits.body_s)
    app.add_middleware(Access, settings=settings, logins=serving.logins)
    app.add_middleware(SafeHeaders, secure=settings.secure)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hear events and end what is shared, for as long as the application runs."""
    serving: Serving = app.state.serving
    loop = asyncio.get_running_loop()

    def heard(event: Event) -> None:  # in the desk's thread
        if not loop.is_closed():
            loop.call_soon_threadsafe(serving.tell, event)

    unlisten = serving.hub.standing.listen(heard)
    watching = asyncio.create_task(serving.watch())
    try:
        yield
    finally:
        serving.draining.set()
        unlisten()
        watching.cancel()
        await serving.webrtc.close()


def _name(route: APIRoute) -> str:
    """Operation ids that clients can be made from: module_function."""
    return f"{route.endpoint.__module__.rpartition('.')[2]}_{route.endpoint.__name__}"
