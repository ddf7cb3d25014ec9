import io
import os
import re
import stat
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from gatepost.adapters.mail.delivery import ConsoleMailer, FileMailer
from gatepost.adapters.mail.message import MessageBuilder
from gatepost.adapters.mail.rendering import MailTexts
from gatepost.adapters.mail.server import Security, SmtpServer
from gatepost.adapters.memory import ManualClock, MemoryMailer
from gatepost.application.ports.delivery import Mail, Mailer, MailTemplate, Undeliverable
from gatepost.domain.errors import Unavailable
from gatepost.testing.contracts.mailers import LINK, Arrived, MailerContract, a_mail

SENDER = "Gatepost <no-reply@id.example.com>"
WITH_LINK = [
    MailTemplate.WELCOME,
    MailTemplate.VERIFY_EMAIL,
    MailTemplate.RESET_PASSWORD,
    MailTemplate.SET_PASSWORD,
    MailTemplate.CONFIRM_EMAIL,
    MailTemplate.EMAIL_CHANGE_REQUESTED,
]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def texts() -> MailTexts:
    return MailTexts()


@pytest.fixture
def builder(texts: MailTexts, clock: ManualClock) -> MessageBuilder:
    return MessageBuilder(texts, SENDER, clock)


def parts(message: EmailMessage) -> tuple[str, str]:
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    return plain.get_content(), html.get_content()


def sent(builder: MessageBuilder, mail: Mail) -> EmailMessage:
    """What a recipient reads: the message after a trip over the wire."""
    received = message_from_bytes(builder.build(mail).as_bytes(), policy=SMTP)
    assert isinstance(received, EmailMessage)
    return received


EVERY_MAIL = [(locale, template) for locale in ("en", "de") for template in MailTemplate]


def test_every_mail_has_a_text_and_an_accessible_html_part_in_every_language(
    builder: MessageBuilder,
) -> None:
    for locale, template in EVERY_MAIL:
        message = sent(builder, a_mail(template, locale=locale))
        assert message.get_content_type() == "multipart/alternative"
        assert message["Content-Language"] == locale
        text, html = parts(message)
        assert len(text) > 100
        assert not {"<", "&"} & set(text)
        assert max(map(len, text.replace(LINK, "").splitlines())) < 80
        assert f'<html lang="{locale}">' in html
        assert f"<h1>{message['Subject']}</h1>" in html
        assert "prefers-color-scheme: dark" in html
        for remote in ("<img", "src=", "url(", "@import", "<script", "<table"):
            assert remote not in html
        assert "Gatepost" in message["Subject"]
        assert not message.defects


def test_no_language_lends_words_from_another(texts: MailTexts) -> None:
    for template in MailTemplate:
        english, german = (texts.render(a_mail(template, locale=tag)) for tag in ("en", "de"))
        assert english.subject != german.subject
        for word in ("The ", "your", "message", "hours", "minutes", "open"):
            assert word not in german.subject + german.text + german.html.partition("<main>")[2]


def test_the_link_stands_on_a_line_of_its_own_and_can_be_read_in_html(
    builder: MessageBuilder,
) -> None:
    for locale, template in EVERY_MAIL:
        if template in WITH_LINK:
            mail = a_mail(template, locale=locale)
            text, html = parts(sent(builder, mail))
            assert text.splitlines().count(LINK) == 1
            assert f'href="{LINK}"' in html
            assert f">{LINK}</a>" in html
            raw = builder.build(mail).as_bytes().split(b"\r\n")
            # So that in development nobody has to decode it; beyond ASCII there is no way around.
            assert LINK.encode() in raw or locale != "en"


def test_a_mail_that_needs_a_link_is_not_sent_without(builder: MessageBuilder) -> None:
    for template in WITH_LINK:
        with pytest.raises(ValueError, match="link"):
            builder.build(a_mail(template, link=None))


def test_a_notice_needs_no_link(builder: MessageBuilder) -> None:
    for locale, template in EVERY_MAIL:
        if template not in WITH_LINK:
            text, html = parts(builder.build(a_mail(template, locale=locale, link=None)))
            assert "None" not in text + html
            assert "http" not in text + html


def test_the_text_says_how_long_its_link_works(builder: MessageBuilder) -> None:
    for template, span in ((MailTemplate.WELCOME, "24 hours"), (WITH_LINK[2], "30 minutes")):
        for part in parts(builder.build(a_mail(template))):
            assert f"for {span}" in part
    for template, span in ((MailTemplate.WELCOME, "24 Stunden"), (WITH_LINK[2], "30 Minuten")):
        for part in parts(builder.build(a_mail(template, locale="de-CH"))):
            assert f"{span} lang" in part
    for locale, span in (("en", "for 3 days"), ("de", "3 Tage lang")):
        for part in parts(builder.build(a_mail(WITH_LINK[5], locale=locale))):
            assert span in part


