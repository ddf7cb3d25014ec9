"""The mailer's contract over SMTP, and what servers do to mails."""

import asyncio
import contextlib
import email
import time
from collections.abc import AsyncIterator
from email import policy
from pathlib import Path

import pytest

from gatepost.adapters.mail.message import MessageBuilder
from gatepost.adapters.mail.rendering import MailTexts
from gatepost.adapters.mail.server import SmtpServer
from gatepost.adapters.mail.smtp import Patience, SmtpMailer
from gatepost.application.ports.delivery import Mailer, Undeliverable
from gatepost.domain.errors import Unavailable
from gatepost.testing.builders import a_clock
from gatepost.testing.contracts.mailers import LINK, Arrived, MailerContract, a_mail
from tests.sink import CUT, HANG, Answer, Sink, make_certificate

IMPATIENT = Patience(reply=0.3, mail=0.6, goodbye=0.1)


@pytest.fixture(scope="module")
def builder() -> MessageBuilder:
    return MessageBuilder(MailTexts(), "Gatepost <no-reply@id.example.com>", a_clock())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink().listening() as listening:
        yield listening


@contextlib.asynccontextmanager
async def mailing(
    builder: MessageBuilder, url: str, connections: int = 2, patience: Patience = IMPATIENT
) -> AsyncIterator[SmtpMailer]:
    mailer = SmtpMailer(builder, SmtpServer.parse(url), connections=connections, patience=patience)
    yield mailer
    await mailer.close()


def answering(**replies: str) -> Answer:
    return lambda command, _: replies.get(command)


class TestSmtp(MailerContract):
    @pytest.fixture
    async def mailer(self, builder: MessageBuilder, sink: Sink) -> AsyncIterator[Mailer]:
        async with mailing(builder, sink.url(), patience=Patience()) as mailer:
            yield mailer

    @pytest.fixture
    def arrived(self, sink: Sink) -> Arrived:
        return lambda: [mail.recipient for mail in sink.received]


async def test_what_arrives_is_the_message_of_the_sender(
    builder: MessageBuilder, sink: Sink
) -> None:
    mail = a_mail(username=".")
    async with mailing(builder, sink.url()) as mailer:
        await mailer.send(mail)
    (received,) = sink.received
    assert received.sender == "no-reply@id.example.com"
    message = email.message_from_bytes(received.data, policy=policy.default)
    assert message["Message-ID"] == f"<{mail.id}@id.example.com>"
    assert LINK.encode() in received.data.split(b"\r\n")


async def test_connections_are_few_and_kept_for_the_next_mail(
    builder: MessageBuilder, sink: Sink
) -> None:
    # Patient: on a slow machine the last of twenty waits long for a connection.
    async with mailing(builder, sink.url(), connections=3, patience=Patience()) as mailer:
        for _ in range(2):
            await asyncio.gather(*(mailer.send(a_mail()) for _ in range(20)))
            await mailer.check()
        assert len(sink.received) == 40
        assert (sink.commands["CONNECT"], sink.most_at_once) == (3, 3)
    assert sink.commands["QUIT"] == 3


async def test_a_kept_connection_that_died_is_replaced_before_a_mail_is_given_to_it(
    builder: MessageBuilder, sink: Sink
) -> None:
    async with mailing(builder, sink.url()) as mailer:
        await mailer.send(a_mail())
        sink.hang_up()
        await mailer.send(a_mail())
        sink.answer = answering(RSET="421 too many mails")
        await mailer.send(a_mail())
    assert len(sink.received) == 3
    assert sink.commands["CONNECT"] == 3


async def test_an_old_connection_is_replaced_unasked(builder: MessageBuilder, sink: Sink) -> None:
    async with mailing(builder, sink.url(), patience=Patience(kept=0)) as mailer:
        await mailer.send(a_mail())
        await mailer.send(a_mail())
    assert (sink.commands["CONNECT"], sink.commands["RSET"]) == (2, 0)


@pytest.mark.parametrize("reply", ["550 5.1.1 no such user", "551 moved", "552 full", "554 no"])
async def test_ob_02_an_address_that_is_refused_for_good_is_undeliverable(
    builder: MessageBuilder, sink: Sink, reply: str
) -> None:
    sink.answer = answering(RCPT=reply)
    async with mailing(builder, sink.url()) as mailer:
        with pytest.raises(Undeliverable):
            await mailer.send(a_mail())
        sink.answer = answering()
        await mailer.send(a_mail())
    assert sink.commands["CONNECT"] == 1


