from dataclasses import replace

from gatepost.domain.audit import AuditFilter, AuditType
from gatepost.domain.idempotency import AlreadyAnswered, KeyedRequest, StoredAnswer
from gatepost.testing.builders import NOW, SECOND, an_account, an_entry, new_id

REQUEST = KeyedRequest(route="POST /v1/users", key="k-1", body=b'{"password": "secret"}')


def test_in_25_a_key_is_scoped_to_caller_and_route() -> None:
    ada, bob = new_id(), new_id()
    scopes = {
        REQUEST.scoped_to(ada),
        REQUEST.scoped_to(bob),
        REQUEST.scoped_to(None),
        replace(REQUEST, route="POST /v1/register").scoped_to(ada),
        replace(REQUEST, key="k-2").scoped_to(ada),
    }
    assert len(scopes) == 5
    assert REQUEST.scoped_to(ada) == replace(REQUEST, body=b"other").scoped_to(ada)


def test_a_fingerprint_tells_bodies_apart() -> None:
    assert REQUEST.fingerprint() == replace(REQUEST, key="k-2").fingerprint()
    assert REQUEST.fingerprint() != replace(REQUEST, body=b"other").fingerprint()


def test_nothing_that_may_be_secret_is_shown() -> None:
    answer = StoredAnswer(key=b"", sealed=b"secret", account_id=an_account().id, expires_at=NOW)
    assert "secret" not in f"{REQUEST!r} {answer!r} {AlreadyAnswered(b'secret')!r}"


def test_a_filter_admits_what_meets_all_of_it() -> None:
    entry = replace(an_entry(), actor=new_id(), subject=new_id())
    full = AuditFilter(
        actor=entry.actor,
        subject=entry.subject,
        type=entry.type,
        since=NOW,
        until=NOW + SECOND,
    )
    assert AuditFilter().admits(entry)
    assert full.admits(entry)
    assert not replace(full, actor=entry.subject).admits(entry)
    assert not replace(full, type=AuditType.KEY_CREATED).admits(entry)
    assert not replace(full, since=NOW + SECOND).admits(entry)
    assert not replace(full, until=NOW).admits(entry)