@pytest.mark.parametrize(
    "name", ["<b>x</b>", '"><script>alert(1)</script>', "a\r\nBcc: eve@example.com", "{{ link }}"]
)
def test_ob_07_markup_and_line_breaks_in_the_name_do_nothing(
    builder: MessageBuilder, name: str
) -> None:
    for template in MailTemplate:
        plain = builder.build(a_mail(template))
        message = sent(builder, a_mail(template, username=name))
        assert message.keys() == plain.keys()
        assert len(message.keys()) == len(set(message.keys()))
        assert message["Subject"] == plain["Subject"]
        text, html = parts(message)
        assert "\nBcc" not in text, template
        assert "<script>" not in html, template
        assert "<b>" not in html, template


@pytest.mark.parametrize(
    "to",
    [
        "ann@example.com",
        "o'neil+tag@example.com",
        "a" * 64 + "@" + "b" * 60 + ".example.com",
        "x@xn--bcher-kva.example",
        "{_}@example.com",
    ],
)
def test_mail_goes_to_the_stored_address_alone(builder: MessageBuilder, to: str) -> None:
    message = builder.build(a_mail(to=to))
    assert f"\r\nTo: {to}\r\n".encode() in message.as_bytes()
    assert message["Cc"] is message["Bcc"] is None


def test_the_headers_are_those_of_an_automatic_message(
    builder: MessageBuilder, clock: ManualClock
) -> None:
    mail = a_mail()
    message = sent(builder, mail)
    assert message["Message-ID"] == f"<{mail.id}@id.example.com>"
    assert message["List-Unsubscribe"] is None
    assert message["From"] == SENDER
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime == clock()
    assert message["Subject"] == "Confirm your e-mail address for Gatepost"


@pytest.mark.parametrize(
    "sender",
    [
        "",
        "Gatepost",
        "a@example.com, b@example.com",
        "G <a@example.com>\r\nBcc: x@example.com",
        "a@example.com\u2028",
        "G <a@>",
        "G <@example.com>",
        "\u00e4@example.com",
        "a@b\u00fccher..example",
        "a@" + "b\u00fc" * 40 + ".example",
    ],
)
def test_an_unusable_sender_stops_the_start(
    texts: MailTexts, clock: ManualClock, sender: str
) -> None:
    with pytest.raises(ValueError, match="sender"):
        MessageBuilder(texts, sender, clock)


def test_a_sender_needs_no_name_and_may_have_one_in_any_language(
    texts: MailTexts, clock: ManualClock
) -> None:
    for sender in ("no-reply@example.com", "Gärtnerei <no-reply@example.com>"):
        message = sent(MessageBuilder(texts, sender, clock), a_mail())
        assert message["From"] == sender


def test_the_domain_of_a_sender_is_sent_in_its_ascii_form(
    texts: MailTexts, clock: ManualClock
) -> None:
    builder = MessageBuilder(texts, "B\u00fccher <no-reply@b\u00fccher.example>", clock)
    assert builder.sender_address == "no-reply@xn--bcher-kva.example"
    message = sent(builder, a_mail())
    assert message["From"] == "B\u00fccher <no-reply@xn--bcher-kva.example>"
    assert message["Message-ID"].endswith("@xn--bcher-kva.example>")


def test_the_name_of_the_service_is_a_setting(clock: ManualClock) -> None:
    builder = MessageBuilder(MailTexts("Acme & Sons\r\nX: y"), SENDER, clock)
    message = sent(builder, a_mail(MailTemplate.RESET_PASSWORD))
    assert message["Subject"] == "Reset your Acme & Sons X: y password"
    text, html = parts(message)
    assert "Acme & Sons" in text
    assert "Acme &amp; Sons" in html
    assert "Gatepost" not in text + html


def a_language(folder: Path, language: str) -> None:
    for template in MailTemplate:
        stem = folder / language / template.value
        stem.parent.mkdir(exist_ok=True)
        stem.with_suffix(".subject").write_text(f"{language} Gr\u00fc\u00dfe\n", encoding="utf-8")
        stem.with_suffix(".txt").write_text(
            f"{language} \u00fc {{{{ username }}}}\n{{{{ link }}}}\n", encoding="utf-8"
        )
        stem.with_suffix(".html").write_text(
            '<p>{{ username }} <a href="{{ link }}">x</a></p>', encoding="utf-8"
        )


