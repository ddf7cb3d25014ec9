"""The same use cases in transactions that somebody else ends."""

from dataclasses import fields

import pytest

from gatepost import Gatepost
from gatepost.domain.errors import UsernameTaken
from tests.unit.application.service import (
    CLIENT,
    OTHER_PASSWORD,
    PASSWORD,
    CountingUnitOfWork,
    Service,
)

OWN = {"sessions", "oauth", "keys", "jobs", "idempotency", "database", "checks", "backlog"}


def a_joined(service: Service) -> tuple[Gatepost, CountingUnitOfWork]:
    uow = CountingUnitOfWork(service.uow.inner)
    return service.gatepost.within(uow), uow


async def test_changes_are_made_in_the_given_unit_of_work(service: Service) -> None:
    joined, uow = a_joined(service)
    before = service.uow.opened
    await joined.accounts.register(
        username="ada", email="ada@example.com", password=PASSWORD, client=CLIENT
    )
    assert uow.opened > 0
    assert service.uow.opened == before


async def test_a_refusal_is_remembered_in_a_transaction_of_its_own(service: Service) -> None:
    await service.register()
    joined, _ = a_joined(service)
    before = service.uow.opened
    with pytest.raises(UsernameTaken):
        await joined.accounts.register(
            username="ada", email="bob@example.com", password=OTHER_PASSWORD, client=CLIENT
        )
    assert service.uow.opened == before + 1
    assert service.storage.audit_entries[-1].reason == UsernameTaken.code


async def test_what_must_last_by_itself_stays_as_it_is(service: Service) -> None:
    joined, _ = a_joined(service)
    same = {
        field.name
        for field in fields(Gatepost)
        if getattr(joined, field.name) is getattr(service.gatepost, field.name)
    }
    assert same == OWN | {"policies", "_parts"}
