"""E-mail addresses: one spelling to deliver to, one key to compare by."""

import re
import unicodedata

from .dataclasses import dataclass
from .errors import FieldError, ValidationFailed

# RFC 5321 section 4.1.2, dot-string only: quoted local parts invite header injection.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
# RFC 5321 section 4.5.3.1.3, without the angle brackets.
_MAX_LENGTH = 254
# RFC 3490 section 3.1 reads these as dots too; inside a label they would name another domain.
_OTHER_DOTS = frozenset("\u3002\uff0e\uff61")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """A validated address: ASCII local part, domain in its ASCII form (IDNA, lower case).

    Mail goes to `value`, the stored spelling and never to one just typed: look-alike characters
    made that an account take-over elsewhere. Dots and `+tags` are kept.
    """

    value: str

    @classmethod
    def parse(cls, text: str, field: str = "email") -> "EmailAddress":
        local, at, domain = unicodedata.normalize("NFC", text).rpartition("@")
        # Length first: the standard library's punycode takes 48 s for 20,000 characters.
        ascii_domain = _ascii_domain(domain) if len(text) <= _MAX_LENGTH else None
        if not at or not ascii_domain or len(local) > 64 or not _LOCAL.fullmatch(local):
            raise ValidationFailed(FieldError(field, "invalid_email", "Not an e-mail address."))
        return cls(f"{local}@{ascii_domain}")

    @property
    def key(self) -> str:
        return self.value.lower()

    @property
    def local_part(self) -> str:
        return self.value.rpartition("@")[0]


def _ascii_domain(domain: str) -> str | None:
    if not _OTHER_DOTS.isdisjoint(domain):
        return None
    labels = [_ascii_label(label) or "" for label in domain.split(".")]
    ascii_domain = ".".join(labels)
    if len(labels) < 2 or not all(labels) or len(ascii_domain) > 190 or labels[-1].isdigit():
        return None
    return ascii_domain


def _ascii_label(label: str) -> str | None:
    """Return the label's A-form, or None.

    Refused when the standard library's IDNA would change what was typed: characters that IDNA
    2003 and 2008 read differently (sharp s, final sigma, joiners) would name another domain.
    """
    from encodings import idna

    try:
        encoded = idna.ToASCII(label).decode("ascii").lower()
        decoded = idna.ToUnicode(encoded)
    except UnicodeError:
        return None
    same = label.lower() in (encoded, decoded)
    return encoded if same and _LABEL.fullmatch(encoded) else None
