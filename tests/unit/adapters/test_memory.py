import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost import Policies, Ports, assemble
from gatepost.adapters.memory import (
    AlwaysHealthy,
    ManualClock,
    MemoryAccessTokens,
    MemoryCallers,
    MemoryCipher,
    MemoryMailer,
    MemoryRefreshTokens,
    MemoryRotations,
    MemorySignIns,
    MemoryStorage,
    MemoryUnitOfWork,
    PlainPasswordHasher,
    memory_ports,
)
from gatepost.application.ports.delivery import Job, Mail, Mailer, MailTemplate
from gatepost.domain.audit import AuditEntry, ClientContext
from gatepost.domain.errors import AccessTokenInvalid
from gatepost.domain.keys import KeyState
from gatepost.domain.sessions import RefreshClaim, SessionId
from gatepost.domain.tokens import TokenPolicy
from gatepost.testing.builders import (
    NOW,
    a_clock,
    a_job,
    a_key,
    a_session,
    a_token,
    an_account,
    new_id,
)
from gatepost.testing.contracts.security import PASSWORD, some_claims, with_new_key
from gatepost.testing.contracts.security import AccessTokensContract as TestAccessTokens
from gatepost.testing.contracts.security import CipherContract as TestCipher
from gatepost.testing.contracts.security import PasswordHasherContract as TestPasswordHasher
from gatepost.testing.contracts.security import RefreshTokensContract as TestRefreshTokens
from gatepost.testing.contracts.storage import AccountRacesContract as TestAccountRaces
from gatepost.testing.contracts.storage import AccountRepositoryContract as TestAccounts
from gatepost.testing.contracts.storage import AuditContract as TestAudit
from gatepost.testing.contracts.storage import AuditTrailContract as TestAuditTrail
from gatepost.testing.contracts.storage import CallerReaderContract as TestCallers
from gatepost.testing.contracts.storage import ClientContract as TestClients
from gatepost.testing.contracts.storage import DirectoryContract as TestDirectory
from gatepost.testing.contracts.storage import DirectoryRacesContract as TestDirectoryRaces
from gatepost.testing.contracts.storage import EmailChangeContract as TestEmailChanges
from gatepost.testing.contracts.storage import ErasureContract as TestErasure
from gatepost.testing.contracts.storage import ExportContract as TestExports
from gatepost.testing.contracts.storage import ExportedDataContract as TestExportedData
from gatepost.testing.contracts.storage import IdempotencyContract as TestIdempotency
from gatepost.testing.contracts.storage import JobQueueContract as TestJobs
from gatepost.testing.contracts.storage import OneTimeTokenContract as TestOneTimeTokens
from gatepost.testing.contracts.storage import RoleContract as TestRoles
from gatepost.testing.contracts.storage import RotationsContract as TestRotations
from gatepost.testing.contracts.storage import SessionContract as TestSessions
from gatepost.testing.contracts.storage import SessionRacesContract as TestSessionRaces
from gatepost.testing.contracts.storage import SigningKeyContract as TestSigningKeys
from gatepost.testing.contracts.storage import SignInsContract as TestSignIns
from gatepost.testing.contracts.storage import TransactionContract as TestTransactions
from gatepost.testing.contracts.storage import TransferContract as TestTransfer
from gatepost.testing.contracts.storage import WebhookContract as TestWebhooks

__all__ = [
    "TestAccessTokens",
    "TestAccountRaces",
    "TestAccounts",
    "TestAudit",
    "TestAuditTrail",
    "TestCallers",
    "TestCipher",
    "TestClients",
    "TestDirectory",
    "TestDirectoryRaces",
    "TestEmailChanges",
    "TestErasure",
    "TestExportedData",
    "TestExports",
    "TestIdempotency",
    "TestJobs",
    "TestOneTimeTokens",
    "TestPasswordHasher",
    "TestRefreshTokens",
    "TestRoles",
    "TestRotations",
    "TestSessionRaces",
    "TestSessions",
    "TestSignIns",
    "TestSigningKeys",
    "TestTransactions",
    "TestTransfer",
    "TestWebhooks",
]


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def uow(storage: MemoryStorage) -> MemoryUnitOfWork:
    return MemoryUnitOfWork(storage)


@pytest.fixture
def callers(storage: MemoryStorage) -> MemoryCallers:
    return MemoryCallers(storage)


@pytest.fixture
def rotations(storage: MemoryStorage) -> MemoryRotations:
    return MemoryRotations(storage)


