"""GGUF files are written by :mod:`edgetwin.deploy.export.gguf`; the names are found here too."""

from ...deploy.export.gguf import KINDS, Kind, write_gguf

__all__ = ["KINDS", "Kind", "write_gguf"]
