"""Counting for Prometheus, in one process or, with a folder that they share, in several.

The library decides when it is imported: PROMETHEUS_MULTIPROC_DIR must be set before, and the
folder be empty. Labels are bounded: no path, address or id is ever one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ..application.ports.delivery import (
    Backlog,
    Grant,
    JobName,
    Level,
    Metrics,
    RefreshOutcome,
    WebhookResult,
)
from ..domain.audit import AuditResult, AuditType
from ..domain.limits import Rule
from .metric_catalogue import (
    BUILD,
    CONNECTION_TIMEOUTS,
    CONNECTION_WAIT,
    CONNECTIONS,
    CONNECTIONS_MOST,
    DATABASE,
    FAILED,
    HASH_QUEUE,
    HASH_REFUSED,
    HASH_SECONDS,
    IN_FLIGHT,
    ISSUED,
    JOB_SECONDS,
    JOBS,
    KEY_AGE,
    LIMITED,
    LOGINS,
    OLDEST,
    PENDING,
    REFRESHES,
    REGISTRATIONS,
    REQUESTS,
    STORE_LOST,
    TRAIL,
    UNCOUNTED,
    UNDELIVERABLE,
    WEBHOOK_SECONDS,
    WEBHOOKS,
    WEBHOOKS_DISABLED,
    Described,
)

_UNKNOWN_METHOD = "OTHER"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_UNCOUNTED_OUTCOMES = ("let_pass", "refused")
_WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_WEBHOOK_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5)
_JOB_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300, 1800)
_HASH_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class PrometheusMetrics(Metrics):
    """Counts; `render` shows the sum over all processes, whichever of them is asked.

    `folder` is the one that the library was given, or None.
    """

    def __init__(self, version: str, folder: str | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._version = version
        self._folder = folder
        self._registry = CollectorRegistry()
        self._watched: dict[Level, Callable[[], float]] = {}
        self.requests = PrometheusRequests(self._histogram(REQUESTS, _REQUEST_BUCKETS))
        self._in_flight = self._gauge(IN_FLIGHT)
        self._registrations = self._counter(REGISTRATIONS)
        self._logins = self._counter(LOGINS)
        # With a zero from the start: an alert would miss a first count that comes out of nothing.
        trail = self._counter(TRAIL)
        self._trail = {
            (type_, result): trail.labels(type_.value, result.value)
            for type_ in AuditType
            for result in AuditResult
        }
        self._refreshes = _children(self._counter(REFRESHES), RefreshOutcome)
        self._issued = _children(self._counter(ISSUED), Grant)
        self._limited = _children(self._counter(LIMITED), Rule)
        uncounted = self._counter(UNCOUNTED)
        self._uncounted = {
            (rule, outcome): uncounted.labels(rule.value, outcome)
            for rule in Rule
            for outcome in _UNCOUNTED_OUTCOMES
        }
        self._store_lost = self._counter(STORE_LOST)
        self._hash_seconds = self._histogram(HASH_SECONDS, _HASH_BUCKETS)
        self._hash_refused = self._counter(HASH_REFUSED)
        self._connection_wait = self._histogram(CONNECTION_WAIT, _WAIT_BUCKETS)
        self._connection_timeouts = self._counter(CONNECTION_TIMEOUTS)
        jobs = self._counter(JOBS)
        self._jobs = {
            (name, failed): jobs.labels(name.value, "failed" if failed else "done")
            for name in JobName
            for failed in (True, False)
        }
        self._job_seconds = self._histogram(JOB_SECONDS, _JOB_BUCKETS)
        self._webhooks = _children(self._counter(WEBHOOKS), WebhookResult)
        self._webhook_seconds = self._histogram(WEBHOOK_SECONDS, _WEBHOOK_BUCKETS)
        self._webhooks_disabled = self._counter(WEBHOOKS_DISABLED)
        connections = self._gauge(CONNECTIONS)
        self._levels = {
            Level.HASHES_WAITING: self._gauge(HASH_QUEUE),
            Level.CONNECTIONS_USED: connections.labels("used"),
            Level.CONNECTIONS_IDLE: connections.labels("idle"),
            Level.CONNECTIONS_MOST: self._gauge(CONNECTIONS_MOST),
        }
        if self._folder is None:
            ProcessCollector(registry=self._registry)

    def noted(self, type_: AuditType, failure: str | None) -> None:
        result = AuditResult.FAILURE if failure else AuditResult.SUCCESS
        self._trail[type_, result].inc()
        if type_ is AuditType.ACCOUNT_REGISTERED:
            self._registrations.labels(failure or "success").inc()
        elif type_ is AuditType.SESSION_CREATED:
            self._logins.labels("password", "success", "").inc()
        elif type_ is AuditType.SESSION_REFUSED:
            self._logins.labels("password", "failure", failure or "").inc()

    def refreshed(self, outcome: RefreshOutcome) -> None:
        self._refreshes[outcome].inc()

    def issued(self, grant: Grant) -> None:
        self._issued[grant].inc()

    def limited(self, rule: Rule) -> None:
        self._limited[rule].inc()

    def uncounted(self, rule: Rule, *, refused: bool) -> None:
        self._uncounted[rule, _UNCOUNTED_OUTCOMES[refused]].inc()

    def store_lost(self) -> None:
        self._store_lost.inc()

    def hashed(self, operation: str, seconds: float) -> None:
        self._hash_seconds.labels(operation).observe(seconds)

    def hash_refused(self) -> None:
        self._hash_refused.inc()

    def connected(self, seconds: float) -> None:
        self._connection_wait.observe(seconds)

    def not_connected(self) -> None:
        self._connection_timeouts.inc()

    def job_ended(self, name: JobName, seconds: float, *, failed: bool) -> None:
        self._jobs[name, failed].inc()
        self._job_seconds.labels(name.value).observe(seconds)

    def webhook_sent(self, result: WebhookResult, seconds: float) -> None:
        self._webhooks[result].inc()
        self._webhook_seconds.observe(seconds)

    def webhook_disabled(self) -> None:
        self._webhooks_disabled.inc()

    def watch(self, level: Level, read: Callable[[], float]) -> None:
        self._watched[level] = read

    @property
    def is_shared(self) -> bool:
        return self._folder is not None

    def sample(self) -> None:
        """Read the levels of this process; others see them as they were at the last time."""
        self._in_flight.set(self.requests.in_flight)
        for level, read in self._watched.items():
            self._levels[level].set(read())

    def render(self, backlog: Backlog | None) -> bytes:
        """Return the exposition; takes milliseconds, so better in a thread."""
        own = CollectorRegistry(auto_describe=False)
        own.register(_Build(self._version))
        own.register(_Looked(backlog))
        if self._folder is None:
            return generate_latest(self._registry) + generate_latest(own)
        own.register(_Processes(Path(self._folder)))
        shared = CollectorRegistry()
        MultiProcessCollector(shared, self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(shared) + generate_latest(own)

    def serve(self, host: str, port: int) -> None:
        """Answer scrapes of this process alone, in a thread of its own; raises OSError."""
        own = CollectorRegistry(auto_describe=False)
        own.register(_Sampled(self.sample, self._registry))
        own.register(_Build(self._version))
        start_http_server(port, host, own)

    def _counter(self, metric: Described) -> Counter:
        return Counter(metric.name, metric.about, metric.labels, registry=self._registry)

    def _gauge(self, metric: Described) -> Gauge:
        # `live`: what a process leaves behind is taken away by its supervisor.
        return Gauge(
            metric.name,
            metric.about,
            metric.labels,
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def _histogram(self, metric: Described, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            metric.name, metric.about, metric.labels, registry=self._registry, buckets=buckets
        )


class PrometheusRequests:
    """Times requests; the library's own search for labels would cost as much as all the rest."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._observers: dict[tuple[str, str, int], Callable[[float], None]] = {}
        self.in_flight = 0

    def observed(self, method: str, route: str, status: int, seconds: float) -> None:
        key = (method, route, status)
        observe = self._observers.get(key)
        if observe is None:
            known = method if method in _METHODS else _UNKNOWN_METHOD
            observe = self._histogram.labels(known, route, str(status)).observe
            if known == method:
                # Others would fill the memory with names that somebody makes up.
                self._observers[key] = observe
        observe(seconds)


