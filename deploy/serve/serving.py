"""What ``edgetwin serve`` does: a hub, its sources, a server, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..live.bounds import HubLimits
from ..live.hub import LiveHub
from ..live.memory import Retention
from ..live.records import StreamStatus
from ..live.webhooks import Webhooks
from ..models import load_models
from ..stream.spec import Opener
from .app import create_app
from .config import DEFAULT_ALLOW, ServeSettings, read_token
from .given import specs_of
from .server import Server, bound, quiet_logs

__all__ = ["ServeOptions", "count_line", "serve_until_told", "specs_of"]


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of the command, as they were given."""

    sources: tuple[str, ...]
    host: str
    port: int
    token_file: Path | None
    folder: Path
    models: str
    language: str | None
    words: str | None
    fps: float
    loop: bool
    live: bool | None
    record: bool
    keep_hours: float
    keep_mb: int
    allow: tuple[str, ...]
    media: Path | None
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    webhooks: tuple[str, ...]
    certificate: tuple[Path, Path] | None
    report_s: float


def serve_until_told(options: ServeOptions, openers: Mapping[str, Opener]) -> None:
    """Serve until SIGTERM, or SIGINT.

    Raises:
        InputError: if an option or source cannot be used, before anything is served.
        ModelError: if the models cannot be had.
        KeyboardInterrupt: after SIGINT, when all has ended.
    """
    settings = settings_of(options)
    specs = specs_of(options)
    listening = bound(settings)
    try:
        models = load_models(options.models, language=options.language)
        limits = settings.limits
        quiet_logs()
        with LiveHub(
            models,
            folder=options.folder,
            limits=HubLimits(streams=limits.streams, sessions=limits.sessions),
            openers=openers,
            retention=Retention(options.keep_hours * 3600.0, options.keep_mb * 2**20),
            webhooks=Webhooks(options.webhooks, _secret()),
        ) as hub:
            for spec in specs:
                hub.add(spec)
            server = Server(create_app(hub, settings), settings, options.certificate)
            host, port = listening.getsockname()[:2]
            scheme = "https" if options.certificate else "http"
            shown = f"[{host}]" if ":" in host else host
            server.ready = lambda: print(f"{scheme}://{shown}:{port}/", flush=True)
            with _Reporter(hub, options.report_s):
                asyncio.run(server.serve([listening]))
    finally:
        listening.close()
    if server.interrupted:
        raise KeyboardInterrupt


def _secret() -> bytes | None:
    """What signs the bodies of webhooks; never on a command line."""
    return os.environ.get("EDGETWIN_WEBHOOK_SECRET", "").encode() or None


def settings_of(options: ServeOptions) -> ServeSettings:
    """Return what the options say about the server.

    Raises:
        InputError: as ServeSettings and read_token.
    """
    return ServeSettings(
        host=options.host,
        port=options.port,
        token=read_token(options.token_file),
        allow=frozenset(options.allow) or DEFAULT_ALLOW,
        media=options.media,
        hosts=options.hosts,
        origins=options.origins,
        secure=options.certificate is not None,
    )


def count_line(status: StreamStatus) -> str:
    """Return one stream in one line, without credentials."""
    dropped = ", ".join(f"{n} {reason}" for reason, n in sorted(status.frames.dropped.items()))
    age = "-" if status.age_ms is None else f"{status.age_ms:.0f} ms"
    error = f" ({status.source.error})" if status.source.error else ""
    return (
        f"{status.id}: {status.source.state}{error}, {status.frames.processed} of "
        f"{status.frames.read} frames, {status.fps:.1f}/s, dropped {dropped or 'none'}, "
        f"newest {age} old, {status.objects} objects"
    )


class _Reporter:
    """Prints a line for each stream now and then, on stderr, in a thread of its own."""

    def __init__(self, hub: LiveHub, every_s: float) -> None:
        self._hub, self._every_s = hub, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgetwin-report", daemon=True)

    def __enter__(self) -> None:
        if self._every_s > 0:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            for stream in self._hub.streams():
                print(count_line(stream.status()), file=sys.stderr, flush=True)
