import base64
from datetime import timedelta

import pytest

from gatepost.domain.errors import ValidationFailed
from gatepost.domain.webhooks import (
    FAILING_AT_MOST,
    MAX_ATTEMPTS,
    ROTATION_OVERLAP,
    DeliveryStatus,
    EndpointStatus,
    Fault,
    Outcome,
    parse_events,
    secret_from,
)
from gatepost.testing.builders import NOW, SECOND, a_delivery, an_endpoint

DONE, DOWN = Outcome(5, status=204), Outcome(3000, fault=Fault.TIMED_OUT)
TICK = timedelta(microseconds=1)


def test_a_secret_is_spelled_as_receivers_want_it() -> None:
    secret = secret_from("_" * 42 + "8")
    assert secret.startswith("whsec_")
    assert base64.b64decode(secret.removeprefix("whsec_"), validate=True) == b"\xff" * 32


def test_only_known_events_can_be_asked_for() -> None:
    asked = ["session.created.v1", "account.deleted.v1", "session.created.v1"]
    assert parse_events(asked) == ("account.deleted.v1", "session.created.v1")
    assert parse_events([]) == ()
    with pytest.raises(ValidationFailed):
        parse_events(["account.deleted"])


def test_an_endpoint_wants_what_it_names_or_all() -> None:
    assert an_endpoint().wants("account.deleted.v1")
    some = an_endpoint(events=("session.created.v1",))
    assert some.wants("session.created.v1")
    assert not some.wants("account.deleted.v1")
    assert an_endpoint(url="https://hooks.example.com:1/secret").host == "hooks.example.com"


def test_for_a_day_two_secrets_sign() -> None:
    first = an_endpoint()
    assert first.sealed_secrets(NOW) == (first.sealed_secret,)
    rotated = first.rotate(b"new", NOW)
    until = NOW + ROTATION_OVERLAP
    assert rotated.sealed_secrets(until - TICK) == (b"new", first.sealed_secret)
    assert rotated.sealed_secrets(until) == (b"new",)
    assert rotated.rotate(b"newer", NOW).sealed_secrets(NOW) == (b"newer", b"new")


def test_what_still_signs_is_sealed_anew() -> None:
    rotated = an_endpoint().rotate(b"new", NOW)
    both = rotated.reseal(bytes.upper, NOW)
    assert both.sealed_secrets(NOW) == (b"NEW", (rotated.sealed_former_secret or b"").upper())
    later = rotated.reseal(bytes.upper, NOW + ROTATION_OVERLAP)
    assert (later.sealed_secret, later.sealed_former_secret) == (b"NEW", None)


def test_success_is_any_2xx_and_nothing_else() -> None:
    assert [
        code
        for code in (199, 200, 204, 299, 300, 302, 404, 500)
        if Outcome(1, status=code).is_success
    ] == [200, 204, 299]
    assert not DOWN.is_success


def test_an_endpoint_that_fails_for_days_without_a_success_is_disabled() -> None:
    fine = an_endpoint()
    assert fine.after(DONE, NOW) is fine
    failing = fine.after(DOWN, NOW)
    assert failing.failing_since == NOW
    assert failing.after(DOWN, NOW + FAILING_AT_MOST - TICK) == failing
    lost = failing.after(DOWN, NOW + FAILING_AT_MOST)
    assert lost.status is EndpointStatus.DISABLED
    assert failing.after(DONE, NOW + SECOND) == fine
    back = lost.enable(NOW + FAILING_AT_MOST)
    assert (back.is_enabled, back.failing_since) == (True, None)
    assert not fine.after(Outcome(1, status=410), NOW).is_enabled


def test_a_delivery_counts_its_attempts_and_is_given_up_after_the_last() -> None:
    delivery = a_delivery(an_endpoint())
    for attempt in range(1, MAX_ATTEMPTS):
        delivery = delivery.after(DOWN, NOW)
        assert (delivery.attempts, delivery.status) == (attempt, DeliveryStatus.PENDING)
    assert (delivery.fault, delivery.duration_ms, delivery.answered) == (
        Fault.TIMED_OUT,
        3000,
        None,
    )
    assert delivery.after(DOWN, NOW).status is DeliveryStatus.FAILED
    done = delivery.after(DONE, NOW)
    assert (done.status, done.answered, done.fault) == (DeliveryStatus.DELIVERED, 204, None)
    assert (done.again().status, done.again().attempts) == (DeliveryStatus.PENDING, 0)
    assert done.hold().status is DeliveryStatus.HELD


def test_secrets_and_paths_stand_in_no_repr() -> None:
    endpoint = an_endpoint(url="https://hooks.example.com/s3cret").rotate(b"s3cret", NOW)
    assert "s3cret" not in repr(endpoint)
    assert "sealed" not in repr(endpoint).replace("sealed_", "")
