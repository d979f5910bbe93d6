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
# Up to the last @ of a word, quoted or not: a password may hold / : and @ itself.
_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*://)(?P<info>[^\s\"'<>]*)@")
_PROPERTY = re.compile(
    rf"(?P<name>(?<![\w-]){_NAME})(?P<is>\s*=\s*)(?P<value>\"[^\"]*\"?|'[^']*'?|[^\s&!;#]+)", re.I
)


def redacted(text: str) -> str:
    """Return any text with ``***`` for the credentials in its URLs, queries and pipelines."""
    text = _USERINFO.sub(rf"\g<scheme>{_HIDDEN}@", text)
    return _PROPERTY.sub(rf"\g<name>\g<is>{_HIDDEN}", text)


def secrets_of(text: str) -> tuple[str, ...]:
    """Return the credentials in a text, as written and percent-decoded, longest first."""
    found: set[str] = set()
    for match in _USERINFO.finditer(text):
        user, _, password = match["info"].partition(":")
        found |= {match["info"], password} if password else {user}
        found |= set(re.split("[@/:?#]", password))  # an error may hold what a parser made of it
    found |= {m["value"].strip("\"'") for m in _PROPERTY.finditer(text)}
    found |= {unquote(secret) for secret in found}
    return tuple(sorted((s for s in found if len(s) > _SHORT), key=len, reverse=True))


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return a text of any origin without ``secrets`` and without credentials of its own."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return redacted(text)
