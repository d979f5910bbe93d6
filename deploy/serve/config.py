"""What an operator chooses for a server, checked before anything is opened."""

from __future__ import annotations

import ipaddress
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from ...twin.errors import InputError
from ..stream.records import SourceKind

__all__ = ["DEFAULT_ALLOW", "ServeLimits", "ServeSettings", "read_token"]

DEFAULT_ALLOW: frozenset[str] = frozenset({"rtsp", "simulated"})
MIN_TOKEN = 16  # characters; a shorter one can be guessed over the network in days
MAX_TOKEN = 512
_FILES: frozenset[str] = frozenset({"video", "image", "folder"})


@dataclass(frozen=True, slots=True)
class ServeLimits:
    """Bounds of one server; what is over one is refused with 429 or 503 and ``Retry-After``.

    Attributes:
        body_bytes: of a request; the longest that is meant is a WebRTC offer, about 10 kB.
        header_s: from a connection, or the last answer on it, to the end of a request's header.
        body_s: from the end of the header to the end of the body.
        write_s: that a viewer may take to read one picture or message before it is dropped.
        streams: cameras at a time; two cores follow about four.
        sessions: conversations at a time, of a prompt cache each.
        questions: being answered or waiting at a time. With two, one waits for one: an accepted
            question takes at most twice as long as on an idle server.
        calls: threads for calls into the hub that are no questions.
        sockets: WebSockets at a time.
        viewers: MJPEG viewers at a time.
        peers: WebRTC viewers at a time; each has an encoder of its own.
        connections: of any kind at a time.
        send_bytes: that the system holds for one connection. By itself it would hold megabytes
            for a slow viewer: old frames, where the newest is wanted. So it is a second or two.
        logins: page sessions that are remembered, the oldest is forgotten first.
        rows: of history that one answer may hold.
        drain_s: that questions being answered get when the server is told to stop.
    """

    body_bytes: int = 64 * 1024
    header_s: float = 10.0
    body_s: float = 10.0
    write_s: float = 10.0
    streams: int = 16
    sessions: int = 64
    questions: int = 2
    calls: int = 8
    sockets: int = 32
    viewers: int = 16
    peers: int = 4
    connections: int = 256
    send_bytes: int = 128 * 1024
    logins: int = 64
    rows: int = 10_000
    drain_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Where a server listens, who may use it and what it may open.

    Attributes:
        host: the address to listen on.
        port: 0 lets the system choose.
        token: what requests must show; None: none is asked for, on loopback only.
        allow: kinds of sources that may be added over HTTP; files only below ``media``.
        media: the folder of those files; None: none may be added.
        hosts: further names that a ``Host`` header may carry, such as a proxy's.
        origins: further pages that may call, such as ``https://console.example``.
        secure: whether it is reached over TLS, so that cookies are sent over nothing else.
        limits: the bounds.

    Raises:
        InputError: if it would listen beyond this machine without a token, or a value is wrong.
    """

    host: str = "127.0.0.1"
    port: int = 8300
    token: str | None = field(default=None, repr=False)
    allow: frozenset[str] = DEFAULT_ALLOW
    media: Path | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    secure: bool = False
    limits: ServeLimits = field(default_factory=ServeLimits)

    def __post_init__(self) -> None:
        if not self.loopback and self.token is None:
            raise InputError(
                f"expected a token to listen on {self.host}, which other machines reach, got "
                "none: add --token-file FILE, set EDGETWIN_TOKEN, or listen on 127.0.0.1"
            )
        if self.token is not None:
            _check_token(self.token)
        unknown = sorted(self.allow - set(get_args(SourceKind)))
        if unknown:
            raise InputError(
                f"expected kinds of sources among {', '.join(get_args(SourceKind))}, got "
                f"{', '.join(unknown)}"
            )
        if self.allow & _FILES and self.media is None:
            raise InputError(
                f"expected a folder for the kinds {', '.join(sorted(self.allow & _FILES))}, got "
                "none: add --media DIR, below which files may be opened"
            )
        if self.media is not None and not self.media.is_dir():
            raise InputError(f"expected a folder of media, got {self.media}, which is none")
        if not 0 <= self.port <= 65535:
            raise InputError(f"expected a port from 0 to 65535, got {self.port}")

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of sources that may be added over HTTP."""
        return self.allow | (_FILES if self.media is not None else frozenset())


def read_token(path: Path | None, environment: str | None = None) -> str | None:
    """Return the token of a file or, without one, of ``EDGETWIN_TOKEN``; None if there is neither.

    Raises:
        InputError: if the file cannot be read, others may read it, or the token is unusable.
    """
    if path is None:
        found = os.environ.get("EDGETWIN_TOKEN") if environment is None else environment
        return None if not found else _check_token(found.strip())
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InputError(
                f"expected a token file that only its owner reads, got {path}, which others may: "
                f"chmod 600 {path}"
            )
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_TOKEN + 2).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"expected a readable token file, got {path}: {reason}") from error
    return _check_token(text)


def _check_token(token: str) -> str:
    """Return the token; a message never holds it."""
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN or not token.isascii() or not token.isprintable():
        raise InputError(
            f"expected a token of {MIN_TOKEN} to {MAX_TOKEN} printable ASCII characters, got one "
            f"of {len(token)}: openssl rand -hex 24 > token; chmod 600 token"
        )
    if " " in token:
        raise InputError("expected a token without spaces, got one with: openssl rand -hex 24")
    return token
