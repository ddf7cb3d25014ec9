"""Argon2 on this machine: what it takes, and how many people that lets in."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...adapters.argon2 import Argon2PasswordHasher
from ...application.hash_costs import HashCost, Speed, measure
from ..settings import PREFIX, Settings
from .findings import Finding, failed, ok, skipped, warning

_SECONDS = 0.5
_CGROUP = Path("/sys/fs/cgroup")
_MIB = 1024 * 1024
# OWASP: less than a second a hash. Who waits longer than this for a queue has gone away.
_SLOW_SECONDS = 1.0
_LONG_QUEUE_SECONDS = 5.0
_MEMORY = f"{PREFIX}PASSWORD__MEMORY_KIB"


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores and bytes of memory that this process may use; None where nobody says."""

    cores: int
    memory: int | None

    @classmethod
    def read(cls, cgroup: Path = _CGROUP) -> "Machine":
        """Ask the system, and the container's limits where there are some."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        cores = cores or os.cpu_count() or 1
        quota = _words(cgroup / "cpu.max")
        if len(quota) == 2 and quota[0].isdecimal():
            cores = min(cores, max(1, round(int(quota[0]) / int(quota[1]))))
        limits = [_words(cgroup / "memory.max"), _words(cgroup / "memory/memory.limit_in_bytes")]
        sizes = [int(words[0]) for words in limits if words and words[0].isdecimal()]
        return cls(cores, min([*sizes, *_installed()], default=None))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []


def _installed() -> Iterator[int]:
    try:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return


def hashes_at_once(settings: Settings) -> int:
    """Count the hashes that all server processes of an instance run together."""
    return settings.hash_concurrency * settings.http.workers


async def speed_of(
    cost: HashCost, at_once: int, *, parallelism: int = 1, seconds: float = _SECONDS
) -> Speed:
    """Measure on this machine, with threads that yield as the service's do."""
    hasher = Argon2PasswordHasher(
        memory_kib=cost.memory_kib,
        time_cost=cost.time_cost,
        parallelism=parallelism,
        concurrency=at_once,
        queue=at_once,
    )
    try:
        return await measure(hasher, at_once=at_once, seconds=seconds, clock=time.perf_counter)
    finally:
        hasher.close()


async def measured(settings: Settings, machine: Machine) -> Speed | None:
    """Measure the settings in force; None where that would take the machine's memory."""
    at_once = hashes_at_once(settings)
    needed = at_once * settings.password.memory_kib * 1024
    if machine.memory is not None and needed > machine.memory / 2:
        return None
    password = settings.password
    cost = HashCost(password.memory_kib, password.time_cost)
    return await speed_of(cost, at_once, parallelism=password.parallelism)


def judge_hashing(settings: Settings, machine: Machine, speed: Speed | None) -> Iterator[Finding]:
    """Say what the measured speed means: sign-ins a second, waiting, memory."""
    at_once = hashes_at_once(settings)
    needed = at_once * settings.password.memory_kib * 1024
    yield _memory(needed, at_once, machine)
    if at_once > machine.cores:
        yield warning(
            "cores",
            f"{at_once} hashes at once, but {machine.cores} cores to use",
            f"Set {PREFIX}PASSWORD__CONCURRENCY to cores / workers.",
        )
    if speed is None:
        yield skipped("hashing", "not measured: it would take the machine's memory")
        return
    yield _hashing(settings, speed)


def _memory(needed: int, at_once: int, machine: Machine) -> Finding:
    says = f"{_mib(needed)} when all {at_once} hash at once"
    instead = f"Lower {_MEMORY} or the concurrency."
    numbers = {"needed_mib": round(needed / _MIB, 1)}
    if machine.memory is None:
        return ok("hash memory", says, **numbers)
    says += f", of {_mib(machine.memory)}"
    numbers["machine_mib"] = round(machine.memory / _MIB)
    if needed > machine.memory:
        return failed("hash memory", says, instead, **numbers)
    if needed > machine.memory / 2:
        return warning("hash memory", says, instead, **numbers)
    return ok("hash memory", says, **numbers)


def _hashing(settings: Settings, speed: Speed) -> Finding:
    waiting = settings.password.queue * settings.http.workers / speed.a_second
    says = (
        f"Argon2id takes {speed.median_seconds * 1000:.0f} ms with {speed.at_once} at once:"
        f" {speed.a_second:.1f} sign-ins a second at most; a full queue waits {waiting:.1f} s"
    )
    numbers = {
        "sign_ins_a_second": round(speed.a_second, 2),
        "median_ms": round(speed.median_seconds * 1000, 1),
        "at_once": speed.at_once,
        "full_queue_seconds": round(waiting, 2),
    }
    if speed.median_seconds > _SLOW_SECONDS:
        return warning("hashing", says, "gatepost hash calibrate", **numbers)
    if waiting > _LONG_QUEUE_SECONDS:
        instead = f"Lower {PREFIX}PASSWORD__QUEUE: who would wait that long is refused before."
        return warning("hashing", says, instead, **numbers)
    return ok("hashing", says, **numbers)


def _mib(size: int) -> str:
    return f"{size / _MIB:,.0f} MiB"