def _children(counter: Counter, labels: Iterable[str]) -> Mapping[str, Counter]:
    return {label: counter.labels(str(label)) for label in labels}


class _Sampled(Collector):
    """Reads the levels before they are shown."""

    def __init__(self, sample: Callable[[], None], registry: Collector) -> None:
        self._sample = sample
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        self._sample()
        return self._registry.collect()


class _Build(Collector):
    """What is the same for every process."""

    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(BUILD.name, BUILD.about, labels=BUILD.labels)
        build.add_metric([self._version], 1)
        yield build


class _Looked(Collector):
    """What a look at the database found, or that it found none."""

    def __init__(self, backlog: Backlog | None) -> None:
        self._backlog = backlog

    def collect(self) -> Iterator[Metric]:
        yield _level(DATABASE, self._backlog is not None)
        if self._backlog is not None:
            yield _level(PENDING, self._backlog.pending)
            yield _level(OLDEST, self._backlog.oldest_seconds)
            yield _level(FAILED, self._backlog.failed)
            yield _level(UNDELIVERABLE, self._backlog.undeliverable)
            ages = GaugeMetricFamily(KEY_AGE.name, KEY_AGE.about, labels=KEY_AGE.labels)
            for state, seconds in self._backlog.key_ages.items():
                ages.add_metric([state.value], seconds)
            yield ages


def _level(metric: Described, value: float) -> Metric:
    return GaugeMetricFamily(metric.name, metric.about, value=value)


class _Processes(Collector):
    """The process metrics of all server processes in sum, and the start of the oldest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        totals: dict[str, Metric] = {}
        for path in self._folder.glob("gauge_livesum_*.db"):
            pid = path.stem.rpartition("_")[2]
            for metric in _of_process(pid):
                total = totals.setdefault(metric.name, metric)
                if total is not metric:
                    _add(total, metric)
        yield from totals.values()


def _of_process(pid: str) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()


def _add(total: Metric, other: Metric) -> None:
    combine = min if total.name.endswith("start_time_seconds") else sum
    first, second = total.samples[0], other.samples[0]
    total.samples[0] = first._replace(value=combine((first.value, second.value)))
