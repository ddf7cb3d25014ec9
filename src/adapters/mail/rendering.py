"""Mail texts from templates, by language."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from traceback import extract_tb
from uuid import UUID

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateNotFound,
    TemplateSyntaxError,
    select_autoescape,
)

from ...application.ports.delivery import Mail, MailTemplate
from ...domain.accounts import DEFAULT_LOCALE
from ...domain.credentials import LIFETIMES, Purpose

_FOLDER = Path(__file__).with_name("templates")
_KINDS = (".subject", ".txt", ".html")
# What is escaped in HTML would be found there in another spelling.
_LINK = "https://example.com/page#token=x"
_WITH_LINK = {
    MailTemplate.WELCOME: Purpose.VERIFY_EMAIL,
    MailTemplate.VERIFY_EMAIL: Purpose.VERIFY_EMAIL,
    MailTemplate.RESET_PASSWORD: Purpose.RESET_PASSWORD,
    MailTemplate.SET_PASSWORD: Purpose.SET_PASSWORD,
    MailTemplate.CONFIRM_EMAIL: Purpose.CHANGE_EMAIL,
    MailTemplate.EMAIL_CHANGE_REQUESTED: Purpose.UNDO_EMAIL,
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """The three parts of a mail in one language."""

    language: str
    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class _Parts:
    subject: Template
    text: Template
    html: Template


class MailTexts:
    """Renders mails from `templates/<language>/<template>.{subject,txt,html}`.

    Another language is another complete folder. `overrides`: a folder of the same shape whose
    files go before ours. All that they change is loaded and tried at once: a missing or broken
    template raises ValueError here, at the start, and not when a mail is due. Ours alone are
    known to be whole, and loaded when a mail needs them.
    """

    def __init__(self, service: str = "Gatepost", overrides: Path | None = None) -> None:
        if overrides and not overrides.is_dir():
            raise ValueError("The folder of mail templates is not there.")
        folders = [overrides, _FOLDER] if overrides else [_FOLDER]
        self._service = one_line(service)
        self._environment = Environment(
            loader=FileSystemLoader(folders),
            autoescape=select_autoescape(("html",), default=False),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        self._languages = {name.lower(): name for name in self._folders()}
        if overrides:
            self._try(FileSystemLoader(overrides).list_templates())

    def render(self, mail: Mail) -> Rendered:
        """Render in the language of the mail's locale; raises ValueError when a link is missing.

        A name is put on one line: line breaks could fake paragraphs of ours. Subjects are not
        given it, for who registers somebody else's address would write to him there.
        """
        if mail.template in _WITH_LINK and not mail.link:
            raise ValueError(f"A mail {mail.template} needs its link.")
        language = self._language(mail.locale)
        parts = self._parts(self._languages[language], mail.template)
        named = {"language": language, "service": self._service}
        subject = one_line(_rendered(parts.subject, named))
        values = named | {
            "username": one_line(mail.username),
            "link": mail.link,
            "about": one_line(mail.about or ""),
            "lifetime": _lifetime(mail.template),
        }
        text = _rendered(parts.text, values)
        html = _rendered(parts.html, values | {"subject": subject})
        return Rendered(language, subject, text, html)

    def _try(self, changed: Iterable[str]) -> None:
        """Load what goes before ours, and render the mails of its languages, which may use it.

        What a template lacks shows only when it is rendered.
        """
        names = [name for name in changed if name.endswith(_KINDS)]
        for name in names:
            self._template(name)
        folders = {name.partition("/")[0] for name in names}
        # What lies beside the languages may be used by all of them.
        has_shared = not folders <= set(self._languages.values())
        for language, folder in self._languages.items():
            if has_shared or folder in folders:
                for template in MailTemplate:
                    self._try_mail(language, template)

    def _try_mail(self, language: str, template: MailTemplate) -> None:
        link = _LINK if template in _WITH_LINK else None
        mail = Mail(
            id=UUID(int=0), template=template, to="", locale=language, username="ada", link=link
        )
        parts, rendered = self._parts(self._languages[language], template), self.render(mail)
        if not rendered.subject:
            raise ValueError(f"The mail template {parts.subject.filename} is empty.")
        if link and link not in map(str.strip, rendered.text.splitlines()):
            raise ValueError(
                f"The mail template {parts.text.filename} has no line with the link alone."
            )
        if link and f'href="{link}"' not in rendered.html:
            raise ValueError(f"The mail template {parts.html.filename} has no link.")

    def _language(self, locale: str) -> str:
        """Choose the longest known prefix of the tag (RFC 4647 section 3.4), or English."""
        subtags = locale.lower().replace("_", "-").split("-")
        prefixes = ("-".join(subtags[:length]) for length in range(len(subtags), 0, -1))
        return next((tag for tag in prefixes if tag in self._languages), DEFAULT_LOCALE)

    def _folders(self) -> Iterator[str]:
        names = self._environment.list_templates(extensions=("subject",))
        yield from sorted({name.partition("/")[0] for name in names})

    def _parts(self, folder: str, template: MailTemplate) -> _Parts:
        return _Parts(*(self._template(f"{folder}/{template.value}{kind}") for kind in _KINDS))

    def _template(self, name: str) -> Template:
        try:
            return self._environment.get_template(name)
        except TemplateNotFound:
            raise ValueError(f"The mail template {name} is missing.") from None
        except TemplateSyntaxError as fault:
            raise ValueError(f"The mail template {fault.filename} is broken: {fault}.") from None
        except UnicodeDecodeError:
            raise ValueError(f"The mail template {name} is not UTF-8.") from None


def _rendered(template: Template, values: Mapping[str, object]) -> str:
    """Render; whatever goes wrong is told with the file and line where it did."""
    try:
        return template.render(values)
    except TemplateSyntaxError as fault:
        raise ValueError(f"The mail template {fault.filename} is broken: {fault}.") from None
    except Exception as fault:
        frames = extract_tb(fault.__traceback__)
        place = next((f for f in reversed(frames) if f.filename.endswith(_KINDS)), None)
        name, line = (place.filename, place.lineno) if place else (template.filename, 0)
        raise ValueError(f"The mail template {name} is broken, line {line}: {fault}.") from None


def one_line(text: str) -> str:
    """Collapse white space, every kind of line break included."""
    return " ".join(text.split())


def _lifetime(template: MailTemplate) -> timedelta | None:
    purpose = _WITH_LINK.get(template)
    return LIFETIMES[purpose] if purpose else None
