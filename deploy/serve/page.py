"""The page and its files: those of one flat folder, by name, nothing else.

The names are read once; what a request asks for is looked up among them and never becomes a path.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response

__all__ = ["PAGE", "router"]

PAGE = Path(__file__).with_name("page")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
router = APIRouter(include_in_schema=False)


def _names() -> dict[str, Path]:
    if not PAGE.is_dir():
        return {}
    return {path.name: path for path in PAGE.iterdir() if path.suffix in _TYPES and path.is_file()}


@router.get("/", response_class=FileResponse)
async def index() -> Response:
    """The page."""
    return _file("index.html")


@router.get("/favicon.ico", response_class=Response)
async def icon() -> Response:
    """Browsers ask for it by this name."""
    return RedirectResponse("/static/icon.svg", 308)


@router.get("/static/{name}", response_class=FileResponse)
async def static(name: str) -> Response:
    """One of the page's files."""
    return _file(name)


def _file(name: str) -> Response:
    found = _names().get(name)
    if found is None:
        raise HTTPException(404)
    headers = {"Cache-Control": "no-cache"}  # asked again, by its ETag, so that updates are seen
    return FileResponse(found, media_type=_TYPES[found.suffix], headers=headers)
