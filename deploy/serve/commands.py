"""The command ``edgetwin serve``: parse, open, serve."""

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
    """Add ``serve`` to the command line; ``openers`` gives further schemes, such as ``sim``."""

    @app.command()
    def serve(
        sources: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="SOURCE...",
                help="A file or folder, rtsp://…, v4l2:/dev/video0, gst:PIPELINE, sim:cell?seed=7; "
                "NAME=SOURCE names its stream, @FILE reads sources from a file, one in a line.",
            ),
        ] = None,
        host: Annotated[
            str, typer.Option(help="Where to listen; beyond this machine only with a token.")
        ] = "127.0.0.1",
        port: Annotated[int, typer.Option(help="0: any that is free.")] = 8300,
        token_file: Annotated[
            Path | None,
            typer.Option(help="What requests must show; else EDGETWIN_TOKEN. chmod 600."),
        ] = None,
        folder: Annotated[
            Path, typer.Option("-o", "--folder", help="Where streams keep their twins and clips.")
        ] = Path("edgetwin-live"),
        models: ModelsOption = "embedded",
        language: LanguageOption = None,
        words: Annotated[
            str | None,
            typer.Option(
                help='What to look for: "mug, red ball". All words of the set if left out.'
            ),
        ] = None,
        fps: Annotated[
            float, typer.Option(help="Asked of cameras and simulations; the rate of folders.")
        ] = 10.0,
        loop: Annotated[bool, typer.Option(help="Begin files anew when they end.")] = False,
        live: Annotated[
            bool | None,
            typer.Option(help="Files by their own clock, dropping frames; cameras always do."),
        ] = None,
        record: Annotated[bool, typer.Option(help="Keep twins on disk.")] = True,
        keep_hours: Annotated[float, typer.Option(min=0.01, help="Of what is recorded.")] = 24.0,
        keep_mb: Annotated[int, typer.Option(min=4, help="The same, for each stream.")] = 2048,
        allow: Annotated[
            list[str] | None,
            typer.Option(help="Kinds that may be added over HTTP; repeat. rtsp and simulated."),
        ] = None,
        media: Annotated[
            Path | None, typer.Option(help="Files below this folder may be added over HTTP.")
        ] = None,
        allow_host: Annotated[
            list[str] | None, typer.Option(help="Another name of this server; repeat.")
        ] = None,
        allow_origin: Annotated[
            list[str] | None, typer.Option(help="Another page that may call; repeat.")
        ] = None,
        webhook: Annotated[
            list[str] | None,
            typer.Option(
                help="Host or URL prefix that events may be sent to; repeat. "
                "EDGETWIN_WEBHOOK_SECRET signs them."
            ),
        ] = None,
        tls_cert: Annotated[Path | None, typer.Option(help="Certificate, PEM.")] = None,
        tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
        report_s: Annotated[
            float, typer.Option(min=0, help="Seconds between lines of counts; 0: none.")
        ] = 60.0,
    ) -> None:
        """Leave streams running: a page, an API, questions at any time, events.

        Ctrl-C or SIGTERM ends it: questions being answered finish first.
        """
        from .hiding import hide_arguments

        hide_arguments()
        with needs_extra("serve"):
            from .serving import ServeOptions, serve_until_told
        options = ServeOptions(
            sources=tuple(sources or ()),
            host=host,
            port=port,
            token_file=token_file,
            folder=folder,
            models=models,
            language=language,
            words=words,
            fps=fps,
            loop=loop,
            live=live,
            record=record,
            keep_hours=keep_hours,
            keep_mb=keep_mb,
            allow=tuple(allow or ()),
            media=media,
            hosts=tuple(allow_host or ()),
            origins=tuple(allow_origin or ()),
            webhooks=tuple(webhook or ()),
            certificate=_both(tls_cert, tls_key),
            report_s=report_s,
        )
        serve_until_told(options, openers())


def _both(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise typer.BadParameter("expected --tls-cert and --tls-key together, got one of them")
    return certificate, key
