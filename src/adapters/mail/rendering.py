"""Mail texts from templates, by language."""

from collections.abc import Iterator, Mapping
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
    files go before ours. Everything is loaded and tried at once: a missing or broken template
    raises ValueError here, at the start, and not when a mail is due.
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
        for name in self._environment.list_templates(filter_func=_is_ours):
            self._template(name)
        self._languages = {name.lower(): self._load(name) for name in self._folders()}
        if overrides:
            self._try_all()

    def render(self, mail: Mail) -> Rendered:
        """Render in the language of the mail's locale; raises ValueError when a link is missing.

        A name is put on one line: line breaks could fake paragraphs of ours. Subjects are not
        given it, for who registers somebody else's address would write to him there.
        """
        if mail.template in _WITH_LINK and not mail.link:
            raise ValueError(f"A mail {mail.template} needs its link.")
        language = self._language(mail.locale)
        parts = self._languages[language][mail.template]
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

    def _try_all(self) -> None:
        """Render each mail once: what a template lacks shows only then."""
        for language, templates in self._languages.items():
            for template, parts in templates.items():
                link = _LINK if template in _WITH_LINK else None
                mail = Mail(
                    id=UUID(int=0),
                    template=template,
                    to="",
                    locale=language,
                    username="ada",
                    link=link,
                )
                rendered = self.render(mail)
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

    def _load(self, language: str) -> dict[MailTemplate, _Parts]:
        return {
            template: _Parts(
                *(
                    self._template(f"{language}/{template.value}.{part}")
                    for part in ("subject", "txt", "html")
                )
            )
            for template in MailTemplate
        }

    def _template(self, name: str) -> Template:
        try:
            return self._environment.get_template(name)
        except TemplateNotFound:
            raise ValueError(f"The mail template {name} is missing.") from None
        except TemplateSyntaxError as fault:
            raise ValueError(f"The mail template {fault.filename} is broken: {fault}.") from None
        except UnicodeDecodeError:
            raise ValueError(f"The mail template {name} is not UTF-8.") from None


def _is_ours(name: str) -> bool:
    """Leave alone what lies beside: notes, backups, files of desktops."""
    return name.endswith(_KINDS)


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
