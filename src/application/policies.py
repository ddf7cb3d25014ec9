"""Every policy of the domain in one object."""

from dataclasses import field

from ..domain.accounts import AccountPolicy
from ..domain.audit import AuditPolicy
from ..domain.credentials import PasswordPolicy
from ..domain.dataclasses import dataclass
from ..domain.keys import KeyPolicy
from ..domain.limits import LimitPolicy
from ..domain.sessions import SessionPolicy
from ..domain.tokens import TokenPolicy
from .mail import MailPolicy

_LOCAL = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The numbers and switches that are policy; the defaults are those of a laptop."""

    accounts: AccountPolicy = field(default_factory=AccountPolicy)
    passwords: PasswordPolicy = field(default_factory=PasswordPolicy)
    sessions: SessionPolicy = field(default_factory=SessionPolicy)
    tokens: TokenPolicy = field(
        default_factory=lambda: TokenPolicy(issuer=_LOCAL, audience=_LOCAL)
    )
    mail: MailPolicy = field(default_factory=lambda: MailPolicy(frontend_url=_LOCAL))
    limits: LimitPolicy = field(default_factory=LimitPolicy)
    keys: KeyPolicy = field(default_factory=KeyPolicy)
    audit: AuditPolicy = field(default_factory=AuditPolicy)
