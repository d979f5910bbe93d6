"""How errors look from outside: one table from EdgeTwin's errors to status and code.

Every refusal is ``{"error": {"code", "message"}}``. Messages are EdgeTwin's own, with credentials
replaced; of an error that nobody meant only its kind is told, the rest goes to the log.
"""

from __future__ import annotations

import json
import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ...twin import errors as twin_errors
from ...twin.errors import EdgeTwinError
from ..live.compiling import NoPlanError
from ..live.errors import BusyError, UnknownError
from ..stream.secrets import redacted
from .headers import STRICT

__all__ = ["TABLE", "DrainingError", "NotReadyError", "error_body", "install", "refusal", "told"]

_log = logging.getLogger("edgetwin.serve")
_MAX_MESSAGE = 2000  # characters; a message may quote what came


class NotReadyError(EdgeTwinError):
    """What was asked for is not there yet, such as the first frame of a stream."""


class DrainingError(EdgeTwinError):
    """The server is stopping and takes no new work."""


# The nearest class of an error's ancestry counts; tests hold that none is left out.
TABLE: dict[type[EdgeTwinError], tuple[int, str]] = {
    twin_errors.InputError: (400, "input"),
    twin_errors.QueryError: (400, "question"),
    twin_errors.SourceError: (400, "source"),
    twin_errors.SchemaError: (500, "schema"),
    twin_errors.StoreError: (500, "store"),
    twin_errors.ToolError: (422, "tool"),
    twin_errors.StepError: (422, "step"),
    twin_errors.ProtocolError: (500, "protocol"),
    twin_errors.ModelError: (500, "model"),
    twin_errors.OutputError: (507, "output"),
    twin_errors.TrainingError: (500, "training"),
    twin_errors.MissingExtraError: (501, "missing_extra"),
    UnknownError: (404, "unknown"),
    BusyError: (429, "busy"),
    NoPlanError: (422, "no_plan"),
    NotReadyError: (503, "not_ready"),
    DrainingError: (503, "stopping"),
    EdgeTwinError: (500, "error"),
}
_CODES = {404: "unknown", 405: "method", 403: "forbidden", 413: "too_large"}


def told(error: EdgeTwinError) -> tuple[int, str, str]:
    """Return status, code and message of an error."""
    status, code = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    if getattr(error, "closing", False):  # asking here again does not help
        status, code = TABLE[DrainingError]
    return status, code, redacted(" ".join(str(error)[: 2 * _MAX_MESSAGE].split()))[:_MAX_MESSAGE]


def error_body(code: str, message: str) -> dict[str, Any]:
    """Return what every refusal holds."""
    return {"error": {"code": code, "message": message}}


def retry_after(error: EdgeTwinError) -> str:
    """Return whole seconds, at least one, after which asking again makes sense."""
    return str(max(1, math.ceil(getattr(error, "retry_after_s", 1.0))))


async def refusal(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    code: str,
    message: str,
    *,
    close: bool = False,
) -> None:
    """Answer a request, or a WebSocket's handshake, with a refusal; ``close`` its connection."""
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="edgetwin"'
    if close:
        headers["Connection"] = "close"
    if status in (429, 503):
        headers["Retry-After"] = "1"
    response = JSONResponse(error_body(code, message), status, headers)
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get(
        "extensions", {}
    ):
        await send({"type": "websocket.close", "code": 1008, "reason": code})
        return
    await response(scope, receive, send)


def install(app: FastAPI) -> None:
    """Give the application its handlers."""
    app.add_exception_handler(EdgeTwinError, _edgetwin)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unmeant)


async def _edgetwin(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EdgeTwinError)
    status, code, message = told(error)
    headers = {"Retry-After": retry_after(error)} if status in (429, 503) else {}
    if status >= 500 and status not in (501, 503):
        _log.error("%s: %s", type(error).__name__, message)
    return JSONResponse(error_body(code, message), status, headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Say where a request is wrong, without what it held, which may be a password."""
    assert isinstance(error, RequestValidationError)
    places = [
        f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
        for found in error.errors()[:8]
    ]
    message = redacted(json.dumps("; ".join(places), ensure_ascii=False)[1:-1])[:_MAX_MESSAGE]
    return JSONResponse(error_body("invalid", message), 422)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "http")
    message = {404: "there is no such path", 405: "this path takes other methods"}.get(
        error.status_code, str(error.detail)
    )
    headers = dict(error.headers or {})
    return JSONResponse(error_body(code, message), error.status_code, headers)


async def _unmeant(request: Request, error: Exception) -> JSONResponse:
    _log.error("unexpected %s at %s", type(error).__name__, request.scope.get("path"))
    body = error_body("internal", "this is a fault of the server; see its log")
    return JSONResponse(body, 500, STRICT)  # outside the layer that adds them
