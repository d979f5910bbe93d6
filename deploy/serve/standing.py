"""Standing questions and their events, with clips and pictures."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from starlette.responses import FileResponse

from ..live.records import Event, Standing
from .records import ErrorBody, Events, StandingQuestion, Standings, StreamId
from .state import State, StreamPath

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["standing"], responses={404: {"model": ErrorBody}})
_Name = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$"
StandingPath = Annotated[str, Path(alias="sid", pattern=_Name)]
EventPath = Annotated[str, Path(alias="eid", pattern=_Name)]
_CLIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"video/mp4": {}}, "description": "a clip around the event"}
}
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "the event's frame"}
}


@router.get("/streams/{id}/standing", summary="A stream's standing questions")
async def of_stream(stream_id: StreamPath, serving: State) -> Standings:
    """Return the standing questions about one stream."""
    serving.stream(stream_id)
    return Standings(standing=await serving.call(serving.hub.standing.list, stream_id))


@router.post(
    "/streams/{id}/standing",
    status_code=201,
    summary="Ask from now on",
    responses={429: {"model": ErrorBody}},
)
async def add(stream_id: StreamPath, body: StandingQuestion, serving: State) -> Standing:
    """Make a plan of a question once and run it on every twin from now on."""
    serving.refuse_when_draining()
    serving.stream(stream_id)
    desk = serving.hub.standing
    return await serving.call(desk.add, stream_id, body.question, webhook=body.webhook)


@router.get("/standing", summary="Every standing question")
async def every(serving: State) -> Standings:
    """Return the standing questions about all streams."""
    return Standings(standing=await serving.call(serving.hub.standing.list))


@router.delete("/standing/{sid}", status_code=204, summary="Ask no more")
async def remove(standing_id: StandingPath, serving: State) -> Response:
    """Remove a standing question; its events stay."""
    await serving.call(serving.hub.standing.remove, standing_id)
    return Response(status_code=204)


@router.get("/events", summary="What happened")
async def events(
    serving: State,
    stream: Annotated[StreamId | None, Query()] = None,
    after: Annotated[str | None, Query(pattern=_Name, description="an event's id")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Events:
    """Return events, oldest first, those after one if it is named."""
    found = await serving.call(serving.hub.standing.events, stream=stream, after=after, limit=limit)
    return Events(events=found)


@router.get("/events/{eid}", summary="One event")
async def event(event_id: EventPath, serving: State) -> Event:
    """Return one event with its objects' masks."""
    return await serving.call(serving.hub.standing.event, event_id)


@router.get("/events/{eid}/clip.mp4", response_class=FileResponse, responses=_CLIP)
async def clip(event_id: EventPath, serving: State) -> FileResponse:
    """Return the clip around an event; ranges are served, so players can seek."""
    return _file(await serving.call(serving.hub.standing.clip, event_id), "video/mp4")


@router.get("/events/{eid}/picture.jpg", response_class=FileResponse, responses=_JPEG)
async def picture(event_id: EventPath, serving: State) -> FileResponse:
    """Return the event's frame with its objects drawn on it."""
    return _file(await serving.call(serving.hub.standing.picture, event_id), "image/jpeg")


def _file(path: FilePath, media_type: str) -> FileResponse:
    headers = {"Cache-Control": "private, max-age=3600"}  # it does not change any more
    return FileResponse(path, media_type=media_type, headers=headers)
