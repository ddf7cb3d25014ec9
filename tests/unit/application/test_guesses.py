"""Limits where use cases spend them."""

import asyncio
from datetime import timedelta

import pytest

from gatepost import Policies
from gatepost.adapters.memory import MemoryMetrics
from gatepost.application.limits import CountedEvents, SilentEvents
from gatepost.application.ports.delivery import MailTemplate
from gatepost.domain.accounts import AccountPolicy
from gatepost.domain.audit import AuditType
from gatepost.domain.errors import (
    EmailNotVerified,
    InvalidClient,
    InvalidCredentials,
    InvalidGrant,
    Overloaded,
    RateLimited,
    TokenInvalid,
    Unavailable,
    ValidationFailed,
    WrongPassword,
)
from gatepost.domain.limits import LimitPolicy, Rate, Rule
from gatepost.domain.roles import Principal
from tests.unit.application.service import (
    CLIENT,
    OTHER_PASSWORD,
    PASSWORD,
    SECOND,
    Service,
)

WRONG = "not the phrase at all"
MINUTE = timedelta(minutes=1)
OPERATOR = Principal.operator()


def limited_by(**rates: str) -> LimitPolicy:
    changed = {Rule(name): Rate.parse(text) for name, text in rates.items()}
    return LimitPolicy(rates={**LimitPolicy().rates, **changed})


async def opened(policies: Policies | None = None, **rates: str) -> Service:
    made = Service(policies, limited_by(**{"login_address": "999/1m", **rates}))
    await made.install_keys()
    return made


async def guess(service: Service, login: str = "ada", device: str | None = None) -> None:
    with pytest.raises(InvalidCredentials):
        await service.log_in(login, WRONG, device=device)


async def expect_limited(service: Service, login: str = "ada") -> None:
    with pytest.raises(RateLimited):
        await service.log_in(login, WRONG)


async def test_sixty_guesses_at_once_are_ten() -> None:
    service = await opened()
    await service.has()
    before = service.hasher.work
    tried = [service.log_in("ada", WRONG) for _ in range(60)]
    outcomes = await asyncio.gather(*tried, return_exceptions=True)
    assert sum(isinstance(one, InvalidCredentials) for one in outcomes) == 10
    assert sum(isinstance(one, RateLimited) for one in outcomes) == 50
    assert service.hasher.work == before + 10


async def test_what_was_typed_counts_not_whose_it_is() -> None:
    service = await opened(login="1/1m")
    await service.has()
    await guess(service)
    await guess(service, "ada@example.com")
    for login in ("ADA", "Ada@EXAMPLE.com"):
        await expect_limited(service, login)


async def test_a_password_that_waits_for_its_proof_is_no_guess() -> None:
    service = await opened(login="1/1m")
    await service.register()
    for _ in range(3):
        with pytest.raises(EmailNotVerified):
            await service.log_in()


@pytest.mark.parametrize("error", [Overloaded, Unavailable])
async def test_a_guess_that_nobody_judged_is_given_back(error: type[Exception]) -> None:
    service = await opened(login="1/1m")
    await service.has()

    async def fail() -> None:
        raise error

    service.hasher.meanwhile = fail
    with pytest.raises(error):
        await service.log_in("ada", WRONG)
    await guess(service)
    await expect_limited(service)


async def test_re_11_a_flood_is_refused_before_it_costs_anything() -> None:
    service = await opened(login="1/1m", register="2/1h")
    await service.has()
    service.hasher.is_flooded = True
    for refused in (service.log_in, service.register):
        with pytest.raises(Overloaded):
            await refused()
    with pytest.raises(Overloaded):
        service.gatepost.demand_room()
    service.hasher.is_flooded = False
    service.gatepost.demand_room()
    await guess(service)
    await expect_limited(service)


async def test_a_flood_over_its_budget_takes_no_place_from_others() -> None:
    service = await opened(login="1/1m", register="1/1h")
    await service.has()
    await guess(service)
    await expect_limited(service)
    with pytest.raises(RateLimited):
        await service.register("bob")
    # Any place would be refused now, and none is asked for.
    service.hasher.is_flooded = True
    await expect_limited(service)
    with pytest.raises(RateLimited):
        await service.register("bob")
    with pytest.raises(Overloaded):
        await service.log_in("somebody else", WRONG)


async def test_a_cancelled_guess_stays_counted() -> None:
    service = await opened(login="1/1m")
    await service.has()

    async def cancel() -> None:
        raise asyncio.CancelledError

    service.hasher.meanwhile = cancel
    with pytest.raises(asyncio.CancelledError):
        await service.log_in("ada", WRONG)
    await expect_limited(service)


