from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from gatepost import Policies, assemble
from gatepost.adapters.memory import (
    ManualClock,
    MemoryAccessTokens,
    MemoryCipher,
    memory_ports,
)
from gatepost.adapters.system import SystemSecrets
from gatepost.application.gatepost import Gatepost
from gatepost.application.ports import Ports
from gatepost.application.ports.security import SigningKeysInvalid
from gatepost.domain.audit import AuditType
from gatepost.domain.errors import AccessTokenInvalid, NotFound
from gatepost.domain.keys import KeyPolicy, KeyState, SigningKey
from gatepost.domain.tokens import AccessClaims
from gatepost.testing.builders import SECOND, a_key
from tests.unit.application.service import CLIENT, Service

MINUTE = timedelta(minutes=1)
POLICY = KeyPolicy()


def keys_of(service: Service, state: KeyState) -> list[SigningKey]:
    return [key for key in service.storage.committed.keys.values() if key.state is state]


def published(service: Service) -> set[str]:
    keys = service.gatepost.keys.access_tokens.published()["keys"]
    assert isinstance(keys, list)
    return {key["kid"] for key in keys}


async def signing(service: Service) -> str:
    token = (await service.log_in()).access_token
    return token.partition(".")[0]


async def test_jw_17_a_new_key_is_published_before_it_signs_and_an_old_one_until_its_tokens_end(
    service: Service,
) -> None:
    await service.has()
    (old,) = keys_of(service, KeyState.ACTIVE)
    await service.rotate_keys()
    assert published(service) == {old.kid}
    service.clock.advance(POLICY.lifetime)
    await service.rotate_keys()
    (new,) = keys_of(service, KeyState.PENDING)
    assert published(service) == {old.kid, new.kid}
    service.clock.advance(POLICY.announced - SECOND)
    await service.rotate_keys()
    assert await signing(service) == old.kid
    last = await service.log_in()
    service.clock.advance(SECOND)
    await service.rotate_keys()
    assert await signing(service) == new.kid
    assert published(service) == {old.kid, new.kid}
    service.clock.advance(service.gatepost.policies.tokens.access_ttl - 2 * SECOND)
    await service.rotate_keys()
    await service.caller(last)
    service.clock.advance(POLICY.reload + POLICY.slack + 2 * SECOND)
    await service.rotate_keys()
    assert published(service) == {new.kid}
    happened = [entry for entry in service.storage.audit_entries if entry.type.startswith("key.")]
    assert [(entry.type, entry.reason) for entry in happened] == [
        (AuditType.KEY_CREATED, old.kid),
        (AuditType.KEY_CREATED, new.kid),
        (AuditType.KEY_ACTIVATED, new.kid),
        (AuditType.KEY_REMOVED, old.kid),
    ]


async def test_a_rotation_begins_early_when_asked_and_only_once(service: Service) -> None:
    for _ in range(2):
        await service.gatepost.keys.rotate(early=True, client=CLIENT)
        (pending,) = keys_of(service, KeyState.PENDING)
    first, second = service.audited(AuditType.KEY_CREATED)
    assert (first.ip, second.ip) == (None, CLIENT.ip)
    assert second.reason == pending.kid


async def test_without_any_key_rotation_makes_one_that_signs(service: Service) -> None:
    service.storage.committed.keys.clear()
    await service.rotate_keys()
    assert len(keys_of(service, KeyState.ACTIVE)) == 1


async def test_a_due_key_signs_also_where_the_active_one_is_gone(service: Service) -> None:
    await service.gatepost.keys.rotate(early=True)
    (pending,) = keys_of(service, KeyState.PENDING)
    service.storage.committed.keys = {pending.kid: pending}
    service.clock.advance(POLICY.announced)
    await service.rotate_keys()
    assert published(service) == {pending.kid}


