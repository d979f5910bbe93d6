"""The command ``edgetwin mcp``: parse, open, serve agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import LanguageOption, ModelsOption, needs_extra

if TYPE_CHECKING:
    from ..stream.spec import Opener

__all__ = ["register"]

GetOpeners = Callable[[], "Mapping[str, Opener]"]


def register(app: typer.Typer, openers: GetOpeners = dict) -> None:
    """Add ``mcp`` to the command line; ``openers`` gives further schemes, such as ``sim``."""

    @app.command()
    def mcp(
        sources: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="SOURCE...",
                help="What to watch, as edgetwin serve takes it: a file or folder, rtsp://…, "
                "v4l2:/dev/video0, gst:PIPELINE, sim:cell?seed=7, NAME=SOURCE, @FILE.",
            ),
        ] = None,
        server: Annotated[
            str | None,
            typer.Option(metavar="URL", help="The streams of a running edgetwin serve instead."),
        ] = None,
        token_file: Annotated[
            Path | None,
            typer.Option(help="What that server asks for; else EDGETWIN_TOKEN. chmod 600."),
        ] = None,
        http: Annotated[
            bool, typer.Option("--http", help="Streamable HTTP instead of standard input.")
        ] = False,
        host: Annotated[
            str, typer.Option(help="Where to listen with --http; elsewhere only with a token.")
        ] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="The same; 0: any that is free.")] = 8310,
        http_token_file: Annotated[
            Path | None, typer.Option(help="What agents must show with --http. chmod 600.")
        ] = None,
        allow_host: Annotated[
            list[str] | None, typer.Option(help="Another name of this machine; repeat.")
        ] = None,
        folder: Annotated[
            Path | None,
            typer.Option(
                "-o", "--folder", help="Where streams keep their twins; else nothing is kept."
            ),
        ] = None,
        models: ModelsOption = "embedded",
        language: LanguageOption = None,
        words: Annotated[
            str | None,
            typer.Option(help='What to look for: "mug, red ball". All words if left out.'),
        ] = None,
        fps: Annotated[float, typer.Option(help="Of cameras, simulations and folders.")] = 10.0,
        loop: Annotated[bool, typer.Option(help="Begin files anew when they end.")] = False,
        live: Annotated[
            bool | None, typer.Option(help="Files by their own clock; cameras always are.")
        ] = None,
    ) -> None:
        """Let agents ask, point and track over MCP: read-only tools on live streams.

        An agent's host starts this command and talks over its standard input; it ends with it.
        """
        from ..serve.hiding import hide_arguments

        hide_arguments()
        with needs_extra("mcp"):
            from .opening import AgentOptions, opened
            from .serving import serve_http, serve_stdio
        options = AgentOptions(
            sources=tuple(sources or ()),
            server=server,
            token_file=token_file,
            folder=folder,
            models=models,
            language=language,
            words=words,
            fps=fps,
            loop=loop,
            live=live,
        )
        if not http:
            with opened(options, openers()) as backend:
                serve_stdio(backend)
            return
        with needs_extra("serve"):
            from ..serve.access import Access  # noqa: F401 - told before anything is opened
            from ..serve.config import ServeSettings, read_token
        settings = ServeSettings(
            host=host,
            port=port,
            token=None if http_token_file is None else read_token(http_token_file),
            hosts=tuple(allow_host or ()),
        )
        with opened(options, openers()) as backend:
            serve_http(backend, settings)
