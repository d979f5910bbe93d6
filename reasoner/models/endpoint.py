"""A client for any OpenAI-compatible endpoint: chat with texts and pictures, and completions.

What a server sends is data: bounded in size, checked, never run. Every way to fail ends within
the time allowed in a :class:`~edgetwin.twin.errors.ModelError` that says what to do next.
``pip install 'edgetwin[remote]'`` brings the HTTP library::

    endpoint = Endpoint("http://localhost:8080/v1", "qwen2.5-vl", api_key_env="MY_KEY")
    reply = endpoint.chat([Message("user", ("What is this?", Picture(png)))])

The API key goes into the request's header and nowhere else: not into errors, not into ``repr``.
The address comes from the user's configuration only; redirects are not followed, so that
pictures and keys stay with the server that was named.

Not covered: streamed replies, tool calls of the server's own, several choices, name servers that
do not answer (the operating system's own limit holds), requests from several threads at once.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from ...twin.errors import ModelError
from .http import Answered, Broken, TimedOut, open_client, post, tidy_text

__all__ = ["Endpoint", "Message", "Picture", "Reply", "Sampling", "TimedOut", "Usage"]

MAX_REQUEST_BYTES = 32 << 20  # a few large pictures; servers refuse more than this anyway
MAX_REPLY_BYTES = 4 << 20  # a million tokens: more is no answer
_LONGEST_BACKOFF_S = 8.0
_RETRIED = (408, 409, 429, 500, 502, 503, 504, 529)
_LOCAL = ("localhost", "127.0.0.1", "::1")
_ADVICE = {
    400: "check that the model takes what was sent (pictures, grammar, length of the prompt)",
    401: "set the API key in the environment variable that you name with api_key_env",
    403: "use an API key that may use this model",
    404: "check that the base URL ends as the server documents (often /v1) and the model's name",
    413: "send smaller pictures or a shorter prompt",
    422: "check that the model takes what was sent (pictures, grammar, length of the prompt)",
    429: "wait, or raise the server's limits",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture as it is sent: its bytes and their media type."""

    data: bytes
    media_type: Literal["image/png", "image/jpeg"] = "image/png"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat: texts and pictures in order."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | Picture, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate; ``extra`` are further fields of the request body, which win.

    A None among them takes a field out, for servers that refuse it:
    ``{"max_tokens": None, "max_completion_tokens": 512, "temperature": None}``.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens by the server's count; ``cached`` of the prompt's were not computed again."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said.

    ``finish_reason`` is the server's (``"stop"``, ``"length"``, ...); ``stop`` the stop that
    ended it: empty when the server says that none did, None when it does not say.
    """

    text: str
    finish_reason: str
    usage: Usage
    stop: str | None = None


class Endpoint:
    """One model behind one base URL.

    Args:
        base_url: such as ``https://host/v1``; ``/chat/completions`` is appended.
        model: the model's name as the server knows it.
        api_key: the key itself, or None.
        api_key_env: name of the environment variable that holds the key.
        timeout_s: seconds that a call may take, retries included.
        attempts: most requests per call; connection errors, cut replies and the statuses 408,
            409, 429 and 5xx are tried again, waiting as ``Retry-After`` says or 0.5, 1, 2 ... s.
        backoff_s: the first of these waits.
        extra: fields of every request body, such as ``{"top_k": 1}``.
        retry_wait: is told the status (0: no reply) and the seconds to wait before every request
            that is a repetition; returns the seconds to wait instead, or raises to give up.

    Attributes:
        usage: tokens of all calls so far.

    Raises:
        MissingExtraError: at the first call, if the HTTP library is not installed.
        ModelError: if the URL is no plain http or https address, or the key cannot be had.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        api_key_env: str | None = None,
        timeout_s: float = 60.0,
        attempts: int = 3,
        backoff_s: float = 0.5,
        extra: Mapping[str, Any] | None = None,
        retry_wait: Callable[[int, float], float] | None = None,
    ) -> None:
        self.base_url, self._local = _checked_url(base_url)
        if not model or not model.isprintable():
            raise ModelError(
                f"expected the name of the endpoint's model, got {model!r}: give the name that "
                "GET /v1/models lists"
            )
        if timeout_s <= 0 or attempts < 1 or backoff_s < 0:
            raise ModelError(
                "expected timeout_s above 0, attempts of at least 1 and backoff_s of at least 0, "
                f"got {timeout_s}, {attempts} and {backoff_s}"
            )
        self.model = model
        self._key = _key(api_key, api_key_env)
        self.timeout_s, self.attempts, self.backoff_s = timeout_s, attempts, backoff_s
        self._extra = dict(extra or {})
        self._retry_wait = retry_wait or (lambda _, seconds: seconds)
        self.usage = Usage()
        self._client: Any = None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model

    @property
    def sha256(self) -> str:
        """Empty: the weights are not here."""
        return ""

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r}, {self.model!r})"

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling | None = None,
        deadline_s: float | None = None,
    ) -> Reply:
        """Send messages, return the model's; ``deadline_s`` is on ``time.monotonic``'s clock.

        Raises:
            TimedOut: if the time ended first.
            ModelError: if the server cannot be reached, refuses, or sends no usable reply.
        """
        body = {"messages": [_message(message) for message in messages]}
        answer = self._call("/chat/completions", body, sampling or Sampling(), deadline_s)
        message = answer.get("message")
        content = message.get("content") if isinstance(message, dict) else None
        return self._reply(answer, _content(content))

    def complete(
        self,
        prompt: str,
        sampling: Sampling | None = None,
        deadline_s: float | None = None,
    ) -> Reply:
        """Continue a text as it stands, on servers that have ``/completions``; else as :meth:`chat`."""
        body: dict[str, Any] = {"prompt": prompt}
        answer = self._call("/completions", body, sampling or Sampling(), deadline_s)
        return self._reply(answer, _content(answer.get("text")))

    # ---- pieces

    def _call(
        self, path: str, body: dict[str, Any], sampling: Sampling, deadline_s: float | None
    ) -> dict[str, Any]:
        """Return the first choice of the reply, with the reply's ``usage`` beside it."""
        given = {"model": self.model, **body, "max_tokens": sampling.max_tokens}
        given |= {"temperature": sampling.temperature, "stream": False}
        given |= {"stop": list(sampling.stop)} if sampling.stop else {}
        given |= {"seed": sampling.seed} if sampling.seed is not None else {}
        given = {**given, **self._extra, **sampling.extra}
        payload = json.dumps({k: v for k, v in given.items() if v is not None}).encode()
        if len(payload) > MAX_REQUEST_BYTES:
            raise ModelError(
                f"expected a request of at most {MAX_REQUEST_BYTES >> 20} MiB, got "
                f"{len(payload) / 2**20:.1f}: send smaller pictures or a shorter prompt"
            )
        until = time.monotonic() + self.timeout_s
        until = until if deadline_s is None else min(until, deadline_s)
        answered = self._tried(path, payload, until)
        document = self._document(answered)
        choices = document.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise self._wrong("a reply with one choice", self._safe(json.dumps(document)))
        usage = _usage(document.get("usage"))
        old = self.usage
        self.usage = Usage(
            old.prompt + usage.prompt, old.completion + usage.completion, old.cached + usage.cached
        )
        return {**choices[0], "usage": usage}

    def _tried(self, path: str, payload: bytes, until: float) -> Answered:
        """Post until it works, the attempts end or the time does."""
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        if self._client is None:
            self._client = open_client(from_environment=not self._local)
        for attempt in range(1, self.attempts + 1):
            wait = min(self.backoff_s * 2 ** (attempt - 1), _LONGEST_BACKOFF_S)
            try:
                answered = post(
                    self._client,
                    self.base_url + path,
                    payload,
                    headers,
                    until,
                    max_bytes=MAX_REPLY_BYTES,
                )
            except Broken:
                if attempt == self.attempts or time.monotonic() + wait >= until:
                    raise
                wait = self._retry_wait(0, wait)
            else:
                if answered.status == 200:
                    return answered
                asked = answered.retry_after_s
                wait = wait if asked is None else asked
                if answered.status not in _RETRIED or attempt == self.attempts:
                    raise self._refused(answered)
                if time.monotonic() + wait >= until:
                    raise self._refused(
                        answered, f"; it asks to wait {wait:.0f} s" if asked else ""
                    )
                wait = self._retry_wait(answered.status, wait)
            time.sleep(max(0.0, min(wait, until - time.monotonic())))
        raise AssertionError("the last attempt returns or raises")

    def _document(self, answered: Answered) -> dict[str, Any]:
        if "json" not in answered.media_type:
            raise self._wrong(
                "a reply of type application/json",
                f"{answered.media_type or 'no type'}: {self._safe(answered.text)}",
            )
        try:
            document = json.loads(answered.body)
        except (ValueError, RecursionError):
            raise self._wrong("a JSON reply", self._safe(answered.text)) from None
        if not isinstance(document, dict):
            raise self._wrong("a JSON object", self._safe(answered.text))
        return document

    def _reply(self, choice: dict[str, Any], text: str | None) -> Reply:
        if text is None:
            raise self._wrong("a text", self._safe(json.dumps(choice, default=str)))
        finish, stop = choice.get("finish_reason"), None
        if "stop_reason" in choice:  # vLLM: the stop, or null where the model itself ended
            stop = choice["stop_reason"] if isinstance(choice["stop_reason"], str) else ""
        return Reply(text, finish if isinstance(finish, str) else "stop", choice["usage"], stop)

    def _refused(self, answered: Answered, note: str = "") -> ModelError:
        advice = _ADVICE.get(answered.status, "look into the server's log, or try again later")
        if 300 <= answered.status < 400:
            advice = "give the address that it points to as base URL; redirects are not followed"
        said = self._safe(_error_text(answered))
        return ModelError(
            f"expected {self.base_url} to answer, got HTTP {answered.status}"
            f"{f' ({said})' if said else ''}{note}: {advice}"
        )

    def _wrong(self, expected: str, got: str) -> ModelError:
        return ModelError(
            f"expected {expected} from {self.base_url}, got {got or 'nothing'}: check that the "
            "base URL is that of an OpenAI-compatible server"
        )

    def _safe(self, text: str) -> str:
        """A short printable piece of a server's text that surely holds no key."""
        shown = text.replace(self._key, "***") if self._key else text
        return tidy_text(shown)


