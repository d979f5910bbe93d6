"""What ``edgetwin serve`` does: a hub, its sources, a server, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...twin.errors import InputError
from ..live.bounds import HubLimits
from ..live.hub import LiveHub
from ..live.memory import Retention
from ..live.records import StreamSpec, StreamStatus
from ..live.webhooks import Webhooks
from ..models import load_models
from ..stream.spec import Opener
from ..track import parse_words
from .app import create_app
from .config import DEFAULT_ALLOW, ServeSettings, read_token
from .server import Server, bound, quiet_logs

__all__ = ["ServeOptions", "SourceOptions", "count_line", "serve_until_told", "specs_of"]

_NAMED = re.compile(r"([a-z0-9][a-z0-9_-]{0,31})=(.+)", re.S)
_MAX_LIST = 64 * 1024  # bytes of a file of sources


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


class SourceOptions(Protocol):
    """What the options of any command say about its sources."""

    @property
    def sources(self) -> tuple[str, ...]:
        """As they were given."""
        ...

    @property
    def words(self) -> str | None:
        """What to look for."""
        ...

    @property
    def fps(self) -> float:
        """Asked of cameras; the rate of folders."""
        ...

    @property
    def loop(self) -> bool:
        """Whether files begin anew."""
        ...

    @property
    def live(self) -> bool | None:
        """Whether files run by their own clock."""
        ...

    @property
    def record(self) -> bool:
        """Whether twins are kept on disk."""
        ...


def specs_of(options: SourceOptions) -> list[StreamSpec]:
    """Return what is to be opened; a message never holds a source that may have a password.

    Raises:
        InputError: if a file of sources cannot be read, or an entry is none.
    """
    entries: list[str] = []
    for text in options.sources:
        entries += _listed(Path(text[1:])) if text.startswith("@") else [text]
    words = None if options.words is None else list(parse_words(options.words))
    common: dict[str, Any] = {
        "words": words,
        "fps": options.fps,
        "loop": options.loop,
        "live": options.live,
        "record": options.record,
    }
    specs = []
    for number, entry in enumerate(entries, 1):
        named = None if os.path.exists(entry) else _NAMED.fullmatch(entry)
        name, source = (named[1], named[2]) if named else (None, entry)
        try:
            specs.append(StreamSpec(id=name, source=source, **common))
        except ValueError as error:
            raise InputError(
                f"expected a source of 1 to 4096 characters and a rate in (0, 240], got another "
                f"as source {number}"
            ) from error
    return specs


def _listed(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_LIST + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"expected a file of sources, got {path}: {reason}") from error
    if len(text) > _MAX_LIST:
        raise InputError(f"expected a file of sources of at most {_MAX_LIST} bytes, got {path}")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


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
