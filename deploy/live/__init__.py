"""Streams left running: sources, perception shared between them, memory, questions, events."""
