import json
import re
from dataclasses import fields, replace

import pytest

from gatepost.domain.audit import AuditEntry, AuditResult, AuditType
from gatepost.domain.errors import EmailTaken, WrongPassword
from gatepost.domain.events import (
    CATALOGUE,
    AccountChanged,
    AccountEmailChangeUndone,
    AccountRegistered,
    AccountSuspended,
    RefreshReused,
    SessionEnded,
    SessionsEnded,
    data_of,
    event_from,
    event_of,
    is_hidden,
)
from gatepost.testing.builders import NOW, new_id


def an_entry(
    type_: AuditType, *, failure: str | None = None, reason: str | None = None
) -> AuditEntry:
    return AuditEntry(
        id=new_id(),
        created_at=NOW,
        type=type_,
        result=AuditResult.FAILURE if failure else AuditResult.SUCCESS,
        reason=failure or reason,
        actor=new_id(),
        subject=new_id(),
        session_id=new_id(),
        client_id="machine",
        ip="192.0.2.7",
        user_agent="Firefox",
        request_id="request-1",
    )


def test_names_are_dotted_versioned_and_explained_and_each_stands_once() -> None:
    assert len(CATALOGUE) == 17
    for name, kind in CATALOGUE.items():
        assert re.fullmatch(r"[a-z]+\.[a-z_]+\.v[1-9]", name)
        assert kind.name == name
        assert (kind.__doc__ or "").endswith(".")


def test_every_event_comes_back_from_json_as_it_was() -> None:
    told = [event_of(an_entry(type_), ["bio", "locale"]) for type_ in AuditType]
    told.append(event_of(an_entry(AuditType.REFRESH_REUSED, failure="stale")))
    found = [event for event in told if event]
    assert {event.name for event in found} == set(CATALOGUE)
    for event in found:
        data = json.loads(json.dumps(data_of(event)))
        assert event_from(event.name, event.id, event.occurred_at, data) == event


def test_an_event_holds_ids_and_no_trace_of_where_it_came_from() -> None:
    for type_ in AuditType:
        entry = an_entry(type_)
        event = event_of(entry, ["bio"])
        if event:
            assert (event.id, event.occurred_at) == (entry.id, NOW)
            assert (event.actor_id, event.account_id) == (entry.actor, entry.subject)
            for trace in ("machine", "192.0.2.7", "Firefox", "request-1"):
                assert trace not in repr(event)


def test_what_changed_is_named_and_no_change_is_no_event() -> None:
    entry = an_entry(AuditType.ACCOUNT_CHANGED)
    event = event_of(entry, ["username"])
    assert isinstance(event, AccountChanged)
    assert event.changed == ("username",)
    assert event_of(entry) is None


def test_a_session_tells_why_it_ended() -> None:
    ended = event_of(an_entry(AuditType.SESSION_ENDED, reason="logged_out"))
    assert isinstance(ended, SessionEnded)
    assert ended.reason == "logged_out"
    entry = replace(an_entry(AuditType.SESSIONS_ENDED), session_id=None)
    others = event_of(entry)
    assert isinstance(others, SessionsEnded)
    assert (others.kept_session_id, others.reason) == (None, "ended_by_owner")
    assert event_from(others.name, others.id, NOW, data_of(others)) == others


def test_the_session_of_an_administrator_who_ends_all_is_not_one_that_was_kept() -> None:
    kept = an_entry(AuditType.SESSIONS_ENDED)
    for entry, session_id in (
        (kept, kept.session_id),
        (replace(kept, reason="ended_by_administrator"), None),
    ):
        event = event_of(entry)
        assert isinstance(event, SessionsEnded)
        assert event.kept_session_id == session_id


def test_refusals_are_told_only_where_they_change_something() -> None:
    reused = event_of(an_entry(AuditType.REFRESH_REUSED, failure="late_parent"))
    assert isinstance(reused, RefreshReused)
    assert reused.reason == "late_parent"
    undone = AuditType.EMAIL_CHANGE_UNDONE
    assert isinstance(event_of(an_entry(undone)), AccountEmailChangeUndone)
    assert isinstance(event_of(an_entry(undone, failure=EmailTaken.code)), AccountSuspended)
    refused = an_entry(AuditType.PASSWORD_CHANGED, failure=WrongPassword.code)
    assert event_of(refused) is None
    assert not is_hidden(refused)
    assert event_of(replace(an_entry(AuditType.ACCOUNT_REGISTERED), subject=None)) is None


def test_a_placeholder_makes_an_event_that_is_hidden() -> None:
    entry = an_entry(AuditType.ACCOUNT_REGISTERED, failure=EmailTaken.code)
    assert isinstance(event_of(entry), AccountRegistered)
    assert is_hidden(entry)
    assert not is_hidden(an_entry(AuditType.ACCOUNT_REGISTERED))


def test_fields_of_a_newer_release_are_left_out_and_its_names_are_unknown() -> None:
    event = event_of(an_entry(AuditType.ACCOUNT_DELETED))
    assert event is not None
    assert event_from(event.name, event.id, NOW, data_of(event) | {"newer": "x"}) == event
    with pytest.raises(KeyError):
        event_from("account.deleted.v9", event.id, NOW, data_of(event))


def test_no_field_is_free_text() -> None:
    names = {field.name for kind in CATALOGUE.values() for field in fields(kind)}
    assert names == {
        *("id", "occurred_at", "actor_id", "account_id", "session_id", "kept_session_id"),
        *("changed", "reason"),
    }
