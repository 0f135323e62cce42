"""Counters and histograms of a server, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
FACTORS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)


class Metrics:
    """The metrics of one server; a registry of its own, so that a process may have several."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self.requests = Counter(
            "asr_requests", "Answered requests.", ["protocol", "status"], registry=registry
        )
        self.audio = Counter(
            "asr_audio_seconds", "Seconds of transcribed audio.", ["protocol"], registry=registry
        )
        self.factor = Histogram(
            "asr_real_time_factor",
            "Seconds from the end of an upload to its transcript, per second of audio.",
            buckets=FACTORS,
            registry=registry,
        )
        self.stages = Histogram(
            "asr_stage_seconds",
            "Duration of a stage; those with live_ are of packets of live connections.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.answers = Histogram(
            "asr_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["protocol"],
            buckets=SECONDS,
            registry=registry,
        )

    def follow(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A gauge whose value is asked for when the metrics are read."""
        Gauge(name, help, registry=self.registry).set_function(value)

    def observe(self, stage: str, seconds: float) -> None:
        """The duration of a stage."""
        self.stages.labels(stage).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
