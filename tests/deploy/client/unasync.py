"""``async_client.py`` is ``client.py`` with waiting made asynchronous: this makes the one of the other.

    python tests/deploy/client/unasync.py

A test holds the two together, so that the clients cannot differ.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "deploy" / "client"
_CHANGES = [
    (r'"""The Python client of a running server::.*?\n"""\n', '"""The asynchronous client: made from ``client.py`` by ``tests/deploy/client/unasync.py``."""\n'),
    (r"\bClient\b", "AsyncClient"),
    (r"http_library\(\)\.AsyncClient", "http_library().AsyncClient"),
    (r"Talks to one server; may be used from several threads\.", "Talks to one server, in one event loop; see :class:`~edgetwin.deploy.client.Client`."),
    (r"    def (?!__init__|__repr__)", "    async def "),
    (r"__enter__", "__aenter__"),
    (r"__exit__", "__aexit__"),
    (r"Generator\[(\w+), None, None\]", r"AsyncGenerator[\1, None]"),
    (r"Callable, Generator, Iterable", "AsyncGenerator, Awaitable, Callable, Iterable"),
    (r"with closing\(", "async with aclosing("),
    (r"import closing", "import aclosing"),
    (r"for found in messages", "async for found in messages"),
    (r"(?<!await )self\._(call|again|once|missed)\(", r"await self._\1("),
    (r"self\.(history|events)\(", r"await self.\1("),
    (r"lambda: call\.read\(await self\._once\(call\)\)", "lambda: self._read(call)"),
    (r"lambda: await self\._once", "lambda: self._once"),
    (r"send: Callable\[\[\], T\]", "send: Callable[[], Awaitable[T]]"),
    (r"return send\(\)", "return await send()"),
    (r"self\.close\(\)", "await self.close()"),
    (r"self\._http\.close\(\)", "await self._http.aclose()"),
    (r"time\.sleep", "await asyncio.sleep"),
    (r"sync\.client", "asyncio.client"),
    (r"            with library", "            async with library"),
    (r"socket\.close\(\)", "await socket.close()"),
    (r"            with self\._http", "            async with self._http"),
    (r"for piece in response\.iter_bytes", "async for piece in response.aiter_bytes"),
    (r"message\(socket\.recv\(self\._server\.timeout_s\)\)", "message(await self._receive(socket))"),
    (r"            yield from found\.rows\n", "            for row in found.rows:\n                yield row\n"),
    (r"import math\nimport time\n", "import asyncio\nimport math\nimport time\n"),
]  # fmt: skip
_READ = """
    async def _read(self, call: Call[T]) -> T:
        return call.read(await self._once(call))

    async def _receive(self, socket: Any) -> str | bytes:
        async with asyncio.timeout(self._server.timeout_s):
            found: str | bytes = await socket.recv()
            return found
"""


def asynchronous(source: str) -> str:
    """Return the text of the asynchronous client."""
    for pattern, text in _CHANGES:
        source = re.sub(pattern, text, source, flags=re.DOTALL if "::." in pattern else 0)
    return formatted(source + _READ)


def formatted(source: str) -> str:
    """Return a source as ruff formats it here."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(FOLDER / "x.py"), "-"],
        input=source, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


if __name__ == "__main__":
    made = asynchronous((FOLDER / "client.py").read_text(encoding="utf-8"))
    (FOLDER / "async_client.py").write_text(made, encoding="utf-8")
