"""Chats that come back whole each time, found again as the sessions that answered them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence

__all__ = ["Conversations", "Said"]

Said = tuple[str, str]  # role and text of a message


class Conversations:
    """Which session answered a chat so far, by a digest of it.

    Args:
        most: sessions kept; beyond it the least recently used is given up.
    """

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._sessions: OrderedDict[str, str] = OrderedDict()

    def take(self, stream: str, said: Sequence[Said]) -> str | None:
        """Return the session that answered these messages; it is the caller's until kept again."""
        return self._sessions.pop(_digest(stream, said), None)

    def keep(self, stream: str, said: Sequence[Said], session: str) -> list[str]:
        """Remember which session answered the last of these; return those to be closed instead."""
        key = _digest(stream, said)
        given_up = [self._sessions.pop(key)] if key in self._sessions else []
        self._sessions[key] = session
        while len(self._sessions) > self._most:
            given_up.append(self._sessions.popitem(last=False)[1])
        return given_up


def _digest(stream: str, said: Sequence[Said]) -> str:
    return hashlib.sha256(json.dumps([stream, *said]).encode()).hexdigest()