@pytest.fixture
def sign_ins(storage: MemoryStorage) -> MemorySignIns:
    return MemorySignIns(storage)


@pytest.fixture
def queued_jobs(storage: MemoryStorage) -> Callable[[], Awaitable[list[Job]]]:
    async def read() -> list[Job]:
        return storage.queued

    return read


@pytest.fixture
def audit_entries(storage: MemoryStorage) -> Callable[[], Awaitable[list[AuditEntry]]]:
    async def read() -> list[AuditEntry]:
        return storage.audit_entries

    return read


@pytest.fixture
def hasher() -> PlainPasswordHasher:
    return PlainPasswordHasher()


@pytest.fixture
def foreign() -> str:
    return f"foreign${PASSWORD}"


@pytest.fixture
def cipher() -> MemoryCipher:
    return MemoryCipher(b"newer", b"older")


@pytest.fixture
def former_cipher() -> MemoryCipher:
    return MemoryCipher(b"older")


@pytest.fixture
def refresh_tokens() -> MemoryRefreshTokens:
    return MemoryRefreshTokens()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def token_policy() -> TokenPolicy:
    return TokenPolicy(issuer="https://id.example", audience="https://api.example")


@pytest.fixture
def access_tokens(token_policy: TokenPolicy, clock: ManualClock) -> MemoryAccessTokens:
    return MemoryAccessTokens(token_policy, clock)


async def test_a_transaction_inside_another_of_the_same_task_is_an_error(
    uow: MemoryUnitOfWork, storage: MemoryStorage
) -> None:
    async with uow():
        with pytest.raises(RuntimeError, match="open already"):
            async with uow():
                pass
        with pytest.raises(RuntimeError, match="open already"):
            await storage.drain()
    async with uow():
        pass


async def test_an_ended_transaction_takes_no_more_work(uow: MemoryUnitOfWork) -> None:
    async with uow() as tx:
        kept = tx.accounts
        await tx.commit()
        with pytest.raises(RuntimeError, match="has ended"):
            _ = tx.accounts
        with pytest.raises(RuntimeError, match="has ended"):
            await tx.commit()
        late = an_account()
        await kept.add(late, NOW)
    async with uow() as tx:
        assert await tx.accounts.get(late.id) is None


async def test_rows_that_a_database_would_refuse_are_refused(uow: MemoryUnitOfWork) -> None:
    account, stranger, active = an_account(), an_account(), a_key()
    async with uow() as tx:
        await tx.accounts.add(account, NOW)
        await tx.keys.add(active)
        assert not await tx.keys.add(replace(active, state=KeyState.PENDING))
        with pytest.raises(ValueError, match="no account"):
            await tx.sessions.add(a_session(stranger))
        with pytest.raises(ValueError, match="no account"):
            await tx.tokens.add(a_token(stranger))
        with pytest.raises(ValueError, match="stored already"):
            await tx.accounts.add(replace(stranger, id=account.id), NOW)
        with pytest.raises(ValueError, match="active"):
            await tx.keys.save(a_key())


async def test_saving_a_row_that_is_gone_does_nothing(uow: MemoryUnitOfWork) -> None:
    account, key = an_account(), a_key()
    async with uow() as tx:
        await tx.accounts.save(account)
        await tx.keys.save(key)
        assert await tx.accounts.get(account.id) is None
        await tx.keys.remove(key.kid)
        assert not await tx.keys.list_all()


async def test_draining_takes_the_committed_jobs_after_open_transactions(
    uow: MemoryUnitOfWork, storage: MemoryStorage
) -> None:
    first, second, opened = a_job(), a_job(), asyncio.Event()

    async def enqueue() -> None:
        async with uow() as tx:
            opened.set()
            await tx.jobs.enqueue(first)
            await asyncio.sleep(0)
            await tx.jobs.enqueue(second)
            await tx.commit()

    async def drain() -> list[Job]:
        await opened.wait()
        return await storage.drain()

    _, jobs = await asyncio.gather(enqueue(), drain())
    assert jobs == [first, second]
    assert storage.queued == []


async def test_a_queued_payload_is_a_copy_that_nobody_changes(
    uow: MemoryUnitOfWork, storage: MemoryStorage
) -> None:
    payload = {"sealed": "00"}
    async with uow() as tx:
        await tx.jobs.enqueue(a_job(payload=payload))
        await tx.commit()
    payload["sealed"] = "changed"
    assert storage.queued[0].payload == {"sealed": "00"}