async def test_a_known_browser_has_its_own_ten_and_then_those_of_all() -> None:
    service = await opened(login="2/5m", device="3/365d")
    await service.has()
    device = (await service.log_in()).device
    assert device
    for _ in range(2):
        await guess(service)
    await expect_limited(service)
    for _ in range(3):
        await guess(service, device=device)
    with pytest.raises(RateLimited):
        await service.log_in(device=device)
    service.clock.advance(timedelta(minutes=15))
    assert (await service.log_in(device=device)).device != device


async def test_a_browser_is_worth_nothing_for_somebody_else() -> None:
    service = await opened(login="1/5m")
    await service.has()
    await service.has("bob", "bob@example.com")
    device = (await service.log_in()).device
    await guess(service, "bob", device)
    with pytest.raises(RateLimited):
        await service.log_in("bob", device=device)


async def test_a_renewed_hash_keeps_the_browser_known(monkeypatch: pytest.MonkeyPatch) -> None:
    service = await opened(login="1/5m")
    await service.has()
    monkeypatch.setattr(service.hasher, "needs_rehash", lambda _: True)
    before = service.account().password_hash
    device = (await service.log_in()).device
    monkeypatch.undo()
    assert service.account().password_hash != before
    await guess(service)
    assert await service.log_in(device=device)


async def test_a_password_asked_for_again_counts_apart_from_logins() -> None:
    service = await opened(login="2/5m")
    account = await service.has()
    actor = await service.caller(await service.log_in())
    for _ in range(2):
        await guess(service, f"ACCOUNT {account.id}")
    for _ in range(2):
        with pytest.raises(WrongPassword):
            await service.change_password(actor, current=WRONG)
    with pytest.raises(RateLimited):
        await service.change_password(actor)
    assert await service.log_in()


async def test_a_right_password_asked_for_again_is_free() -> None:
    service = await opened(login="1/5m")
    await service.has()
    actor = await service.caller(await service.log_in())
    await service.change_password(actor)
    again = await service.caller(await service.log_in(password=OTHER_PASSWORD))
    await service.change_password(again, OTHER_PASSWORD, PASSWORD)


async def test_a_mailed_link_does_not_let_guess_for_ever() -> None:
    service = await opened(login="2/5m")
    await service.register()
    await service.work()
    for _ in range(2):
        with pytest.raises(WrongPassword):
            await service.verify(password=WRONG)
    with pytest.raises(RateLimited):
        await service.verify()
    service.clock.advance(timedelta(minutes=15))
    await service.verify()


async def test_the_address_of_the_client_counts_before_anything_is_read() -> None:
    service = await opened(login_address="1/1m", register="1/1h", mail_address="1/1h")
    await guess(service, "nobody")
    with pytest.raises(RateLimited):
        await service.log_in("somebody", "x" * 9999)
    with pytest.raises(ValidationFailed):
        await service.register(password="short")
    with pytest.raises(RateLimited):
        await service.register()
    await service.resend()
    with pytest.raises(RateLimited):
        await service.forget("no address")
    assert service.hasher.work == 1


async def test_other_public_calls_count_by_address() -> None:
    service = await opened(public="1/1m")
    account = await service.has()
    service.clock.advance(MINUTE)
    signed_in = await service.log_in()
    sessions, oauth = service.gatepost.sessions, service.gatepost.oauth
    with pytest.raises(InvalidGrant):
        await service.refresh("gpr_nothing")
    for call in (
        service.refresh("gpr_nothing"),
        service.reset("nothing"),
        service.gatepost.accounts.undo_email_change(token="nothing", client=CLIENT),
        service.gatepost.accounts.verify_email(token="x", password=PASSWORD, client=CLIENT),
        sessions.log_out(access_token=signed_in.access_token, client=CLIENT),
        sessions.log_out.by_refresh_token(refresh_token=signed_in.refresh_token, client=CLIENT),
        oauth.revoke(token=signed_in.refresh_token, client=CLIENT),
        oauth.authenticate_client(client_id=str(account.id), secret="x", client=CLIENT),
    ):
        with pytest.raises(RateLimited):
            await call
    service.clock.advance(MINUTE)
    with pytest.raises(TokenInvalid):
        await service.reset("nothing")