async def test_a_revoked_key_verifies_no_more_and_a_fresh_one_signs(service: Service) -> None:
    await service.has()
    signed_in = await service.log_in()
    await service.gatepost.keys.rotate(early=True)
    (stolen,), (pending,) = keys_of(service, KeyState.ACTIVE), keys_of(service, KeyState.PENDING)
    await service.gatepost.keys.revoke(kid=stolen.kid, client=CLIENT)
    await service.install_keys()
    with pytest.raises(AccessTokenInvalid):
        await service.caller(signed_in)
    fresh = await signing(service)
    assert published(service) == {fresh}
    assert fresh not in {stolen.kid, pending.kid}
    revoked = service.audited(AuditType.KEY_REVOKED)
    assert {entry.reason for entry in revoked} == {stolen.kid, pending.kid}
    assert {entry.ip for entry in revoked} == {CLIENT.ip}
    assert service.audited(AuditType.KEY_CREATED)[-1].reason == fresh


async def test_revoking_a_key_that_does_not_sign_leaves_the_others(service: Service) -> None:
    active = await _with_active(service)
    await service.gatepost.keys.rotate(early=True)
    (pending,) = keys_of(service, KeyState.PENDING)
    await service.gatepost.keys.revoke(kid=pending.kid, client=CLIENT)
    await service.install_keys()
    assert published(service) == {active}
    with pytest.raises(NotFound):
        await service.gatepost.keys.revoke(kid=pending.kid, client=CLIENT)


async def _with_active(service: Service) -> str:
    (key,) = keys_of(service, KeyState.ACTIVE)
    return key.kid


async def test_revoking_helps_where_a_key_does_not_open() -> None:
    service, damaged = Service(), a_key()
    service.storage.committed.keys[damaged.kid] = damaged
    (listed,) = await service.gatepost.keys.list()
    assert (listed.key, listed.is_stale) == (damaged, True)
    with pytest.raises(SigningKeysInvalid, match=damaged.kid):
        await service.rotate_keys()
    await service.gatepost.keys.revoke(kid=damaged.kid, client=CLIENT)
    await service.install_keys()
    assert published(service) == {await _with_active(service)}


def under(service: Service, cipher: MemoryCipher) -> Service:
    """Start the service anew with other master keys."""
    service.ports = replace(service.ports, cipher=cipher)
    service.gatepost = assemble(service.ports, service.gatepost.policies)
    return service


async def test_a_new_master_key_takes_over_every_signing_key() -> None:
    service = under(Service(), MemoryCipher(b"A"))
    await service.install_keys()
    await service.gatepost.keys.rotate(early=True)
    before = published(under(service, MemoryCipher(b"A", b"B")))
    await service.rotate_keys()
    assert not service.audited(AuditType.KEY_RESEALED)
    under(service, MemoryCipher(b"B", b"A"))
    assert all([key.is_stale for key in await service.gatepost.keys.list()])
    await service.rotate_keys()
    await service.rotate_keys()
    assert not any([key.is_stale for key in await service.gatepost.keys.list()])
    resealed = service.audited(AuditType.KEY_RESEALED)
    assert {entry.reason for entry in resealed} == published(service) > before
    assert len(resealed) == 2
    under(service, MemoryCipher(b"B"))
    await service.install_keys()
    with pytest.raises(SigningKeysInvalid):
        await under(service, MemoryCipher(b"A")).install_keys()


async def test_keys_are_listed_with_the_time_from_which_they_sign(service: Service) -> None:
    service.clock.advance(SECOND)
    await service.gatepost.keys.rotate(early=True)
    active, pending = await service.gatepost.keys.list()
    assert (active.key.state, active.activates_at) == (KeyState.ACTIVE, None)
    assert pending.activates_at == service.clock() + POLICY.announced


@dataclass
class Process:
    """A server process: it reads the stored keys now and then, and signs and checks with them."""

    gatepost: Gatepost
    reloads_at: datetime

    async def keep_up(self, now: datetime, pause: timedelta) -> None:
        if self.reloads_at <= now:
            await self.gatepost.keys.load()
            self.reloads_at = now + pause

    @property
    def kids(self) -> frozenset[str]:
        keys = self.gatepost.keys.access_tokens.published()["keys"]
        assert isinstance(keys, list)
        return frozenset(key["kid"] for key in keys)