def test_a_language_falls_back_along_its_tag_and_then_to_english(tmp_path: Path) -> None:
    a_language(tmp_path, "fr")
    a_language(tmp_path, "pt-BR")
    texts = MailTexts(overrides=tmp_path)
    for locale, language in {
        "de": "de",
        "DE": "de",
        "de-AT": "de",
        "de_AT": "de",
        "de-Latn-CH-1996": "de",
        "fr-CA": "fr",
        "pt-BR": "pt-br",
        "pt-br-x-y": "pt-br",
        "pt": "en",
        "pt-PT": "en",
        "en-GB": "en",
        "xx": "en",
        "": "en",
        "../de": "en",
    }.items():
        assert texts.render(a_mail(locale=locale)).language == language, locale


def test_text_beyond_ascii_arrives(tmp_path: Path, clock: ManualClock) -> None:
    a_language(tmp_path, "fr")
    builder = MessageBuilder(MailTexts(overrides=tmp_path), SENDER, clock)
    message = sent(builder, a_mail(locale="fr", username="<ann>", link="x"))
    assert message["Subject"] == "fr Gr\u00fc\u00dfe"
    assert message["Content-Language"] == "fr"
    text, html = parts(message)
    assert text == "fr \u00fc <ann>\r\nx\r\n"
    assert html.startswith("<p>&lt;ann&gt; ")
    assert builder.build(a_mail(locale="fr")).as_bytes().isascii()


def test_an_operator_replaces_single_files(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "welcome.subject").write_text("Welcome aboard")
    (tmp_path / "en" / "notes.md").write_text("{% whatever")
    (tmp_path / ".DS_Store").write_bytes(b"\xff")
    texts = MailTexts(overrides=tmp_path)
    assert texts.render(a_mail()).subject == "Welcome aboard"
    assert "username" in texts.render(a_mail()).text
    assert texts.render(a_mail(locale="de")).language == "de"


def test_a_template_that_would_fail_later_stops_the_start_and_is_named(tmp_path: Path) -> None:
    bad = {
        "welcome.txt": [
            b"{% if %}",
            b"{{ usrname }}",
            b"{{ 1 // 0 }}",
            b"{% include 'en/none.txt' %}",
            b"\xff",
            b"no link",
            b"Click: {{ link }}",
        ],
        "welcome.html": [b"{{ link.nothing }}", b"<p>no link</p>"],
        "welcome.subject": [b"{{ username }}, welcome", b"{{ link }}", b" \n"],
        "layout.html": [b"{{ nothing }}", b"{% block %}"],
        "footer.txt": [b"\n\n{{ nothing }}"],
        "unused.html": [b"{% if %}"],
    }
    for name, contents in bad.items():
        path = tmp_path / "en" / name
        path.parent.mkdir(exist_ok=True)
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(ValueError, match="mail template") as refused:
                MailTexts(overrides=tmp_path)
            assert f"en/{name}" in str(refused.value) or "en/none.txt" in str(refused.value)
        path.unlink()
    MailTexts(overrides=tmp_path)


def test_a_broken_template_that_every_language_uses_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "base.html").write_text("{{ nothing }}")
    with pytest.raises(ValueError, match=r"base\.html is broken"):
        MailTexts(overrides=tmp_path)


def test_an_incomplete_language_or_no_folder_stops_the_start(tmp_path: Path) -> None:
    a_language(tmp_path, "fr")
    (tmp_path / "fr" / "welcome.txt").unlink()
    with pytest.raises(ValueError, match=r"fr/welcome\.txt is missing"):
        MailTexts(overrides=tmp_path)
    with pytest.raises(ValueError, match="folder"):
        MailTexts(overrides=tmp_path / "elsewhere")


class TestMemory(MailerContract):
    @pytest.fixture
    def mailer(self) -> Mailer:
        return MemoryMailer()

    @pytest.fixture
    def arrived(self, mailer: MemoryMailer) -> Arrived:
        return lambda: [mail.to for mail in mailer.sent]

    async def test_it_fails_as_it_is_told_to(self, mailer: MemoryMailer) -> None:
        mailer.refused.add("ann@example.com")
        with pytest.raises(Undeliverable):
            await mailer.send(a_mail())
        mailer.is_down = True
        for attempt in (mailer.check(), mailer.send(a_mail())):
            with pytest.raises(Unavailable):
                await attempt


class TestFiles(MailerContract):
    @pytest.fixture
    def mailer(self, builder: MessageBuilder, tmp_path: Path) -> Mailer:
        return FileMailer(builder, tmp_path)

    @pytest.fixture
    def arrived(self, tmp_path: Path) -> Arrived:
        def read() -> list[str]:
            # Named by time, and by ids that rise.
            files = sorted(tmp_path.glob("*.eml"))
            return [message_from_bytes(file.read_bytes())["To"] for file in files]

        return read


