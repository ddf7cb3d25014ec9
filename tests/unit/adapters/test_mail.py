import io
import os
import stat
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from uuid import UUID

import pytest

from gatepost.adapters.mail.delivery import ConsoleMailer, FileMailer
from gatepost.adapters.mail.message import MessageBuilder
from gatepost.adapters.mail.rendering import MailTexts
from gatepost.adapters.memory import ManualClock
from gatepost.application.ports.delivery import Mail, MailTemplate
from gatepost.domain.errors import Unavailable

LINK = "https://app.example.com/verify-email#token=" + "Ab-_" * 10 + "xyz"
MAIL_ID = UUID("01890000-0000-7000-8000-00000000000a")
SENDER = "Gatepost <no-reply@id.example.com>"
WITH_LINK = [
    MailTemplate.WELCOME,
    MailTemplate.VERIFY_EMAIL,
    MailTemplate.RESET_PASSWORD,
    MailTemplate.SET_PASSWORD,
    MailTemplate.CONFIRM_EMAIL,
    MailTemplate.EMAIL_CHANGE_REQUESTED,
]


def a_mail(
    template: MailTemplate = MailTemplate.WELCOME,
    *,
    to: str = "ann@example.com",
    locale: str = "en",
    username: str = "ann",
    link: str | None = LINK,
) -> Mail:
    return Mail(id=MAIL_ID, template=template, to=to, locale=locale, username=username, link=link)


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


@pytest.mark.parametrize("template", MailTemplate)
def test_every_mail_has_a_text_and_an_accessible_html_part(
    builder: MessageBuilder, template: MailTemplate
) -> None:
    message = sent(builder, a_mail(template))
    assert message.get_content_type() == "multipart/alternative"
    text, html = parts(message)
    assert len(text) > 100
    assert "<" not in text
    assert "&" not in text
    assert '<html lang="en">' in html
    assert f"<h1>{message['Subject']}</h1>" in html
    assert "prefers-color-scheme: dark" in html
    for remote in ("<img", "src=", "url(", "@import", "<script"):
        assert remote not in html
    assert not message.defects


@pytest.mark.parametrize("template", WITH_LINK)
def test_the_link_stands_on_a_line_of_its_own(
    builder: MessageBuilder, template: MailTemplate
) -> None:
    text, html = parts(sent(builder, a_mail(template)))
    assert text.splitlines().count(LINK) == 1
    assert f'href="{LINK}"' in html
    assert LINK.encode() in builder.build(a_mail(template)).as_bytes().split(b"\r\n")


@pytest.mark.parametrize("template", WITH_LINK)
def test_a_mail_that_needs_a_link_is_not_sent_without(
    builder: MessageBuilder, template: MailTemplate
) -> None:
    with pytest.raises(ValueError, match="link"):
        builder.build(a_mail(template, link=None))


@pytest.mark.parametrize("template", sorted(set(MailTemplate) - set(WITH_LINK)))
def test_a_notice_needs_no_link(builder: MessageBuilder, template: MailTemplate) -> None:
    text, html = parts(builder.build(a_mail(template, link=None)))
    assert "None" not in text + html
    assert "http" not in text + html


def test_the_text_says_how_long_its_link_works(builder: MessageBuilder) -> None:
    for template, span in ((MailTemplate.WELCOME, "24 hours"), (WITH_LINK[2], "30 minutes")):
        for part in parts(builder.build(a_mail(template))):
            assert f"for {span}" in part


@pytest.mark.parametrize("template", MailTemplate)
@pytest.mark.parametrize(
    "name", ["<b>x</b>", '"><script>alert(1)</script>', "a\r\nBcc: eve@example.com", "{{ link }}"]
)
def test_ob_07_markup_and_line_breaks_in_the_name_do_nothing(
    builder: MessageBuilder, template: MailTemplate, name: str
) -> None:
    plain = builder.build(a_mail(template))
    message = sent(builder, a_mail(template, username=name))
    assert message.keys() == plain.keys()
    assert len(message.keys()) == len(set(message.keys()))
    assert message["Subject"] == plain["Subject"]
    text, html = parts(message)
    assert "\nBcc" not in text
    assert "<script>" not in html
    assert "<b>" not in html


