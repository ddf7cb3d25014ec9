"""Access tokens checked away from the service: for async programs, and for threads."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import httpx2

from ..adapters.signed_tokens import UnknownKey
from ..domain.errors import AccessTokenInvalid, GatepostError, InsufficientScope, Unavailable
from ..domain.tokens import AccessClaims, TokenPolicy
from .keys import UNREADABLE, KeyCachePolicy, PublishedKeys
from .problems import Problem
from .reasons import reason_of

MAX_LEEWAY = timedelta(seconds=60)
_FETCH_SECONDS = 3.0
_log = logging.getLogger("gatepost.verifier")
Fetched = TypeVar("Fetched")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(kw_only=True, eq=False, repr=False)
class _Checks(Generic[Fetched]):
    """What is done without waiting for anything."""

    issuer: str
    audience: str
    jwks_url: str = ""
    leeway: timedelta = timedelta(seconds=10)
    times: KeyCachePolicy = field(default_factory=KeyCachePolicy)
    cache: int = 4096
    fetch: Callable[[], Fetched] | None = None
    now: Callable[[], datetime] = _utc_now
    seconds: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if not timedelta(0) <= self.leeway <= MAX_LEEWAY:
            raise ValueError("The leeway is between 0 and 60 seconds.")
        # An empty one, as from a setting that is missing, would refuse every token without a word.
        if not self.issuer or not self.audience:
            raise ValueError("Issuer and audience say whose tokens are taken, and for whom.")
        self.jwks_url = self.jwks_url or f"{self.issuer.rstrip('/')}/.well-known/jwks.json"
        policy = TokenPolicy(issuer=self.issuer, audience=self.audience)
        self._keys = PublishedKeys(policy, self.times, self.cache, self.seconds)

    def problem(self, refused: GatepostError) -> Problem:
        """Say a refusal as HTTP does (RFC 9457, RFC 6750)."""
        return Problem.of(refused, self.issuer)

    def _check(self, token: str, scopes: tuple[str, ...]) -> AccessClaims:
        try:
            return self._checked(token, scopes)
        except AccessTokenInvalid:
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("token refused: %s", reason_of(token, self.issuer, self.audience))
            raise

    def _checked(self, token: str, scopes: tuple[str, ...]) -> AccessClaims:
        dated, now = self._keys.demand().check(token), self.now()
        if now + self.leeway < dated.not_before or now - self.leeway >= dated.claims.expires_at:
            raise AccessTokenInvalid
        held = dated.claims.scope.split()
        for scope in scopes:
            if scope not in held:
                raise InsufficientScope(scope)
        return dated.claims

    def _check_again(self, token: str, scopes: tuple[str, ...]) -> AccessClaims:
        """Check after a reading; who cannot know whether a key exists does not say that not."""
        try:
            return self._check(token, scopes)
        except UnknownKey:
            if self._keys.is_behind:
                raise Unavailable(UNREADABLE) from None
            raise

    def _failed(self, error: Exception) -> None:
        self._keys.fail()
        _log.warning("keys of %s not read: %s", self.issuer, type(error).__name__)


class Verifier(_Checks[Awaitable[object]]):
    """Checks the access tokens of one issuer for one audience, in async programs.

    Make one and keep it: it holds the issuer's keys and the tokens that were verified. `leeway`
    (60 s at most) is for clocks that differ. `fetch` reads the JWK Set in place of `jwks_url`,
    which is by default where Gatepost publishes it.
    """

    _reading: asyncio.Task[None] | None = None

    async def verify(self, token: str, *scopes: str) -> AccessClaims:
        """Return what a token says, if it is good and has all scopes.

        Raises AccessTokenInvalid, InsufficientScope, and Unavailable when the issuer's keys
        cannot be had. Keys that are old are read anew beside it; nobody waits for that.
        """
        if self._keys.is_due() or self._keys.usable is None:
            reading = self._read()
            if reading and self._keys.usable is None:
                await asyncio.shield(reading)
        try:
            return self._check(token, scopes)
        except UnknownKey:
            if reading := self._read(missing=True):
                # Shared by all who wait: one who goes away must not end it for the others.
                await asyncio.shield(reading)
            return self._check_again(token, scopes)

    def _read(self, *, missing: bool = False) -> asyncio.Task[None] | None:
        """Return the reading that is under way, or begin one if that is due."""
        loop = asyncio.get_running_loop()
        under_way = self._reading
        if under_way and not under_way.done() and under_way.get_loop() is loop:
            return under_way
        if not self._keys.is_due(missing=missing):
            return None
        self._keys.begin()
        self._reading = loop.create_task(self._read_keys())
        return self._reading

    async def _read_keys(self) -> None:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                self._keys.take(await (self.fetch or self._get)())
        # Whatever it was: the old keys serve on, and it is tried again.
        except Exception as error:
            self._failed(error)

    async def _get(self) -> object:
        async with httpx2.AsyncClient(timeout=_FETCH_SECONDS) as client:
            answer = await client.get(self.jwks_url)
        answer.raise_for_status()
        return answer.json()


class SyncVerifier(_Checks[object]):
    """The same for threads: WSGI, scripts, workers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._reading = threading.Lock()

    def verify(self, token: str, *scopes: str) -> AccessClaims:
        """Return what a token says; as the async one, but old keys are read by who comes first."""
        usable = self._keys.usable
        if usable is None or self._keys.is_due():
            self._read(wait=usable is None)
        try:
            return self._check(token, scopes)
        except UnknownKey:
            self._read(missing=True)
            return self._check_again(token, scopes)

    def _read(self, *, missing: bool = False, wait: bool = True) -> None:
        if not self._reading.acquire(blocking=wait):
            return
        try:
            # Who waited finds what the one before him read.
            if self._keys.is_due(missing=missing):
                self._keys.begin()
                self._keys.take((self.fetch or self._get)())
        except Exception as error:
            self._failed(error)
        finally:
            self._reading.release()

    def _get(self) -> object:
        """Read the key set; raises TimeoutError for one that trickles in.

        The client's own time limit begins anew with every piece.
        """
        until, body = time.monotonic() + _FETCH_SECONDS, bytearray()
        with httpx2.stream("GET", self.jwks_url, timeout=_FETCH_SECONDS) as answer:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                body += piece
                if time.monotonic() > until:
                    raise TimeoutError
        return json.loads(body)
