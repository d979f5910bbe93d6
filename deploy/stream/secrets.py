"""Taking credentials out of texts that people read: logs, errors, statuses.

Not covered: a program that this one starts shows its own arguments in the machine's process
list, so a password in a ``gst:`` pipeline is seen there by other users of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

__all__ = ["hide", "redacted", "secrets_of"]

_HIDDEN = "***"
_SHORT = 3  # shorter secrets occur inside ordinary words: only their places are hidden
_NAME = (
    r"[\w-]*(?:password|passwd|passphrase|pwd|secret|token|credential|api[-_]?key|auth|user-id"
    r"|user-pw|username|userpw)"
)
# Words, and what quotes hold together; every character is looked at a bounded number of times.
_WORD = re.compile(r"\S*\"[^\"]*\"\S*|\S*'[^']*'\S*|\S+")
_PROPERTY = re.compile(
    rf"(?P<name>(?<![\w-]){_NAME})(?P<is>\s*=\s*)(?P<value>\"[^\"]*\"?|'[^']*'?|[^\s&]+)", re.I
)


def _userinfo(word: str) -> tuple[int, int] | None:
    """Where credentials lie: to the last @, as a password may hold / : and @ itself."""
    begin, end = word.find("://") + 3, word.rfind("@")
    return (begin, end) if 3 <= begin <= end else None


def redacted(text: str) -> str:
    """Return any text with ``***`` for the credentials in its URLs, queries and pipelines."""

    def without(found: re.Match[str]) -> str:
        word, place = found[0], _userinfo(found[0])
        return word if place is None else f"{word[: place[0]]}{_HIDDEN}{word[place[1] :]}"

    text = _WORD.sub(without, text)
    return _PROPERTY.sub(rf"\g<name>\g<is>{_HIDDEN}", text)


def secrets_of(text: str) -> tuple[str, ...]:
    """Return the credentials in a text, as written and percent-decoded, longest first."""
    found: set[str] = set()
    for word in _WORD.findall(text):
        place = _userinfo(word)
        if place is None:
            continue
        info = word[slice(*place)]
        user, _, password = info.partition(":")
        found |= {info, password} if password else {user}
        found |= set(
            re.split("[@/:?#'\" ]", password)
        )  # an error may hold what a parser made of it
    found |= {m["value"].strip("\"'") for m in _PROPERTY.finditer(text)}
    found |= {unquote(secret) for secret in found}
    return tuple(sorted((s for s in found if len(s) > _SHORT), key=len, reverse=True))


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return a text of any origin without ``secrets`` and without credentials of its own."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return redacted(text)