async def test_the_hasher_counts_decoys_as_work() -> None:
    hasher = PlainPasswordHasher()
    encoded = await hasher.hash("password")
    await hasher.verify("password", encoded)
    await hasher.verify("password", None)
    assert hasher.work == 3


async def test_a_hash_with_other_parameters_still_matches_and_needs_a_rehash() -> None:
    hasher = PlainPasswordHasher()
    encoded = await hasher.hash("password")
    hasher.params = "2"
    assert hasher.needs_rehash(encoded)
    assert await hasher.verify("password", encoded)
    assert not hasher.needs_rehash(await hasher.hash("password"))


def test_the_same_key_opens_what_another_cipher_sealed() -> None:
    tokens, others = MemoryRefreshTokens(b"k" * 32), MemoryRefreshTokens(b"k" * 32)
    claim = RefreshClaim(SessionId(new_id()), bytes(16), 0)
    assert others.open(tokens.seal(claim)) == claim
    assert MemoryRefreshTokens().open(tokens.seal(claim)) is None


def test_impossible_refresh_tokens_are_errors(refresh_tokens: MemoryRefreshTokens) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        refresh_tokens.seal(RefreshClaim(SessionId(new_id()), b"short", 0))


def test_an_access_token_from_the_future_is_refused(
    access_tokens: MemoryAccessTokens, token_policy: TokenPolicy, clock: ManualClock
) -> None:
    with_new_key(access_tokens)
    token = access_tokens.sign(some_claims(token_policy, clock() + timedelta(minutes=2)))
    with pytest.raises(AccessTokenInvalid):
        access_tokens.verify(token)


async def test_mails_are_kept_in_order() -> None:
    mailer = MemoryMailer()
    first, second = (
        Mail(
            id=new_id(),
            template=MailTemplate.WELCOME,
            to=to,
            locale="en",
            username="carla",
            link=None,
        )
        for to in ("a@example.com", "b@example.com")
    )
    await mailer.send(first)
    await mailer.send(second)
    assert mailer.sent == [first, second]
    assert mailer.sent_to("b@example.com") == [second]


async def test_memory_is_always_healthy() -> None:
    await AlwaysHealthy()()


async def test_an_embedder_can_assemble_everything() -> None:
    memory = memory_ports()
    gatepost = assemble(memory, Policies())
    client, password = ClientContext(), "an uncommon phrase"
    await gatepost.accounts.register(
        username="carla", email="carla@example.org", password=password, client=client
    )
    for job in await memory.storage.drain():
        await gatepost.jobs.run(job)
    [mail] = memory.mailer.sent
    token = (mail.link or "").partition("#token=")[2]
    await gatepost.accounts.verify_email(token=token, password=password, client=client)
    signed_in = await gatepost.sessions.log_in(login="carla", password=password, client=client)
    memory.now.advance(timedelta(minutes=1))
    refreshed = await gatepost.sessions.refresh(
        refresh_token=signed_in.refresh_token, client=client
    )
    actor = await gatepost.sessions.authenticate(access_token=refreshed.access_token)
    assert actor.own_account.username.value == "carla"


class OtherMailer(Mailer):
    async def send(self, mail: Mail) -> None:
        raise OSError


def test_an_embedder_can_exchange_a_part() -> None:
    ports: Ports = memory_ports(clock=a_clock())
    other = replace(ports, mailer=OtherMailer())
    assert isinstance(other.mailer, OtherMailer)
    assert other.now() == NOW


async def test_a_first_load_of_keys_leaves_earlier_tokens_good() -> None:
    memory = memory_ports()
    gatepost = assemble(memory, Policies())
    claims = some_claims(Policies().tokens, memory.now())
    token = memory.access_tokens.sign(claims)
    await gatepost.keys.load()
    assert memory.access_tokens.verify(token) == claims
    assert memory.access_tokens.new_key() != memory.access_tokens.new_key()


class OwnMailer(Mailer):
    def __init__(self) -> None:
        self.sent: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        self.sent.append(mail)


async def test_an_adapter_of_ones_own_takes_the_place_of_one_in_memory() -> None:
    memory, mailer = memory_ports(), OwnMailer()
    gatepost = assemble(replace(memory, mailer=mailer), Policies())
    await gatepost.accounts.register(
        username="carla",
        email="carla@example.org",
        password="an uncommon phrase",
        client=ClientContext(),
    )
    for job in await memory.storage.drain():
        await gatepost.jobs.run(job)
    assert [mail.to for mail in mailer.sent] == ["carla@example.org"]
    assert memory.mailer.sent == []
