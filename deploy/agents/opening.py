"""What ``edgetwin mcp`` opens: streams of its own in this process, or a server's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...twin.errors import InputError
from ..console import needs_extra
from ..live.memory import Retention
from ..models import load_models
from ..serve.config import read_token
from ..serve.given import specs_of
from ..stream.spec import Opener
from .backend import Backend
from .hub_backend import HubBackend

__all__ = ["AgentOptions", "opened"]

_KEPT_BYTES = 512 * 2**20  # of each stream without --folder: it lies in the temporary folder


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """The options of the command that say what agents see.

    Attributes:
        sources: as ``edgetwin serve`` takes them.
        server: the address of a running server instead.
        token_file: what that server asks for.
        folder: where streams keep their twins; None: a temporary folder that goes with them.
        models, language, words, fps, loop, live: as ``edgetwin serve`` takes them.
    """

    sources: tuple[str, ...] = ()
    server: str | None = None
    token_file: Path | None = None
    folder: Path | None = None
    models: str = "embedded"
    language: str | None = None
    words: str | None = None
    fps: float = 10.0
    loop: bool = False
    live: bool | None = None
    record: bool = True


@contextmanager
def opened(options: AgentOptions, openers: Mapping[str, Opener]) -> Iterator[Backend]:
    """Open what agents are to see; closed when the context ends.

    Raises:
        InputError: unless there are sources or a server, or if one cannot be used.
        ModelError: if the models cannot be had.
    """
    if (options.server is None) == (not options.sources):
        given = "both" if options.sources else "neither"
        raise InputError(
            f"expected sources, or --server URL of a running server, got {given}: "
            "edgetwin mcp clip.mp4, or edgetwin mcp --server http://127.0.0.1:8300"
        )
    if options.server is not None:
        with needs_extra("remote"):
            from .server_backend import ServerBackend
        server = ServerBackend(options.server, read_token(options.token_file))
        try:
            yield server
        finally:
            server.close()
        return
    with _folder(options) as folder, _hub(options, folder, openers) as backend:
        yield backend


@contextmanager
def _folder(options: AgentOptions) -> Iterator[Path]:
    if options.folder is not None:
        yield options.folder
        return
    with tempfile.TemporaryDirectory(prefix="edgetwin-mcp-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def _hub(
    options: AgentOptions, folder: Path, openers: Mapping[str, Opener]
) -> Iterator[HubBackend]:
    from ..live.hub import LiveHub

    specs = specs_of(options)
    models = load_models(options.models, language=options.language)
    retention = None if options.folder is not None else Retention(max_bytes=_KEPT_BYTES)
    backend = HubBackend(LiveHub(models, folder=folder, openers=openers, retention=retention))
    try:
        for spec in specs:
            backend.add(spec)
        yield backend
    finally:
        backend.close()
