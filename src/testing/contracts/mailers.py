"""What every mailer must do.

Collect a class under the fixtures `mailer` and `arrived`, which lists the recipients so far.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from ...application.ports.delivery import Mail, Mailer, MailTemplate, Undeliverable
from ..builders import new_id

LINK = "https://app.example.com/verify-email#token=" + "Ab-_" * 10 + "xyz"
NO_ADDRESSES = [
    "ann@example.com\r\nBcc: eve@example.com",
    "ann@example.com\nx",
    "ann@example.com\u2028",
    "ann@example.com, eve@example.com",
    "Ann <ann@example.com>",
    "<ann@example.com>",
    "ann@EXAMPLE.com",
    "ann@b\u00fccher.example",
    "\u00e4nn@example.com",
    "ann",
    "@example.com",
    "",
]

Arrived = Callable[[], list[str]]


def a_mail(
    template: MailTemplate = MailTemplate.WELCOME,
    *,
    to: str = "ann@example.com",
    locale: str = "en",
    username: str = "ann",
    link: str | None = LINK,
) -> Mail:
    return Mail(id=new_id(), template=template, to=to, locale=locale, username=username, link=link)


class MailerContract:
    async def test_a_mail_goes_to_its_recipient_alone(
        self, mailer: Mailer, arrived: Arrived
    ) -> None:
        await mailer.send(a_mail())
        await mailer.send(a_mail(MailTemplate.PASSWORD_CHANGED, to="bob@example.org", link=None))
        assert arrived() == ["ann@example.com", "bob@example.org"]

    async def test_a_mail_may_be_sent_again(self, mailer: Mailer, arrived: Arrived) -> None:
        mail = a_mail()
        await mailer.send(mail)
        await mailer.send(mail)
        assert set(arrived()) == {mail.to}

    async def test_mails_may_be_sent_at_once(self, mailer: Mailer, arrived: Arrived) -> None:
        mails = [a_mail(to=f"ann{number}@example.com") for number in range(30)]
        await asyncio.gather(*(mailer.send(mail) for mail in mails))
        assert sorted(arrived()) == sorted(mail.to for mail in mails)

    async def test_ob_07_what_is_no_stored_address_is_undeliverable_and_not_named(
        self, mailer: Mailer, arrived: Arrived
    ) -> None:
        for to in NO_ADDRESSES:
            with pytest.raises(Undeliverable) as refused:
                await mailer.send(a_mail(to=to))
            assert "ann" not in str(refused.value)
        assert arrived() == []

    async def test_a_check_delivers_nothing(self, mailer: Mailer, arrived: Arrived) -> None:
        await mailer.check()
        assert arrived() == []

    async def test_one_failure_spoils_nothing_that_follows(
        self, mailer: Mailer, arrived: Arrived
    ) -> None:
        with pytest.raises(Undeliverable):
            await mailer.send(replace(a_mail(), to="nobody"))
        await mailer.send(a_mail())
        assert arrived() == ["ann@example.com"]

    async def test_closing_may_be_repeated(self, mailer: Mailer) -> None:
        await mailer.close()
        await mailer.close()