def _checked_url(base_url: str) -> tuple[str, bool]:
    """Return the URL without a slash at its end, and whether it is this machine's."""
    try:
        parts = urlsplit(base_url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in ("http", "https") or not host or not plain:
        shown = base_url.rpartition("@")[2][:80]
        raise ModelError(
            "expected the endpoint's base URL such as http://localhost:8080/v1, without user, "
            f"password or query, got {shown!r}"
        )
    return base_url.rstrip("/"), host in _LOCAL


def _key(api_key: str | None, api_key_env: str | None) -> str:
    key = api_key if api_key is not None else os.environ.get(api_key_env or "", "")
    key = key.strip()
    if api_key_env and not key:
        raise ModelError(
            f"expected an API key in the environment variable {api_key_env}, got none: "
            f"export {api_key_env}=..."
        )
    if not key.isascii() or not key.isprintable():
        raise ModelError("expected an API key of printable ASCII characters, got others")
    return key


def _message(message: Message) -> dict[str, Any]:
    if all(isinstance(part, str) for part in message.parts):
        return {"role": message.role, "content": "".join(map(str, message.parts))}
    return {"role": message.role, "content": [_part(part) for part in message.parts]}


def _part(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    data = base64.b64encode(part.data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{data}"}}


def _content(content: Any) -> str | None:
    """The text of a message: a string, or a list of text parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        texts = [text for text in parts if isinstance(text, str)]
        return "".join(texts) if texts else None
    return content if isinstance(content, str) else None


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(_whole(usage.get("prompt_tokens")), _whole(usage.get("completion_tokens")), _whole(cached))  # fmt: skip


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**40 else 0


def _error_text(answered: Answered) -> str:
    """What the server says went wrong: OpenAI's ``error.message``, else the body."""
    try:
        document = json.loads(answered.body)
    except (ValueError, RecursionError):
        return answered.text
    error = document.get("error", document) if isinstance(document, dict) else document
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else answered.text