@dataclass
class Verifier:
    """A resource server behind a proxy: both cache the published keys for as long as they may.

    It never asks sooner, not even for a key that it does not know: the hardest one to please.
    The proxy expires after it does, so that what it knows is up to ten minutes old.
    """

    expires_at: datetime
    proxy_expires_at: datetime
    cached: frozenset[str] = frozenset()
    proxied: frozenset[str] = frozenset()

    def knows(self, kid: str, now: datetime, process: Process) -> bool:
        if not self.proxied or self.proxy_expires_at <= now:
            self.proxied = process.kids
        if not self.cached or self.expires_at <= now:
            self.cached = self.proxied
        self.proxy_expires_at = _after(self.proxy_expires_at, now)
        self.expires_at = _after(self.expires_at, now)
        return kid in self.cached


def _after(expiry: datetime, now: datetime) -> datetime:
    return now + 5 * MINUTE if expiry <= now else expiry


@dataclass
class Rehearsal:
    """Hours of traffic in front of three processes, on a clock that is moved by hand."""

    policy: KeyPolicy
    step: timedelta = timedelta(seconds=15)
    clock: ManualClock = field(default_factory=ManualClock)
    chance: Random = field(default_factory=lambda: Random(18))  # noqa: S311
    failures: int = 0

    def __post_init__(self) -> None:
        self.ports = memory_ports(clock=self.clock)
        policies = Policies(keys=self.policy)
        self.ttl, self.issuer = policies.tokens.access_ttl, policies.tokens
        now = self.clock()
        self.processes = [
            Process(assemble(self._with_own_keys(), policies), now) for _ in range(3)
        ]
        pairs = ((0, 4), (1, 3), (2, 4), (3, 1))
        self.verifiers = [Verifier(now + own * MINUTE, now + its * MINUTE) for own, its in pairs]
        self.live: list[tuple[datetime, str]] = []

    def _with_own_keys(self) -> Ports:
        tokens = MemoryAccessTokens(Policies().tokens, self.clock)
        return replace(self.ports, access_tokens=tokens)

    async def run(self, rotations: int) -> None:
        worker, ticks = self.processes[0].gatepost, 0
        while self._rotations() < rotations:
            if ticks % 20 == 0:
                await worker.keys.rotate()
            for process in self.processes:
                await process.keep_up(self.clock(), self.chance.choice((45, 60)) * SECOND)
            self.live += [(self.clock() + self.ttl, self._sign(one)) for one in self.processes]
            self._check()
            self.clock.advance(self.step)
            ticks += 1

    def _rotations(self) -> int:
        return sum(e.type is AuditType.KEY_ACTIVATED for e in self.ports.storage.audit_entries)

    def _sign(self, process: Process) -> str:
        secrets, now = SystemSecrets(), self.clock()
        claims = AccessClaims(
            issuer=self.issuer.issuer,
            audience=self.issuer.audience,
            subject=UUID(int=1),
            session_id=None,
            client_id="gatepost",
            scope="",
            roles=(),
            token_id=secrets.new_id(),
            issued_at=now,
            expires_at=now + self.ttl,
        )
        return process.gatepost.keys.access_tokens.sign(claims)

    def _check(self) -> None:
        now = self.clock()
        # The oldest and the youngest: whoever knows both knows those between.
        self.live = [(end, token) for end, token in self.live if end > now]
        for _, token in self.live[:3] + self.live[-3:]:
            for verifier in self.verifiers:
                kid, process = token.partition(".")[0], self.chance.choice(self.processes)
                self.failures += not verifier.knows(kid, now, process)
            for process in self.processes:
                self.failures += not _verifies(process, token)


def _verifies(process: Process, token: str) -> bool:
    try:
        process.gatepost.keys.access_tokens.verify(token)
    except AccessTokenInvalid:
        return False
    return True


QUICK = KeyPolicy(lifetime=10 * MINUTE)


async def test_jw_18_ten_rotations_fail_no_verification_by_whoever_caches() -> None:
    rehearsal = Rehearsal(QUICK)
    await rehearsal.run(rotations=10)
    assert rehearsal.failures == 0
    assert len(rehearsal.ports.storage.committed.keys) <= 4


async def test_jw_18_the_rehearsal_would_notice_keys_that_sign_early_or_leave_early() -> None:
    early = replace(QUICK, cache=2 * MINUTE)
    gone = replace(QUICK, slack=-15 * MINUTE)
    for policy in (early, gone):
        rehearsal = Rehearsal(policy)
        await rehearsal.run(rotations=2 if policy is early else 3)
        assert rehearsal.failures > 0