async def test_refreshing_counts_by_session() -> None:
    service = await opened(refresh="1/1m")
    await service.has()
    first, second = await service.log_in(), await service.log_in()
    turned = await service.refresh(first.refresh_token)
    with pytest.raises(RateLimited) as refused:
        await service.refresh(turned.refresh_token)
    assert refused.value.retry_after == 60
    await service.refresh(second.refresh_token)
    service.clock.advance(MINUTE)
    await service.refresh(turned.refresh_token)


async def test_calls_count_by_user_and_machines_by_client() -> None:
    service = await opened(user="2/1m", public="1/1m")
    clients, ask = service.gatepost.clients, service.gatepost.oauth.authenticate_client
    made = await clients.create(
        actor=OPERATOR, name="billing", scopes=("tokens:introspect",), client=CLIENT
    )
    added = await clients.add_secret(actor=OPERATOR, client_id=made.id, client=CLIENT)
    shown = {"client_id": str(made.id), "secret": added.client_secret}
    for _ in range(2):
        await ask(**shown, client=CLIENT)
    with pytest.raises(RateLimited):
        await ask(**shown, client=CLIENT)
    with pytest.raises(InvalidClient):
        await ask(client_id="x", secret="x", client=CLIENT)
    with pytest.raises(RateLimited):
        await ask(client_id="x", secret="x", client=CLIENT)


async def test_administrators_send_no_more_mail_than_others() -> None:
    service = await opened(mail="1/1h")
    account = await service.has()
    admin = service.gatepost.administration
    for _ in range(2):
        await admin.send_reset(actor=OPERATOR, account_id=account.id, client=CLIENT)
    await service.work()
    assert service.mails_to().count(MailTemplate.RESET_PASSWORD) == 1
    assert len(service.audited(AuditType.PASSWORD_RESET_REQUESTED)) == 1
    for name in ("bob", "bert"):
        made = await admin.create(
            actor=OPERATOR, username=name, email="bob@example.com", client=CLIENT
        )
        await admin.delete(actor=OPERATOR, account_id=made.id, versions=None, client=CLIENT)
    await service.work()
    assert service.mails_to("bob@example.com").count(MailTemplate.SET_PASSWORD) <= 1


async def test_an_address_set_by_an_administrator_gets_one_link_in_its_time() -> None:
    service = await opened(mail="1/1h")
    account = await service.has()
    amend = service.gatepost.administration.amend
    for email in ("new@example.com", "new@example.com", "ada@example.com", "new@example.com"):
        await amend(
            actor=OPERATOR, account_id=account.id, versions=None, email=email, client=CLIENT
        )
    await service.work()
    assert service.mails_to("new@example.com").count(MailTemplate.VERIFY_EMAIL) == 1
    with pytest.raises(ValidationFailed):
        await amend(
            actor=OPERATOR, account_id=account.id, versions=None, email="none", client=CLIENT
        )


async def test_a_change_of_address_without_mail_left_answers_the_same() -> None:
    service = await opened(mail="1/1h")
    await service.has()
    actor = await service.caller(await service.log_in())
    for _ in range(2):
        await service.gatepost.accounts.request_email_change(
            actor=actor, new_email="new@example.com", password=PASSWORD, client=CLIENT
        )
    await service.work()
    assert service.mails_to("new@example.com") == [MailTemplate.CONFIRM_EMAIL]
    assert service.mails_to().count(MailTemplate.EMAIL_CHANGE_REQUESTED) == 1


async def test_counts_that_say_nothing_are_purged() -> None:
    service = Service(Policies(accounts=AccountPolicy()), limited_by())
    await service.install_keys()
    for n in range(600):
        await service.gatepost.sessions.log_in.guesses.limits.spend(Rule.PUBLIC, str(n))
    service.clock.advance(2 * SECOND)
    await service.purge()
    assert await service.ports.limiter.sweep(9) == 0


async def test_metrics_and_log_hear_of_refusals_and_of_lost_stores() -> None:
    heard: list[str] = []

    class Events(SilentEvents):
        def limited(self, rule: Rule) -> None:
            heard.append(f"{rule} refused")

        def uncounted(self, rule: Rule, *, refused: bool) -> None:
            heard.append(f"{rule} uncounted")

        def store_lost(self) -> None:
            heard.append("lost")

    metrics = MemoryMetrics()
    both = CountedEvents(Events(), metrics)
    both.limited(Rule.LOGIN)
    both.uncounted(Rule.USER, refused=False)
    both.store_lost()
    assert heard == ["login refused", "user uncounted", "lost"]
    assert metrics.counts == {
        ("limited", "login"): 1,
        ("uncounted", "user", "let_pass"): 1,
        ("store_lost",): 1,
    }
