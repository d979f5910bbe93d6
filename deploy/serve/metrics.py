"""What Prometheus reads: streams as they are at the scrape, questions as they were counted.

A registry of its own, so that two servers in one process, or a program's own figures, do not mix.

Not covered: labels beyond streams and reasons; addresses and questions are never labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from ..live.records import StreamStatus
    from .state import Serving

__all__ = ["Metrics"]

_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics(Collector):
    """Figures of one server."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self.answers = Counter(
            "edgetwin_answers", "Questions answered, by status.", ["status"], registry=self.registry
        )
        self.answer_seconds = Histogram(
            "edgetwin_answer_seconds",
            "From a question's arrival to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.events = Counter(
            "edgetwin_events", "Events of standing questions.", ["stream"], registry=self.registry
        )
        self.skipped = Counter(
            "edgetwin_viewer_frames_dropped",
            "Frames and twins that slow viewers did not get.",
            ["by"],
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Figures that are read when asked for."""
        hub = getattr(self._serving, "hub", None)
        if hub is None:  # the registry looks once while the server is being made
            return
        yield from _streams([stream.status() for stream in hub.streams()])
        serving = self._serving
        used = GaugeMetricFamily(
            "edgetwin_places_used", "Places taken, of those that are bounded.", labels=["of"]
        )
        refused = CounterMetricFamily(
            "edgetwin_refused", "Requests refused because all places were taken.", labels=["of"]
        )
        for name in ("questions", "sockets", "viewers", "peers"):
            slots = getattr(serving, name)
            used.add_metric([name], slots.used)
            refused.add_metric([name], slots.refused)
        yield used
        yield refused
        asked = GaugeMetricFamily(
            "edgetwin_questions", "Questions at the language model, by state.", labels=["state"]
        )
        for state, count in hub.load()["questions"].items():
            asked.add_metric([state], count)
        yield asked


def _streams(statuses: list[StreamStatus]) -> Iterator[Metric]:
    frames = CounterMetricFamily(
        "edgetwin_frames", "Frames by what became of them.", labels=["stream", "fate"]
    )
    fps = GaugeMetricFamily("edgetwin_fps", "Twins a second.", labels=["stream"])
    age = GaugeMetricFamily("edgetwin_age_seconds", "Age of the newest twin.", labels=["stream"])
    waiting = GaugeMetricFamily(
        "edgetwin_frames_in_flight", "Frames waiting or being perceived.", labels=["stream"]
    )
    objects = GaugeMetricFamily("edgetwin_objects", "Objects in sight.", labels=["stream"])
    running = GaugeMetricFamily(
        "edgetwin_source_state", "1 for the state that a source is in.", labels=["stream", "state"]
    )
    reconnects = CounterMetricFamily(
        "edgetwin_source_reconnects", "Times a source came back.", labels=["stream"]
    )
    stored = GaugeMetricFamily("edgetwin_stored_bytes", "Of a stream's memory.", labels=["stream"])
    for status in statuses:
        for fate, count in {
            "read": status.frames.read,
            "processed": status.frames.processed,
            **{f"dropped_{reason}": n for reason, n in status.frames.dropped.items()},
        }.items():
            frames.add_metric([status.id, fate], count)
        fps.add_metric([status.id], status.fps)
        if status.age_ms is not None:
            age.add_metric([status.id], status.age_ms / 1e3)
        waiting.add_metric([status.id], status.frames.in_flight)
        objects.add_metric([status.id], status.objects)
        running.add_metric([status.id, status.source.state], 1)
        reconnects.add_metric([status.id], status.source.reconnects)
        stored.add_metric([status.id], status.stored_bytes)
    yield from (frames, fps, age, waiting, objects, running, reconnects, stored)
