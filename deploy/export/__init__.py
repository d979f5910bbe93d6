"""Exporters to other runtimes."""
