"""The whole service as one object: use cases wired to ports by code that a checker reads."""

from dataclasses import dataclass, field

from ..domain.accounts import AccountPolicy
from ..domain.credentials import PasswordPolicy
from ..domain.sessions import SessionPolicy
from ..domain.tokens import TokenPolicy
from .accounts import (
    Accounts,
    ChangeAccount,
    ReadAccount,
    ResendVerification,
    VerifyEmail,
)
from .administration import Administration, CreateAdministrator, ListAccounts, ShowAccount
from .audit import Auditor
from .credentials import ChangePassword, Credentials, MailReset, ResetPassword
from .jobs import Jobs, PurgeExpired, RequestByEmail
from .keys import Keys, LoadKeys
from .mail import MailPolicy, Postbox, SendMail
from .ports import Ports
from .ports.delivery import JobName
from .ports.storage import HealthCheck
from .registration import NotifyOwner, Register
from .sessions import (
    Authenticate,
    EndOtherSessions,
    EndSession,
    Issuer,
    ListSessions,
    LogIn,
    LogOut,
    Refresh,
    Sessions,
)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatepost:
    """What every entrypoint receives."""

    accounts: Accounts
    credentials: Credentials
    sessions: Sessions
    keys: Keys
    administration: Administration
    jobs: Jobs
    purge: PurgeExpired
    database: HealthCheck
    policies: Policies


def assemble(ports: Ports, policies: Policies) -> Gatepost:
    """Wire every use case; the only place that does."""
    p = ports
    auditor = Auditor(p.uow, p.secrets, p.now)
    postbox = Postbox(p.secrets, p.cipher)
    purge = PurgeExpired(p.uow, p.now)
    return Gatepost(
        accounts=_accounts(p, policies, auditor, postbox),
        credentials=_credentials(p, policies, auditor, postbox),
        sessions=_sessions(p, policies, auditor),
        keys=Keys(LoadKeys(p.uow, p.cipher, p.access_tokens, auditor, p.now), p.access_tokens),
        administration=Administration(
            CreateAdministrator(p.uow, p.hasher, p.secrets, auditor, p.now, policies.passwords),
            ListAccounts(p.uow),
            ShowAccount(p.uow),
        ),
        jobs=_jobs(p, policies, auditor, postbox, purge),
        purge=purge,
        database=p.database,
        policies=policies,
    )


def _accounts(p: Ports, policies: Policies, auditor: Auditor, postbox: Postbox) -> Accounts:
    return Accounts(
        register=Register(
            p.uow,
            p.hasher,
            p.secrets,
            p.cipher,
            postbox,
            auditor,
            p.now,
            policies.accounts,
            policies.passwords,
        ),
        request_verification=RequestByEmail(
            p.uow, p.secrets, p.cipher, JobName.RESEND_VERIFICATION
        ),
        verify_email=VerifyEmail(p.uow, p.hasher, auditor, p.now),
        read=ReadAccount(),
        change=ChangeAccount(p.uow, auditor, p.now),
    )


def _credentials(p: Ports, policies: Policies, auditor: Auditor, postbox: Postbox) -> Credentials:
    return Credentials(
        request_reset=RequestByEmail(p.uow, p.secrets, p.cipher, JobName.REQUEST_RESET),
        reset=ResetPassword(p.uow, p.hasher, postbox, auditor, p.now, policies.passwords),
        change_password=ChangePassword(
            p.uow, p.hasher, postbox, auditor, p.now, policies.passwords
        ),
    )


def _sessions(p: Ports, policies: Policies, auditor: Auditor) -> Sessions:
    issuer = Issuer(p.access_tokens, p.secrets, policies.tokens)
    return Sessions(
        log_in=LogIn(
            p.uow,
            p.hasher,
            p.secrets,
            p.refresh_tokens,
            issuer,
            auditor,
            p.now,
            policies.accounts,
            policies.sessions,
        ),
        refresh=Refresh(p.uow, p.refresh_tokens, issuer, auditor, p.now, policies.sessions),
        authenticate=Authenticate(p.access_tokens, p.callers, p.now),
        log_out=LogOut(p.uow, p.access_tokens, p.refresh_tokens, p.callers, auditor, p.now),
        list_own=ListSessions(p.uow, p.now),
        end=EndSession(p.uow, auditor, p.now),
        end_others=EndOtherSessions(p.uow, auditor, p.now),
    )


def _jobs(
    p: Ports, policies: Policies, auditor: Auditor, postbox: Postbox, purge: PurgeExpired
) -> Jobs:
    return Jobs(
        {
            JobName.SEND_MAIL: SendMail(p.mailer, p.cipher, policies.mail, p.now),
            JobName.RESEND_VERIFICATION: ResendVerification(p.uow, p.cipher, postbox, p.now),
            JobName.REQUEST_RESET: MailReset(p.uow, p.cipher, postbox, auditor, p.now),
            JobName.NOTIFY_OWNER: NotifyOwner(p.uow, p.cipher, postbox, p.now, policies.accounts),
            JobName.PURGE: purge,
        }
    )