@pytest.mark.parametrize(
    "replies",
    [
        {"CONNECT": "554 go away"},
        {"EHLO": "421 not now"},
        {"MAIL": "451 later"},
        {"MAIL": "550 5.1.8 sender unknown"},
        {"RCPT": "450 4.2.1 greylisted"},
        {"RCPT": "530 5.7.0 sign in first"},
        {"RCPT": "554 5.7.1 relay access denied"},
        {"DATA": "452 disk full"},
        {"END": "451 scanner is busy"},
        {"END": "554 5.7.1 we think that is spam"},
        {"RCPT": "nonsense"},
        {"CONNECT": CUT},
        {"RCPT": CUT},
        {"DATA": CUT},
        {"CONNECT": HANG},
        {"EHLO": HANG},
        {"RCPT": HANG},
        {"DATA": HANG},
    ],
    ids=str,
)
async def test_ob_02_whatever_else_goes_wrong_is_tried_again_and_soon_known(
    builder: MessageBuilder, sink: Sink, replies: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    sink.answer = answering(**replies)
    async with mailing(builder, sink.url()) as mailer:
        started = time.monotonic()
        with pytest.raises(Unavailable) as failed:
            await mailer.send(a_mail())
        assert time.monotonic() - started < 10 * IMPATIENT.mail
        assert "ann" not in repr(failed.value)
        assert sink.received == []
        sink.answer = answering()
        await mailer.send(a_mail())
    assert len(sink.received) == 1


async def test_a_mail_whose_fate_is_unknown_is_sent_again_under_the_same_id(
    builder: MessageBuilder, sink: Sink
) -> None:
    mail = a_mail()
    async with mailing(builder, sink.url()) as mailer:
        for silence in (CUT, HANG):
            sink.answer = answering(END=silence)
            with pytest.raises(Unavailable):
                await mailer.send(mail)
        sink.answer = answering()
        await mailer.send(mail)
    ids = {email.message_from_bytes(each.data)["Message-ID"] for each in sink.received}
    assert (len(sink.received), len(ids)) == (3, 1)


async def test_those_who_wait_behind_mails_that_hang_give_up_in_time(
    builder: MessageBuilder, sink: Sink
) -> None:
    sink.answer = answering(RCPT=HANG)
    patience = Patience(reply=1, mail=0.5, goodbye=0.1)
    async with mailing(builder, sink.url(), patience=patience) as mailer:
        started = time.monotonic()
        ends = await asyncio.gather(
            *(mailer.send(a_mail()) for _ in range(20)), return_exceptions=True
        )
        assert {type(end) for end in ends} == {Unavailable}
        assert time.monotonic() - started < 10 * patience.mail
        sink.answer = answering()
        await mailer.send(a_mail())


async def test_a_server_that_is_not_there_is_told(builder: MessageBuilder) -> None:
    async with mailing(builder, "smtp://127.0.0.1:9") as mailer:
        with pytest.raises(Unavailable):
            await mailer.check()
        with pytest.raises(Unavailable):
            await mailer.send(a_mail())


async def test_a_check_signs_in_and_sees_a_server_that_hangs(
    builder: MessageBuilder, sink: Sink
) -> None:
    sink.users = {"gatepost": "secret"}
    async with mailing(builder, sink.url(login="gatepost:secret")) as mailer:
        await mailer.check()
    async with mailing(builder, sink.url(login="gatepost:wrong")) as mailer:
        with pytest.raises(Unavailable):
            await mailer.check()
        sink.answer = answering(CONNECT=HANG)
        with pytest.raises(Unavailable):
            await mailer.check()


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_credentials_and_mails_cross_an_encrypted_connection(
    builder: MessageBuilder, certificate: Path, trusted: None, scheme: str
) -> None:
    sink = Sink(
        certificate=certificate,
        implicit_tls=scheme == "smtps",
        users={"user@example.com": "p:/@ss w\u00f6rd"},
    )
    async with sink.listening():
        url = sink.url(scheme, "user%40example.com:p%3A%2F%40ss%20w%C3%B6rd")
        async with mailing(builder, url, patience=Patience()) as mailer:
            await mailer.send(a_mail())
            await mailer.send(a_mail())
    assert [mail.encrypted for mail in sink.received] == [True, True]
    assert sink.commands["AUTH"] == 1


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_told(
    builder: MessageBuilder,
    certificate: Path,
    scheme: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = Sink(certificate=certificate, implicit_tls=scheme == "smtps", users={"u": "secret"})
    async with sink.listening(), mailing(builder, sink.url(scheme, "u:secret")) as mailer:
        with pytest.raises(Unavailable):
            await mailer.send(a_mail())
    assert sink.commands["AUTH"] == sink.commands["MAIL"] == 0


async def test_a_server_without_starttls_is_not_talked_to_in_the_clear(
    builder: MessageBuilder, sink: Sink
) -> None:
    sink.users = {"u": "secret"}
    async with mailing(builder, sink.url("smtp+starttls", "u:secret")) as mailer:
        with pytest.raises(Unavailable):
            await mailer.send(a_mail())
    assert sink.commands["AUTH"] == sink.commands["MAIL"] == 0


async def test_the_log_says_what_went_wrong_and_names_nobody(
    builder: MessageBuilder, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.users = {"gatepost": "hunter22"}
    async with mailing(builder, sink.url(login="gatepost:hunter22")) as mailer:
        for reply in ("550 no ann@example.com here", "450 not now, ann@example.com"):
            sink.answer = answering(RCPT=reply)
            with pytest.raises((Undeliverable, Unavailable)):
                await mailer.send(a_mail())
    told = caplog.text
    assert "mail refused for good" in told
    assert "mail not taken" in told
    assert "550" in told
    assert "450" in told
    for secret in ("ann@", "hunter22", "token"):
        assert secret not in told
        assert secret not in repr(mailer) + repr(vars(mailer))
