"""The metrics of a server for Prometheus; they hold neither names nor audio."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# In seconds: a clip takes some 20 ms, an hour's timeline minutes.
_LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_PASS_BUCKETS = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("emospec_requests", "Requests.", labels, registry=registry)
        self.latency = Histogram(
            "emospec_request_seconds", "From request to answer.", ["route"], buckets=_LATENCY_BUCKETS, registry=registry
        )  # fmt: skip
        self.passes = Histogram(
            "emospec_batch_size", "Waveforms in a pass.", buckets=_PASS_BUCKETS, registry=registry
        )
        self.audio = Counter("emospec_audio_seconds", "Audio that was decoded, s.", registry=registry)
        codes = ["code"]
        self.failures = Counter("emospec_decode_failures", "Recordings not read.", codes, registry=registry)
        self.lost = Counter("emospec_decoders_lost", "Decoders that died or were stopped.", registry=registry)
        self.waiting = Gauge("emospec_queue_depth", "Requests that wait for an answer.", registry=registry)
        self.streams = Gauge("emospec_streams", "Streams that are open.", registry=registry)
        self.held_bytes = Gauge("emospec_held_bytes", "Bytes of requests that are held.", registry=registry)

    def text(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self._registry)
