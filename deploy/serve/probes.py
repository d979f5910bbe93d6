"""Probes, metrics, logins and what the server as a whole is."""

from __future__ import annotations

from importlib.util import find_spec
from typing import get_args

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from ... import __version__
from ...reasoner.prompts import Mode
from .access import COOKIE, cookie_of
from .errors import error_body
from .records import ErrorBody, Info, Limits, Login
from .state import State

__all__ = ["router"]

router = APIRouter(tags=["server"])


@router.get("/healthz", summary="Whether the process answers")
async def healthz() -> dict[str, str]:
    """Say that the process lives; open without a token, and while it drains."""
    return {"status": "ok"}


@router.get("/readyz", summary="Whether it takes work", responses={503: {"model": ErrorBody}})
async def readyz(serving: State) -> Response:
    """Say whether questions can be answered now: 200, or 503 with the reason."""
    serving.refuse_when_draining()
    ready, reason = await serving.call(serving.hub.ready)
    if ready:
        return JSONResponse({"status": "ready"})
    return JSONResponse(error_body("not_ready", reason), 503, {"Retry-After": "1"})


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
async def metrics(serving: State) -> Response:
    """Return every figure in Prometheus' text format."""
    text = await serving.call(serving.metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/api/info", summary="What this server is")
async def info(serving: State) -> Info:
    """Return versions, models, words, modes and limits."""
    limits = serving.settings.limits
    names = [name for name in Limits.model_fields if name != "kinds"]
    return Info(
        version=__version__,
        models=serving.hub.models.identities,
        words=list(serving.hub.words),
        modes=list(get_args(Mode)),
        limits=Limits(
            kinds=sorted(serving.settings.kinds), **{name: getattr(limits, name) for name in names}
        ),
        streams=[stream.id for stream in serving.hub.streams()],
        auth=serving.logins.needed,
        webrtc=find_spec("aiortc") is not None,
    )


@router.post(
    "/api/login",
    status_code=204,
    summary="A cookie for the page",
    responses={401: {"model": ErrorBody}},
)
async def login(body: Login, serving: State) -> Response:
    """Check the token and set a cookie that scripts cannot read and other sites cannot send."""
    if not serving.logins.needed:
        return Response(status_code=204)
    if not serving.logins.right(body.token):
        return JSONResponse(error_body("token", "this is not the token"), 401)
    name, seconds = serving.logins.begin()
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        name,
        max_age=seconds,
        path="/",
        secure=serving.settings.secure,
        httponly=True,
        samesite="strict",
    )
    return response


@router.delete("/api/login", status_code=204, summary="Forget the page's cookie")
async def logout(request: Request, serving: State) -> Response:
    """End the page session of this cookie."""
    serving.logins.end(cookie_of(request.headers))
    response = Response(status_code=204)
    response.delete_cookie(
        COOKIE, path="/", secure=serving.settings.secure, httponly=True, samesite="strict"
    )
    return response
