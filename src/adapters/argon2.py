"""Password hashes with Argon2id, in threads of their own behind a bounded queue.

Those of other systems are verified in the same threads, until their owners sign in.
"""

import asyncio
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher as Argon2
from argon2 import Type
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.low_level import hash_secret_raw

from ..application.ports.delivery import Level, Metrics
from ..application.ports.security import AdoptedHash, PasswordHasher
from ..domain.errors import Overloaded

if TYPE_CHECKING:
    from .foreign_hashes import ForeignHash

T = TypeVar("T")

_NICENESS = 10
_OURS = "$argon2id$"
_PORTABLE = "gatepost"
# How much one measurement moves the average.
_WEIGHT = 0.1
# A sign-in by address hashes twice and must be done within the time that a request has: on a
# machine that is busy with other things all would otherwise be hashed just to be given up.
_LONGEST_WAIT = 1.5
_CACHED = 0.1


@dataclass(slots=True)
class _Place:
    """A place in the queue: held by its caller, or taken by the hash that he waits for."""

    is_held: bool = True
    is_open: bool = True


_place: ContextVar[_Place | None] = ContextVar("argon2_place", default=None)


class Argon2PasswordHasher(PasswordHasher):
    """Argon2id (RFC 9106); the defaults are the floor that OWASP names.

    `concurrency`: hashes at once, each `memory_kib` large; more than there are cores makes every
    one dearer. `queue`: how many may wait beyond those; the next caller gets Overloaded.
    """

    def __init__(
        self,
        *,
        memory_kib: int = 19456,
        time_cost: int = 2,
        parallelism: int = 1,
        concurrency: int | None = None,
        queue: int = 16,
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics
        if metrics is not None:
            metrics.watch(Level.HASHES_WAITING, lambda: self.waiting)
        self._argon2 = Argon2(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism, type=Type.ID
        )
        self._concurrency = concurrency or os.cpu_count() or 1
        self._limit = self._concurrency + queue
        self._admitted = 0
        self._held = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(
            self._concurrency, thread_name_prefix="argon2", initializer=_step_back
        )
        spent, passed = _stopwatch(parallelism > 1), _stopwatch(True)
        self._decoy = self._argon2.hash(secrets.token_bytes(32))
        self._usual = spent()
        # By the wall's clock: what is waited for is the machine as it is.
        self._lately = passed()

    def demand_room(self) -> None:
        if self._admitted + self._held < self._limit and not self._is_slow():
            return
        if self._metrics is not None:
            self._metrics.hash_refused()
        raise Overloaded

    @contextmanager
    def place(self) -> Iterator[None]:
        with self._lock:
            self.demand_room()
            self._held += 1
        place = _Place()
        token = _place.set(place)
        try:
            yield
        finally:
            _place.reset(token)
            with self._lock:
                self._held -= place.is_held
                place.is_open = place.is_held = False

    async def hash(self, password: str) -> str:
        return await self._run("hash", lambda: self._argon2.hash(_encode(password)))

    async def verify(self, password: str, encoded: str | None) -> bool:
        return await self._run("verify", lambda: self._matches(password, encoded))

    def needs_rehash(self, encoded: str) -> bool:
        try:
            return self._argon2.check_needs_rehash(encoded)
        except (InvalidHashError, ValueError):
            return True

    def adopt(self, given: str | Mapping[str, object]) -> AdoptedHash:
        from . import foreign_hashes

        memory_kib, time_cost = self._argon2.memory_cost, self._argon2.time_cost
        ours = foreign_hashes.argon2_ms(memory_kib, time_cost)
        if isinstance(given, str) and given.startswith(_PORTABLE + _OURS):
            phc = given.removeprefix(_PORTABLE)
            known = foreign_hashes.own(phc, memory_kib, time_cost)
            return AdoptedHash(phc, is_slower=known.milliseconds > ours)
        found = foreign_hashes.adopt(given)
        # A password beyond ASCII is tried twice, and whoever guesses chooses it.
        return AdoptedHash(
            str(found), is_slower=found.milliseconds * foreign_hashes.SPELLINGS > ours
        )

    def portable(self, encoded: str) -> str:
        return _PORTABLE + encoded if encoded.startswith(_OURS) else encoded

    @property
    def running(self) -> int:
        return min(self._admitted, self._concurrency)

    @property
    def waiting(self) -> int:
        return max(0, self._admitted - self._concurrency)

    def close(self) -> None:
        """Drop who waits, and return when the hashes under way are done."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _matches(self, password: str, encoded: str | None) -> bool:
        secret = _encode(password)
        if encoded is not None and encoded.startswith(_OURS):
            spent = _stopwatch(_has_lanes(encoded))
            try:
                return self._argon2.verify(encoded, secret)
            except VerifyMismatchError:
                # It may be of lower parameters, from before they were raised.
                if self.needs_rehash(encoded):
                    self._top_up(spent())
                return False
            except (InvalidHashError, VerificationError, ValueError):
                pass  # Cannot be parsed: costs what every other hash costs.
        elif encoded is not None and (foreign := _foreign(encoded)) is not None:
            return self._matches_foreign(password, foreign)
        self._spend(secret)
        return False

    def _matches_foreign(self, password: str, foreign: "ForeignHash") -> bool:
        from .foreign_hashes import spellings

        spent = _stopwatch(_has_lanes(str(foreign)))
        try:
            right = any(foreign.matches(one) for one in spellings(password))
        except (ValueError, MemoryError):
            right = False  # A library may know better than we what is whole.
        self._top_up(spent())
        return right

    def _top_up(self, spent: float) -> None:
        """Go on for the rest of the usual time, on the processor as ever: a pause would show.

        Argon2's time goes with its memory, but less of it is a little faster than its share.
        """
        left = 1 - spent / self._usual
        lanes = self._argon2.parallelism
        memory_kib = int(self._argon2.memory_cost * (left + _CACHED * left * (1 - left)))
        if memory_kib < 8 * lanes:
            return
        hash_secret_raw(b"", bytes(16), self._argon2.time_cost, memory_kib, lanes, 32, Type.ID)

    def _spend(self, secret: bytes) -> None:
        spent = _stopwatch(_has_lanes(self._decoy))
        with suppress(VerifyMismatchError):
            self._argon2.verify(self._decoy, secret)
        self._usual += _WEIGHT * (spent() - self._usual)

    async def _run(self, operation: str, work: Callable[[], T]) -> T:
        place = _place.get()
        with self._lock:
            if place is not None and place.is_held:
                place.is_held = False
                self._held -= 1
            else:
                self.demand_room()
            self._admitted += 1
        try:
            future = self._pool.submit(self._timed, operation, work)
        except RuntimeError:
            self._release(place)
            raise
        # The place is free when the thread is, not when the caller goes away: a client that
        # hangs up again and again would otherwise fill the machine past the bound.
        future.add_done_callback(lambda _: self._release(place))
        return await asyncio.wrap_future(future)

    def _is_slow(self) -> bool:
        """Tell whether who waits next would wait for too long; one a thread may always wait."""
        longest = max(_LONGEST_WAIT / self._lately, 1.0)
        return self.waiting >= longest * self._concurrency

    def _timed(self, operation: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return work()
        finally:
            seconds = time.perf_counter() - started
            self._lately += _WEIGHT * (seconds - self._lately)
            if self._metrics is not None:
                self._metrics.hashed(operation, seconds)

    def _release(self, place: _Place | None) -> None:
        with self._lock:
            self._admitted -= 1
            if place is not None and place.is_open and not place.is_held:
                # Its holder may have another to hash.
                place.is_held = True
                self._held += 1


def _has_lanes(encoded: str) -> bool:
    return "$argon2" in encoded and ",p=1$" not in encoded


def _stopwatch(has_lanes: bool) -> Callable[[], float]:
    """Time this thread: other work on the machine must not stretch it.

    With several lanes other threads do the work, which only the wall's clock sees.
    """
    clock = time.perf_counter if has_lanes else time.thread_time
    started = clock()
    return lambda: clock() - started


def _step_back() -> None:
    """Let requests go before hashes; on Linux niceness belongs to the single thread."""
    if sys.platform == "linux":
        os.nice(_NICENESS)


def _encode(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _foreign(stored: str) -> "ForeignHash | None":
    # Late: most services have taken over no accounts.
    from .foreign_hashes import read

    return read(stored)
