from dataclasses import replace

import pytest

from gatepost.adapters.memory import MemoryCipher, MemoryStorage, MemoryUnitOfWork
from gatepost.adapters.memory.repositories import MemoryIdempotency
from gatepost.adapters.memory.storage import MemoryTransaction
from gatepost.application.idempotency import UNKEYED, Idempotency, Once
from gatepost.domain.accounts import Account
from gatepost.domain.audit import AuditType
from gatepost.domain.errors import IdempotencyKeyInUse, IdempotencyKeyReused, UsernameTaken
from gatepost.domain.idempotency import KEPT, AlreadyAnswered, KeyedRequest
from gatepost.testing.builders import SECOND, an_account
from tests.unit.application.service import CLIENT, OTHER_PASSWORD, PASSWORD, Service

REQUEST = KeyedRequest(route="POST /v1/register", key="k-1", body=PASSWORD.encode())


class HeldElsewhere(MemoryIdempotency):
    async def claim(self, key: bytes) -> bool:
        return False


class ContendedTransaction(MemoryTransaction):
    @property
    def idempotency(self) -> MemoryIdempotency:
        return HeldElsewhere(self._tables)


def told(account: Account | None) -> bytes:
    return b"neutral" if account is None else account.username.value.encode()


def once(service: Service, request: KeyedRequest = REQUEST) -> Once[Account | None]:
    return service.gatepost.idempotency.once(request, told)


async def register(
    service: Service,
    request: KeyedRequest = REQUEST,
    *,
    email: str = "ada@example.com",
    password: str = PASSWORD,
) -> Account | None:
    return await service.gatepost.accounts.register(
        username="ada",
        email=email,
        password=password,
        client=CLIENT,
        once=once(service, request),
    )


async def answer_of(service: Service, request: KeyedRequest = REQUEST, **form: str) -> bytes:
    with pytest.raises(AlreadyAnswered) as found:
        await register(service, request, **form)
    return found.value.answer


async def test_in_25_a_repetition_is_answered_and_changes_nothing(service: Service) -> None:
    assert await register(service) is None
    before = service.storage.committed.copy()
    assert await answer_of(service) == b"neutral"
    assert service.storage.committed == before
    assert service.hasher.work == 1


async def test_in_25_a_repetition_is_answered_where_the_account_is_told(
    open_service: Service,
) -> None:
    assert await register(open_service) is not None
    assert await answer_of(open_service) == b"ada"


async def test_in_25_another_body_is_refused(service: Service) -> None:
    await register(service)
    with pytest.raises(IdempotencyKeyReused):
        await register(service, replace(REQUEST, body=b"another"))


async def test_in_25_a_key_is_good_again_after_a_day(open_service: Service) -> None:
    await register(open_service)
    open_service.clock.advance(KEPT - SECOND)
    assert await answer_of(open_service) == b"ada"
    open_service.clock.advance(SECOND)
    with pytest.raises(UsernameTaken):
        await register(open_service)


async def test_in_25_a_refusal_is_not_kept(service: Service) -> None:
    await register(service, replace(REQUEST, key=None))
    with pytest.raises(UsernameTaken):
        await register(service, password=OTHER_PASSWORD)
    service.remove(service.account())
    assert await register(service, password=OTHER_PASSWORD) is None


async def test_in_25_while_another_holds_the_key_nothing_happens(service: Service) -> None:
    cipher, clock, storage = MemoryCipher(), service.clock, MemoryStorage()
    keyed = Idempotency(cipher, clock).once(REQUEST, told)
    with pytest.raises(IdempotencyKeyInUse):
        await keyed.claim(ContendedTransaction(storage))


async def test_in_25_who_was_overtaken_while_hashing_is_answered(service: Service) -> None:
    async def overtake() -> None:
        await register(service)

    service.hasher.meanwhile = overtake
    assert await answer_of(service) == b"neutral"
    assert len(service.storage.committed.accounts) == 1
    assert len(service.audited(AuditType.ACCOUNT_REGISTERED)) == 1


async def test_in_25_a_corrected_address_is_answered_alike(service: Service) -> None:
    await register(service, replace(REQUEST, key="k-0"), email="aad@example.com")
    corrected = replace(REQUEST, body=b"corrected")
    assert await register(service, corrected) is None
    mails = len(service.queued_payloads())
    assert await answer_of(service, corrected) == b"neutral"
    assert len(service.queued_payloads()) == mails


async def test_in_25_a_taken_address_cannot_be_told_by_its_repetition(service: Service) -> None:
    await service.has()
    free = KeyedRequest(route="POST /v1/register", key="free", body=b"1")
    taken = KeyedRequest(route="POST /v1/register", key="taken", body=b"2")

    async def attempt(request: KeyedRequest, username: str, email: str) -> None:
        await service.gatepost.accounts.register(
            username=username,
            email=email,
            password=PASSWORD,
            client=CLIENT,
            once=once(service, request),
        )

    costs = []
    for request, username, email in (
        (free, "bob", "bob@example.com"),
        (taken, "carol", "ada@example.com"),
    ):
        costs.append(
            [await service.cost_of(attempt(request, username, email)) for _ in range(2)]
            + [repr(service.refusal), getattr(service.refusal, "answer", None)]
        )
    assert costs[0] == costs[1]
    assert costs[0][-1] == b"neutral"


async def test_the_stored_answer_is_sealed_and_holds_no_password(service: Service) -> None:
    await register(service)
    (stored,) = service.storage.committed.answers.values()
    assert b"neutral" not in stored.sealed
    assert REQUEST.fingerprint() not in stored.sealed
    assert stored.account_id == service.account().id


async def test_an_answer_that_no_key_opens_is_as_good_as_none(service: Service) -> None:
    account, clock = an_account(), service.clock
    uow = MemoryUnitOfWork(MemoryStorage())
    async with uow() as tx:
        await tx.accounts.add(account, clock())
        await Idempotency(MemoryCipher(), clock).once(REQUEST, told).keep(tx, None, account.id)
        await Idempotency(MemoryCipher(), clock).once(REQUEST, told).claim(tx)


async def test_without_a_key_nothing_is_kept(service: Service) -> None:
    assert once(service, replace(REQUEST, key=None)) is UNKEYED
    await service.register()
    assert service.storage.committed.answers == {}


async def test_what_is_kept_goes_with_the_account_and_with_time(service: Service) -> None:
    await register(service)
    service.clock.advance(KEPT)
    await service.purge()
    assert service.storage.committed.answers == {}
