"""Who may talk to the server: ``Host``, ``Origin`` and token of everything, WebSockets too.

One layer before all routes, so that no route can forget it. A page of another site cannot read
or change anything, by DNS rebinding (its name is in ``Host``), by a form or script (its name is
in ``Origin``), or by an embedded picture (``Sec-Fetch-Site``).

Not covered: telling users apart; there is one token, and it may do everything.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .config import ServeSettings
from .errors import refusal

__all__ = ["COOKIE", "OPEN_PATHS", "Access", "Logins", "cookie_of"]

COOKIE = "edgetwin_session"
OPEN_PATHS: frozenset[str] = frozenset({"/", "/healthz", "/readyz", "/favicon.ico", "/api/login"})
_OPEN_PREFIX = "/static/"  # the page itself, which asks for the token
_LOGIN_S = 12 * 3600.0  # a working day


class Logins:
    """Page sessions: a random name each, not the token; the newest ``most`` are remembered."""

    def __init__(self, token: str | None, most: int) -> None:
        self._digest = None if token is None else _digest(token)
        self._most = most
        self._until: OrderedDict[str, float] = OrderedDict()  # bounded by ``most``

    @property
    def needed(self) -> bool:
        """Whether a token is asked for."""
        return self._digest is not None

    def right(self, token: str) -> bool:
        """Whether this is the token; takes as long for any other."""
        return self._digest is not None and hmac.compare_digest(_digest(token), self._digest)

    def begin(self) -> tuple[str, int]:
        """Return a new session's name and how many seconds it holds."""
        name = secrets.token_urlsafe(32)
        self._until[_digest(name).hex()] = time.monotonic() + _LOGIN_S
        while len(self._until) > self._most:
            self._until.popitem(last=False)
        return name, int(_LOGIN_S)

    def holds(self, name: str) -> bool:
        """Whether a session of that name is there and not over."""
        return self._until.get(_digest(name).hex(), 0.0) > time.monotonic()

    def end(self, name: str) -> None:
        """Forget a session."""
        self._until.pop(_digest(name).hex(), None)


class Access:
    """ASGI layer that lets only the operator's own requests through."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, logins: Logins) -> None:
        self._app, self._settings, self._logins = app, settings, logins
        own = {"localhost", settings.host, *settings.hosts}
        self._hosts = frozenset(name.strip("[]").lower() for name in own)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        refused = self._refused(scope, Headers(scope=scope))
        if refused is None:
            return await self._app(scope, receive, send)
        return await refusal(scope, receive, send, *refused)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        """Return status, code and message of a request that may not pass."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._known(hosts[0]):
            return 421, "host", "this server has another name; --allow-host adds one"
        if not self._own_page(scope, headers, hosts[0]):
            return 403, "origin", "pages of other sites may not call this server"
        path = str(scope["path"])
        if path in OPEN_PATHS or path.startswith(_OPEN_PREFIX) or not self._logins.needed:
            return None
        if self._signed_in(headers):
            return None
        return 401, "token", "expected Authorization: Bearer TOKEN, or a login of the page"

    def _known(self, host: str) -> bool:
        """Whether a ``Host`` is this server; an address cannot be rebound, a name can."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if name is None or parts.path or parts.query or parts.fragment or "@" in host:
            return False
        if name in self._hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._settings.loopback

    def _own_page(self, scope: Scope, headers: Headers, host: str) -> bool:
        """Whether no page asks, or one of this server."""
        origins = headers.getlist("origin")
        if origins:
            own = {f"{scheme}://{host}".lower() for scheme in ("http", "https")}
            allowed = own | {origin.lower() for origin in self._settings.origins}
            return len(origins) == 1 and origins[0].lower() in allowed
        site = headers.get("sec-fetch-site", "none")
        if site in ("none", "same-origin"):
            return True
        visiting = headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        return visiting and scope.get("method") in ("GET", "HEAD")

    def _signed_in(self, headers: Headers) -> bool:
        given = headers.getlist("authorization")
        if given:
            scheme, _, token = given[0].partition(" ")
            return len(given) == 1 and scheme.lower() == "bearer" and self._logins.right(token)
        return self._logins.holds(cookie_of(headers))


def cookie_of(headers: Headers) -> str:
    """Return the page session's name that a request carries, or nothing."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _digest(text: str) -> bytes:
    """Equal lengths for the comparison, whatever came."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