class TestConsole(MailerContract):
    @pytest.fixture
    def stream(self) -> io.StringIO:
        return io.StringIO()

    @pytest.fixture
    def mailer(self, builder: MessageBuilder, stream: io.StringIO) -> Mailer:
        return ConsoleMailer(builder, stream)

    @pytest.fixture
    def arrived(self, stream: io.StringIO) -> Arrived:
        return lambda: re.findall(r"^To: (.*)$", stream.getvalue(), re.MULTILINE)


def test_a_server_is_read_from_its_url_and_keeps_the_secret() -> None:
    server = SmtpServer.parse("smtp+starttls://me%40example.com:p%3A%2Fw@Mail.Example.com")
    assert (server.host, server.port, server.security) == (
        "mail.example.com",
        587,
        Security.STARTTLS,
    )
    assert (server.username, server.password) == ("me@example.com", "p:/w")
    assert "p:/w" not in repr(server)
    assert "me@" not in repr(server)
    assert not server.shows_password
    assert SmtpServer.parse("smtp://u:p@[::1]:2525/").shows_password
    plain = SmtpServer.parse("SMTP://relay")
    assert (plain.host, plain.port, plain.username, plain.shows_password) == (
        "relay",
        25,
        None,
        False,
    )
    assert SmtpServer.parse("smtps://relay").port == 465


def test_what_names_no_server_is_refused_without_being_shown() -> None:
    for url in (
        "smtp://",
        "smtp:relay",
        "smtp://:25",
        "http://relay",
        "smtp://secret@relay",
        "smtp://:secret@relay",
        "smtp://u:sec/ret@relay",
        "smtp://u:sec#ret@relay",
        "smtp://u:secret%0d%0a@relay",
        "smtp://u:secret@relay\r\n",
        "smtp://u:secret@relay:0",
        "smtp://u:secret@relay:port",
        "smtp://u:secret@relay:70000",
        "smtp://u:secret@[::1",
        "smtp://u:secret@r\u00e9lay",
        "smtp://u:secret@relay/path",
        "smtp://u:secret@relay?tls=no",
    ):
        with pytest.raises(ValueError, match="smtp") as refused:
            SmtpServer.parse(url)
        assert "secret" not in str(refused.value)


async def test_a_mail_becomes_one_private_file(builder: MessageBuilder, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "outbox"
    mail = a_mail()
    await FileMailer(builder, folder).send(mail)
    (file,) = folder.iterdir()
    assert file.name == f"20260301T120000Z-{mail.id}.eml"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    data = file.read_bytes()
    assert data.count(b"\n") == data.count(b"\r\n")
    assert data.startswith(b"From: Gatepost <no-reply@id.example.com>\r\n")


async def test_a_mail_sent_again_later_is_the_same_file(
    builder: MessageBuilder, clock: ManualClock, tmp_path: Path
) -> None:
    mailer, mail = FileMailer(builder, tmp_path), a_mail()
    await mailer.send(mail)
    clock.advance(timedelta(seconds=7))
    await mailer.send(mail)
    assert len(os.listdir(tmp_path)) == 1


async def test_a_mail_that_cannot_be_written_leaves_nothing(
    builder: MessageBuilder, tmp_path: Path
) -> None:
    mail = a_mail()
    (tmp_path / f"20260301T120000Z-{mail.id}.eml").mkdir()
    with pytest.raises(OSError, match=r"."):
        await FileMailer(builder, tmp_path).send(mail)
    assert [name[0] for name in os.listdir(tmp_path)] == ["2"]


async def test_the_console_shows_recipient_subject_and_text(builder: MessageBuilder) -> None:
    stream = io.StringIO()
    await ConsoleMailer(builder, stream).send(a_mail())
    shown = stream.getvalue()
    assert shown.startswith("To: ann@example.com\nSubject: Confirm your e-mail address")
    assert LINK in shown.splitlines()
    assert "<html" not in shown


async def test_the_console_is_standard_output_by_default(
    builder: MessageBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    await ConsoleMailer(builder).send(a_mail())
    assert LINK in capsys.readouterr().out


def test_no_repr_shows_a_link() -> None:
    assert "token" not in repr(a_mail())


async def test_a_folder_that_can_be_made_is_fine_and_one_that_cannot_is_told(
    builder: MessageBuilder, tmp_path: Path
) -> None:
    await FileMailer(builder, tmp_path / "not" / "yet").check()
    assert not (tmp_path / "not").exists()
    await ConsoleMailer(builder).check()
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        await FileMailer(builder, tmp_path / "file").check()
