import pytest

from gatepost.domain.audit import AuditEntry, AuditFilter, AuditType
from gatepost.domain.errors import InsufficientScope, ValidationFailed
from gatepost.domain.roles import Principal, Scope
from gatepost.testing.builders import SECOND
from tests.unit.application.service import Service

READER = Principal(account=None, session_id=None, scopes=frozenset({Scope.AUDIT_READ}))


async def walk(service: Service, filter_: AuditFilter, limit: int) -> list[list[AuditEntry]]:
    """Read page by page until there is no further one."""
    pages, cursor = [], None
    while True:
        page = await service.gatepost.audit(
            actor=READER, filter_=filter_, limit=limit, cursor=cursor
        )
        pages.append(list(page.items))
        cursor = page.next_cursor
        if cursor is None:
            return pages


async def test_the_trail_is_read_newest_first_page_by_page(service: Service) -> None:
    await service.has()
    for _ in range(3):
        service.clock.advance(SECOND)
        await service.log_in()
    trail = sorted(service.storage.audit_entries, key=lambda e: (e.created_at, e.id), reverse=True)
    assert [entry for page in await walk(service, AuditFilter(), 2) for entry in page] == trail
    ada = AuditFilter(subject=service.account().id, type=AuditType.SESSION_CREATED)
    assert [len(page) for page in await walk(service, ada, 2)] == [2, 1]
    assert [len(page) for page in await walk(service, ada, 3)] == [3]


async def test_a_cursor_is_good_for_its_own_list_alone(service: Service) -> None:
    await service.has()
    now = service.clock()
    whole = AuditFilter(since=now, until=now + SECOND)
    page = await service.gatepost.audit(actor=READER, filter_=whole, limit=1)
    for other in (AuditFilter(since=now), AuditFilter(type=AuditType.KEY_CREATED)):
        with pytest.raises(ValidationFailed) as refused:
            await service.gatepost.audit(actor=READER, filter_=other, cursor=page.next_cursor)
        assert [error.field for error in refused.value.errors] == ["cursor"]


async def test_the_trail_needs_its_scope(service: Service) -> None:
    await service.has()
    ada = await service.caller(await service.log_in())
    with pytest.raises(InsufficientScope):
        await service.gatepost.audit(actor=ada, filter_=AuditFilter())
