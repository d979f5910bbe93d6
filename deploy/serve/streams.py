"""Streams: list, add, look at, remove; their twins and objects, now and before."""

from __future__ import annotations

import math
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from ...twin.errors import InputError
from ..live.errors import BusyError, UnknownError
from ..live.records import StreamSpec, StreamStatus
from .records import ErrorBody, Histories, HistoryRow, ObjectRecord, Objects, Streams, TwinRecord
from .sources import permitted
from .state import ObjectId, State, StreamPath, newest

__all__ = ["age_ms", "router"]

router = APIRouter(prefix="/api/streams", tags=["streams"], responses={404: {"model": ErrorBody}})
_MAX_PATH = 600  # points of one object: as many as the window has frames


def age_ms(captured_at: float) -> float:
    """Return milliseconds since a moment of ``time.monotonic``."""
    return round((time.monotonic() - captured_at) * 1e3, 1)


@router.get("", summary="Every stream")
async def streams(serving: State) -> Streams:
    """Return the state of every stream."""
    return Streams(streams=[stream.status() for stream in serving.hub.streams()])


@router.post("", status_code=201, summary="Add a stream", responses={429: {"model": ErrorBody}})
async def add(spec: StreamSpec, serving: State) -> StreamStatus:
    """Open a source of an allowed kind; it recovers on its own from then on."""
    spec = spec.model_copy(update={"source": permitted(spec.source, serving.settings)})
    most = serving.settings.limits.streams
    if len(serving.hub.streams()) >= most:
        raise BusyError(
            f"expected at most {most} streams, got one more: remove one", retry_after_s=60.0
        )
    stream = await serving.call(serving.hub.add, spec)
    return stream.status()


@router.get("/{id}", summary="One stream")
async def stream(stream_id: StreamPath, serving: State) -> StreamStatus:
    """Return one stream's state."""
    return serving.stream(stream_id).status()


@router.delete("/{id}", status_code=204, summary="Remove a stream")
async def remove(stream_id: StreamPath, serving: State) -> Response:
    """Close a stream's source; what was recorded stays on disk."""
    await serving.call(serving.hub.remove, stream_id)
    return Response(status_code=204)


@router.get("/{id}/twin", summary="The newest twin", responses={503: {"model": ErrorBody}})
async def twin(stream_id: StreamPath, serving: State) -> TwinRecord:
    """Return the newest frame's twin, and how old it is."""
    moment = newest(serving.stream(stream_id))
    return TwinRecord(age_ms=age_ms(moment.captured_at), frame=moment.twin)


@router.get("/{id}/objects", summary="Objects of the last seconds")
async def objects(stream_id: StreamPath, serving: State) -> Objects:
    """Return every object of the window as last seen, ascending by id."""
    found = serving.stream(stream_id)
    moment = newest(found)
    window = await serving.call(found.window)
    return Objects(
        age_ms=age_ms(moment.captured_at),
        frame_index=moment.twin.index,
        timestamp_s=moment.twin.timestamp_s,
        objects=[window.latest(key) for key in window.ids()],
    )


@router.get("/{id}/objects/{oid}", summary="One object and its path")
async def one_object(stream_id: StreamPath, object_id: ObjectId, serving: State) -> ObjectRecord:
    """Return one object as last seen, and where its centre was."""
    found = serving.stream(stream_id)
    moment = newest(found)
    window = await serving.call(found.window)
    if object_id not in window:
        raise UnknownError(f"expected an id of the window {window.ids()}, got {object_id}")
    record = window.latest(object_id)
    frame = next(f for f in reversed(window.frames) if f.objects.get(object_id) == record)
    track = window.track(object_id)[-_MAX_PATH:]
    return ObjectRecord(
        age_ms=age_ms(moment.captured_at),
        object=record,
        index=frame.index,
        timestamp_s=frame.timestamp_s,
        path=[(round(at, 3), *obj.centroid) for at, obj in track],
    )


@router.get("/{id}/history", summary="What was recorded")
async def history(
    stream_id: StreamPath,
    serving: State,
    start_at: Annotated[float | None, Query(ge=0, description="Unix seconds")] = None,
    end_at: Annotated[float | None, Query(ge=0, description="Unix seconds")] = None,
    label: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    object_id: Annotated[int | None, Query(ge=1)] = None,
    limit: Annotated[int, Query(ge=1)] = 1000,
    by: Annotated[Literal["frame", "object"], Query(description="a row per frame, or in all")] = (
        "frame"
    ),
) -> Histories:
    """Return stored records by time, label and id, oldest first, within the stream's retention.

    With ``start_at`` the first rows from then on; go on just after the last row's ``at`` while
    ``truncated``. Without it the newest rows.
    """
    memory = serving.stream(stream_id).memory
    if memory is None:
        raise InputError(
            f"expected a stream that is recorded, got {stream_id}, which was added with record=false"
        )
    limit = min(limit, serving.settings.limits.rows)
    if by == "object":
        rows = await serving.call(memory.objects, limit)
        kept = [row for row in rows if _meant(row, start_at, end_at, label, object_id)]
        return Histories(rows=_rows(kept), truncated=len(rows) == limit)
    wanted: dict[str, Any] = {"end_at": end_at, "label": label, "object_id": object_id}
    rows = await serving.call(memory.history, **wanted, start_at=start_at, limit=limit)
    if start_at is None or not rows:
        return Histories(rows=_rows(rows), truncated=len(rows) == limit)
    after = math.nextafter(rows[-1]["at"], math.inf)
    more = await serving.call(memory.history, **wanted, start_at=after, limit=1)
    return Histories(rows=_rows(rows), truncated=bool(more))


def _rows(rows: list[dict[str, Any]]) -> list[HistoryRow]:
    return [HistoryRow.model_validate(row) for row in rows]


def _meant(
    row: dict[str, Any],
    start_at: float | None,
    end_at: float | None,
    label: str | None,
    object_id: int | None,
) -> bool:
    """Whether an object's life is of this label and id and touches these times."""
    return (
        label in (None, row["label"])
        and object_id in (None, row["id"])
        and (start_at is None or row["last_at"] >= start_at)
        and (end_at is None or row["first_at"] <= end_at)
    )