@pytest.mark.parametrize(
    "to",
    [
        "ann@example.com\r\nBcc: eve@example.com",
        "ann@example.com\nx",
        "ann@example.com\u2028",
        "ann@example.com, eve@example.com",
        "Ann <ann@example.com>",
        "ann@EXAMPLE.com",
        "ann@b\u00fccher.example",
        "ann",
        "@example.com",
        "",
    ],
)
def test_ob_07_a_recipient_is_one_address_and_nothing_else(
    builder: MessageBuilder, to: str
) -> None:
    with pytest.raises(ValueError, match="recipient"):
        builder.build(a_mail(to=to))


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
    message = sent(builder, a_mail())
    assert message["Message-ID"] == f"<{MAIL_ID}@id.example.com>"
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
        stem.with_suffix(".subject").write_text(f"{language} Grüße\n", encoding="utf-8")
        stem.with_suffix(".txt").write_text(f"{language} ü {{{{ username }}}}\n", encoding="utf-8")
        stem.with_suffix(".html").write_text("<p>{{ username }}</p>", encoding="utf-8")


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("de-AT", "de"),
        ("de_AT", "de"),
        ("pt-BR", "pt-br"),
        ("pt-br-x-y", "pt-br"),
        ("pt", "en"),
        ("pt-PT", "en"),
        ("en-GB", "en"),
        ("xx", "en"),
        ("", "en"),
        ("../de", "en"),
    ],
)
def test_a_language_falls_back_along_its_tag_and_then_to_english(
    tmp_path: Path, locale: str, language: str
) -> None:
    a_language(tmp_path, "de")
    a_language(tmp_path, "pt-BR")
    rendered = MailTexts(overrides=tmp_path).render(a_mail(locale=locale))
    assert rendered.language == language


def test_text_beyond_ascii_arrives(tmp_path: Path, clock: ManualClock) -> None:
    a_language(tmp_path, "de")
    builder = MessageBuilder(MailTexts(overrides=tmp_path), SENDER, clock)
    message = sent(builder, a_mail(locale="de", username="<ann>"))
    assert message["Subject"] == "de Grüße"
    assert message["Content-Language"] == "de"
    assert parts(message) == ("de ü <ann>\r\n", "<p>&lt;ann&gt;</p>\r\n")
    assert builder.build(a_mail(locale="de")).as_bytes().isascii()


def test_an_operator_replaces_single_files(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "welcome.subject").write_text("Welcome aboard")
    texts = MailTexts(overrides=tmp_path)
    assert texts.render(a_mail()).subject == "Welcome aboard"
    assert "username" in texts.render(a_mail()).text


def test_an_incomplete_language_or_a_broken_template_stops_the_start(tmp_path: Path) -> None:
    a_language(tmp_path, "de")
    (tmp_path / "de" / "welcome.txt").unlink()
    with pytest.raises(ValueError, match=r"de/welcome\.txt"):
        MailTexts(overrides=tmp_path)
    a_language(tmp_path, "de")
    for name in ("welcome.txt", "layout.html"):
        (tmp_path / "de" / name).write_text("{% if %}")
        with pytest.raises(ValueError, match=f"de/{name} is broken"):
            MailTexts(overrides=tmp_path)
        (tmp_path / "de" / name).write_text("")


async def test_a_mail_becomes_one_private_file(builder: MessageBuilder, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "outbox"
    await FileMailer(builder, folder).send(a_mail())
    (file,) = folder.iterdir()
    assert file.name == f"20260301T120000Z-{MAIL_ID}.eml"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    data = file.read_bytes()
    assert data.count(b"\n") == data.count(b"\r\n")
    assert data.startswith(b"From: Gatepost <no-reply@id.example.com>\r\n")


async def test_a_mail_sent_again_later_is_the_same_file(
    builder: MessageBuilder, clock: ManualClock, tmp_path: Path
) -> None:
    mailer = FileMailer(builder, tmp_path)
    await mailer.send(a_mail())
    clock.advance(timedelta(seconds=7))
    await mailer.send(a_mail())
    assert len(os.listdir(tmp_path)) == 1


async def test_a_mail_that_cannot_be_written_leaves_nothing(
    builder: MessageBuilder, tmp_path: Path
) -> None:
    (tmp_path / f"20260301T120000Z-{MAIL_ID}.eml").mkdir()
    with pytest.raises(OSError, match=r"."):
        await FileMailer(builder, tmp_path).send(a_mail())
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
