"""A small server that speaks the API over recorded frames, for what a real one will not do on
demand: hostile labels, streams that stall, connections that break.

The frames are those of an example, perceived by the embedded set once; they are shown over and
over, at 8 a second. Questions are answered by the embedded reasoner. Everything a test wants to
change is an attribute of :class:`World`.

Not covered: what the real server is for (limits, several readers' fairness, storing).
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from edgetwin.deploy.models import Models
from edgetwin.deploy.serve.headers import CONTENT_SECURITY_POLICY
from edgetwin.deploy.serve.overlay import encode_jpeg, outlines
from edgetwin.deploy.stream.source import open_source
from edgetwin.reasoner.rollout import Reasoner
from edgetwin.twin.schema import FrameTwin
from edgetwin.twin.window import TwinWindow

__all__ = ["Recording", "Stub", "World"]

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "deploy" / "serve" / "page"
RATE = 8.0


class Recording:
    """An example as the embedded set perceives it, and the reasoner that answers about it."""

    def __init__(self, models: Models, example: str = "spatial") -> None:
        assert isinstance(models.reasoner, Reasoner)
        self.reasoner = models.reasoner
        frames = list(open_source(ROOT / "examples" / f"{example}.mp4"))
        self.shown = [(models.perceiver.observe(f), encode_jpeg(f.image_hw3)) for f in frames]
        self.outlines = [
            {o.id: outlines(o.mask) for o in twin.objects.values() if o.mask}
            for twin, _ in self.shown
        ]
        self.window = TwinWindow()
        for twin, _ in self.shown:
            self.window.append(twin)


class World:
    """Recorded frames and everything that the page may be told about them.

    Attributes:
        names: id -> label given instead of the perceived one.
        state: of the stream's source; frames come only while it is ``running``.
        error: what the source says.
        token: if not empty, asked for.
        cut: connections are refused and closed while set.
        hostile: put into every text that the server says.
        pause_s: between the words of a streamed answer.
        crowded: nobody more may watch the video.
        closed: sessions that were given back.
    """

    def __init__(self, recording: Recording) -> None:
        self.shown, self.outlines = recording.shown, recording.outlines
        self.window = recording.window
        self.session = recording.reasoner.session(self.window)
        self.names: dict[int, str] = {}
        self.state, self.error, self.token, self.hostile = "running", "", "", ""
        self.cut = False
        self.pause_s = 0.02
        self.crowded = False
        self.closed: list[str] = []
        self.standing: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.began = time.time()
        self.streams = ["cell", "yard"]

    def now(self) -> tuple[int, float]:
        """The index of the frame of this moment, and its time."""
        index = int((time.time() - self.began) * RATE)
        return index, index / RATE

    def frame(self, index: int) -> tuple[FrameTwin, bytes]:
        return self.shown[index % len(self.shown)]

    def status(self, stream: str) -> dict[str, Any]:
        index, at = self.now()
        running = self.state == "running"
        return {
            "id": stream,
            "source": {
                "uri": f"examples/{stream}.mp4{self.hostile}",
                "kind": "video",
                "live": True,
                "state": self.state,
                "state_since_s": 1.0,
                "attempts": 3,
                "reconnects": 0,
                "error": self.error,
            },
            "frames": {"read": index, "processed": index - 2, "dropped": {"queue": 2}},
            "fps": RATE if running else 0.0,
            "age_ms": 42.0 if running else 9000.0,
            "frame_index": index,
            "timestamp_s": at,
            "width": 256,
            "height": 256,
            "objects": len(self.frame(index)[0].objects),
            "started_at": self.began,
            "warnings": [],
        }

    def label(self, key: int, label: str) -> str:
        return self.names.get(key, label)

    def twin(self, stream: str) -> dict[str, Any]:
        index, at = self.now()
        twin, _ = self.frame(index)
        lines = self.outlines[index % len(self.shown)]
        return {
            "type": "twin",
            "stream": stream,
            "index": index,
            "timestamp_s": at,
            "age_ms": 42.0,
            "width": twin.width,
            "height": twin.height,
            "objects": [
                {
                    "id": o.id,
                    "label": self.label(o.id, o.semantic_label),
                    "color": o.attributes.get("color"),
                    "state": o.state,
                    "box_xyxy": o.box_xyxy,
                    "confidence": o.confidence,
                    "mean_depth": o.mean_depth,
                    "outline": lines.get(o.id),
                }
                for o in twin.objects.values()
            ],
        }

    def answer(self, question: str, mode: Any) -> dict[str, Any]:
        given = self.session.ask(question, mode=mode).model_dump(mode="json")
        twins = [self.window.latest(key) for key in given["ids"]]
        objects = [
            {"id": o.id, "label": self.label(o.id, o.semantic_label), "attributes": o.attributes}
            for o in twins
        ]
        masks = {o.id: o.mask.model_dump() for o in twins if o.mask is not None}
        extra = {"question": question, "objects": objects, "masks": masks, "age_ms": 42.0}
        given["message"] += self.hostile
        given["rationale"] += self.hostile
        return {**given, **extra, "warnings": []}

    def watch(self, stream: str, question: str) -> dict[str, Any]:
        answer = self.answer(question, "concise")
        one = {
            "id": f"s{len(self.standing) + 1}",
            "stream": stream,
            "question": question,
            "asked": f"Which objects are it: {question}{self.hostile}",
            "plan": answer["plan"],
            "state": "active",
            "message": self.hostile,
            "created_at": time.time(),
            "events": 1,
            "webhook": False,
        }
        self.standing.append(one)
        index, at = self.now()
        event = {
            "id": f"e{len(self.events) + 1}",
            "standing": one["id"],
            "stream": stream,
            "question": question,
            "at": time.time(),
            "timestamp_s": at,
            "frame_index": index,
            "ids": answer["ids"],
            "objects": [{**o, "mask": answer["masks"].get(o["id"])} for o in answer["objects"]],
            "reason": f"holds now{self.hostile}",
            "delay_ms": 55.0,
            "clip": True,
        }
        self.events.append(event)
        return one


class Stub:
    """The server in a thread of its own; ``url`` is where it is. A context manager."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sockets: set[WebSocket] = set()
        config = uvicorn.Config(self._app(), port=0, log_level="error", ws="websockets-sansio")
        config.timeout_graceful_shutdown = 1
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Stub:
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        return self

    def __exit__(self, *_: object) -> None:
        self.world.cut = True
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    # ---- routes

    def _app(self) -> Starlette:
        one = "/api/streams/{id}"
        routes = [
            Route("/", self._page),
            Mount("/static", StaticFiles(directory=PAGE)),
            Route("/api/login", self._login, methods=["POST", "DELETE"]),
            Route("/api/info", self._info),
            Route("/api/streams", self._streams, methods=["GET", "POST"]),
            Route(one, self._stream, methods=["DELETE"]),
            Route(one + "/objects", self._objects),
            Route(one + "/objects/{oid:int}", self._object),
            Route(one + "/history", self._history),
            Route(one + "/video.mjpeg", self._video),
            Route(one + "/questions", self._ask, methods=["POST"]),
            Route(one + "/standing", self._standing, methods=["GET", "POST"]),
            Route("/api/standing/{id}", self._unwatch, methods=["DELETE"]),
            Route("/api/sessions", self._session, methods=["POST"]),
            Route("/api/sessions/{id}", self._gone, methods=["DELETE"]),
            Route("/api/events", self._events),
            Route("/api/events/{id}/picture.jpg", self._picture),
            WebSocketRoute("/api/ws", self._socket),
        ]
        return Starlette(routes=routes)

    async def _page(self, _: Request) -> Response:
        head = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return Response((PAGE / "index.html").read_bytes(), media_type="text/html", headers=head)

    async def _login(self, request: Request) -> Response:
        if (await request.json())["token"] != self.world.token:
            return _refused(401, "unauthorised", "a wrong token")
        done = Response(status_code=204)
        done.set_cookie("edgetwin", self.world.token, httponly=True, samesite="strict")
        return done

    async def _info(self, request: Request) -> Response:
        if self.world.token and request.cookies.get("edgetwin") != self.world.token:
            return _refused(401, "unauthorised", "a token is needed")
        limits = {"kinds": ["rtsp", "simulated"]}
        modes = ["concise", "detailed"]
        return JSONResponse(
            {"version": "0", "limits": limits, "modes": modes, "auth": bool(self.world.token)}
        )

    async def _streams(self, request: Request) -> Response:
        if self.world.cut:
            return _refused(503, "stopping", "not now")
        if request.method == "POST":
            given = await request.json()
            if not given["source"].startswith("rtsp://"):
                return _refused(403, "not_allowed", f"expected rtsp, got {given['source']}")
            self.world.streams.append(given["id"])
            return JSONResponse(self.world.status(given["id"]), 201)
        return JSONResponse({"streams": [self.world.status(s) for s in self.world.streams]})

    async def _stream(self, request: Request) -> Response:
        self.world.streams.remove(request.path_params["id"])
        return Response(status_code=204)

    async def _objects(self, _: Request) -> Response:
        return JSONResponse({"objects": []})

    async def _object(self, request: Request) -> Response:
        key = request.path_params["oid"]
        track = self.world.window.track(key)
        record = track[-1][1].model_dump(mode="json")
        record["semantic_label"] = self.world.label(key, record["semantic_label"])
        path = [[at, *o.centroid] for at, o in track]
        return JSONResponse({"age_ms": 1.0, "object": record, "path": path})

    async def _history(self, request: Request) -> Response:
        key = int(request.query_params.get("object_id", 0))
        track = self.world.window.track(key) if key else []
        rows = [
            {"id": o.id, "label": "x", "timestamp_s": at, "mean_depth": o.mean_depth}
            for at, o in track
        ]
        return JSONResponse({"rows": rows, "truncated": False})

    async def _session(self, _: Request) -> Response:
        return JSONResponse({"id": "q1", "stream": "cell"}, 201)

    async def _gone(self, request: Request) -> Response:
        self.world.closed.append(request.path_params["id"])
        return Response(status_code=204)

    async def _ask(self, request: Request) -> Response:
        asked = await request.json()
        self.world.asked.append(asked)
        given = await asyncio.to_thread(self.world.answer, asked["question"], asked["mode"])

        async def told() -> AsyncIterator[str]:
            for word in f"<reason>{given['rationale']}</reason>".split(" "):
                yield _event("text", {"text": word + " "})
                await asyncio.sleep(self.world.pause_s)
            yield _event("plan", given["plan"])
            yield _event("results", given["results"])
            yield _event("answer", given)

        return StreamingResponse(told(), media_type="text/event-stream")

    async def _standing(self, request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"standing": self.world.standing})
        question = (await request.json())["question"]
        stream = request.path_params["id"]
        one = await asyncio.to_thread(self.world.watch, stream, question)
        for socket in list(self.sockets):
            await socket.send_json({"type": "event", **self.world.events[-1]})
        return JSONResponse(one, 201)

    async def _unwatch(self, request: Request) -> Response:
        gone = request.path_params["id"]
        self.world.standing = [one for one in self.world.standing if one["id"] != gone]
        return Response(status_code=204)

    async def _events(self, _: Request) -> Response:
        return JSONResponse({"events": self.world.events})

    async def _picture(self, _: Request) -> Response:
        return Response(self.world.shown[0][1], media_type="image/jpeg")

    async def _video(self, _: Request) -> Response:
        if self.world.crowded:
            return _refused(429, "busy", "expected at most 8 viewers")

        async def parts() -> AsyncIterator[bytes]:
            last = -1
            while not self.world.cut:
                index, _ = self.world.now()
                if index != last and self.world.state == "running":
                    last, body = index, self.world.frame(index)[1]
                    head = f"Content-Length: {len(body)}\r\nX-Frame-Index: {index}\r\n"
                    yield f"--f\r\nContent-Type: image/jpeg\r\n{head}\r\n".encode() + body + b"\r\n"
                await asyncio.sleep(0.02)

        return StreamingResponse(parts(), media_type="multipart/x-mixed-replace; boundary=f")

    async def _socket(self, socket: WebSocket) -> None:
        if self.world.cut:
            await socket.close()
            return
        await socket.accept()
        self.sockets.add(socket)
        stream = socket.query_params["stream"]
        last = -1
        try:
            while not self.world.cut:
                index, _ = self.world.now()
                if last < 0 or index // 8 != last // 8:
                    await socket.send_json({"type": "status", **self.world.status(stream)})
                if index != last and self.world.state == "running":
                    await socket.send_json(self.world.twin(stream))
                last = index
                await asyncio.sleep(0.02)
            await socket.send_json({"type": "bye", "reason": "the server stops"})
            await socket.close()
        except (WebSocketDisconnect, RuntimeError):
            pass  # the page went away: so do we
        finally:
            self.sockets.discard(socket)


def _event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
