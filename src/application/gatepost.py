"""The whole service as one object: use cases wired to ports by code that a checker reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..domain.accounts import AccountPolicy
from ..domain.audit import AuditPolicy
from ..domain.credentials import PasswordPolicy
from ..domain.keys import KeyPolicy
from ..domain.limits import LimitPolicy
from ..domain.sessions import SessionPolicy
from ..domain.tokens import TokenPolicy
from .accounts import (
    Accounts,
    ChangeAccount,
    ReadAccount,
    ResendVerification,
    VerifyEmail,
)
from .administration import (
    Administration,
    CreateAccount,
    CreateAdministrator,
    ListAccounts,
    ShowAccount,
)
from .archive import Archive
from .audit import Auditor
from .clients import (
    AddSecret,
    ChangeClient,
    Clients,
    CreateClient,
    DeleteClient,
    DeleteSecret,
    Editor,
    ListClients,
    ShowClient,
)
from .credentials import ChangePassword, Credentials, MailReset, ResetPassword
from .deliveries import DeliverWebhook, QueueDeliveries
from .devices import Devices
from .email_changes import MailNewAddress, RequestEmailChange, UndoEmailChange
from .erasure import DeleteOwnAccount
from .events import Outbox, PublishEvent, Subscriber
from .exports import (
    BuildExport,
    DownloadExport,
    Exports,
    ReadExport,
    RemoveExport,
    RequestExport,
)
from .guesses import Guesses
from .idempotency import Idempotency
from .initial_passwords import DemandChange
from .jobs import DeadLetters, Jobs, JobsCheck, ListJobs, PurgeExpired, RequestByEmail
from .keys import Keys, KeySmith, ListKeys, LoadKeys, RevokeKey, RotateKeys
from .limits import CountedEvents, Limits
from .mail import MailPolicy, Postbox, SendMail
from .oauth import AuthenticateClient, GrantToClient, Introspect, OAuth, Revoke
from .paging import Cursors
from .ports import Ports
from .ports.delivery import BacklogReader, JobName
from .ports.storage import HealthCheck
from .reauthentication import Reauthenticate
from .registration import NotifyOwner, Register
from .roles import DeleteRole, ListRoles, PutRole, RoleKeeper, Roles
from .sessions import (
    EndOtherSessions,
    EndSession,
    ListSessions,
    LogIn,
    LogOut,
    Refresh,
    Sessions,
)
from .supervision import (
    AmendAccount,
    DeleteAccount,
    EndSessionsOf,
    ListSessionsOf,
    Reactivate,
    SendReset,
    SetRoles,
    Supervisor,
    Suspend,
)
from .tokens import Authenticate, Issuer
from .trail import ReadAudit
from .transfer import ExportAccounts, ImportAccounts, Transfer
from .webhooks import (
    CreateEndpoint,
    DeleteEndpoint,
    DisableEndpoint,
    EnableEndpoint,
    EndpointEditor,
    ListDeliveries,
    ListEndpoints,
    ResealSecrets,
    RetryDelivery,
    RotateSecret,
    ShowEndpoint,
    Webhooks,
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
    limits: LimitPolicy = field(default_factory=LimitPolicy)
    keys: KeyPolicy = field(default_factory=KeyPolicy)
    audit: AuditPolicy = field(default_factory=AuditPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatepost:
    """What every entrypoint receives."""

    accounts: Accounts
    credentials: Credentials
    sessions: Sessions
    oauth: OAuth
    clients: Clients
    keys: Keys
    administration: Administration
    roles: Roles
    audit: ReadAudit
    exports: Exports
    transfer: Transfer
    webhooks: Webhooks
    idempotency: Idempotency
    jobs: Jobs
    database: HealthCheck
    checks: Mapping[str, HealthCheck]
    backlog: BacklogReader
    policies: Policies


def assemble(ports: Ports, policies: Policies, subscribers: Sequence[Subscriber] = ()) -> Gatepost:
    """Wire every use case; the only place that does.

    `subscribers` are told of events by `jobs.run`, in whichever process works the jobs; each
    process must be given them, as those without any queue no event.
    """
    p = ports
    outbox = Outbox(p.cipher, has_subscribers=bool(subscribers))
    auditor = Auditor(p.uow, p.secrets, p.now, p.metrics, outbox)
    postbox = Postbox(p.secrets, p.cipher)
    events = CountedEvents(p.limit_events, p.metrics)
    limits = Limits(p.limiter, p.limiter_keys, policies.limits, events)
    guesses = Guesses(limits, Devices(p.cipher, p.secrets, p.now))
    reauthenticate = Reauthenticate(guesses, p.hasher, auditor)
    purge = PurgeExpired(p.uow, p.exports, p.limiter, policies.audit, p.now)
    keys = _keys(p, policies, auditor)
    return Gatepost(
        accounts=_accounts(p, policies, auditor, postbox, guesses, reauthenticate),
        credentials=_credentials(p, policies, auditor, postbox, limits, reauthenticate),
        sessions=_sessions(p, policies, auditor, guesses),
        oauth=_oauth(p, policies, auditor, limits),
        clients=_clients(p, auditor),
        keys=keys,
        administration=_administration(p, policies, auditor, postbox, limits),
        roles=_roles(p, auditor),
        audit=ReadAudit(p.uow, Cursors(p.cipher)),
        exports=_exports(p, auditor, reauthenticate),
        transfer=Transfer(
            ImportAccounts(p.uow, p.hasher, p.secrets, auditor, p.now),
            ExportAccounts(p.uow, p.hasher, auditor, p.now),
        ),
        webhooks=_webhooks(p, auditor),
        idempotency=Idempotency(p.cipher, p.now),
        jobs=_jobs(p, policies, auditor, postbox, purge, keys.rotate, subscribers),
        database=p.database,
        checks={
            "database": p.database,
            "rate_limiter": p.limiter_check,
            "mail": p.mailer.check,
            "jobs": JobsCheck(p.backlog),
        },
        backlog=p.backlog,
        policies=policies,
    )


def _accounts(
    p: Ports,
    policies: Policies,
    auditor: Auditor,
    postbox: Postbox,
    guesses: Guesses,
    reauthenticate: Reauthenticate,
) -> Accounts:
    limits = guesses.limits
    return Accounts(
        register=Register(
            p.uow,
            limits,
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
            p.uow, limits, p.secrets, p.cipher, JobName.RESEND_VERIFICATION
        ),
        verify_email=VerifyEmail(p.uow, guesses, p.hasher, postbox, auditor, p.now),
        read=ReadAccount(),
        change=ChangeAccount(p.uow, auditor, p.now),
        request_email_change=RequestEmailChange(
            p.uow, limits, reauthenticate, postbox, auditor, p.now
        ),
        undo_email_change=UndoEmailChange(p.uow, limits, postbox, auditor, p.now),
        delete=DeleteOwnAccount(p.uow, reauthenticate, postbox, auditor, p.now),
    )


def _credentials(
    p: Ports,
    policies: Policies,
    auditor: Auditor,
    postbox: Postbox,
    limits: Limits,
    reauthenticate: Reauthenticate,
) -> Credentials:
    return Credentials(
        request_reset=RequestByEmail(p.uow, limits, p.secrets, p.cipher, JobName.REQUEST_RESET),
        reset=ResetPassword(p.uow, limits, p.hasher, postbox, auditor, p.now, policies.passwords),
        change_password=ChangePassword(
            p.uow,
            p.hasher,
            reauthenticate,
            postbox,
            auditor,
            p.now,
            policies.passwords,
        ),
    )


def _sessions(p: Ports, policies: Policies, auditor: Auditor, guesses: Guesses) -> Sessions:
    limits = guesses.limits
    issuer = Issuer(p.access_tokens, p.secrets, policies.tokens, p.metrics)
    return Sessions(
        log_in=LogIn(
            p.uow,
            guesses,
            p.hasher,
            p.secrets,
            p.refresh_tokens,
            issuer,
            DemandChange(p.uow, p.secrets, auditor, p.now),
            auditor,
            p.now,
            policies.accounts,
            policies.sessions,
        ),
        refresh=Refresh(
            p.uow,
            p.rotations,
            limits,
            p.refresh_tokens,
            issuer,
            auditor,
            p.now,
            policies.sessions,
            p.metrics,
        ),
        authenticate=Authenticate(limits, p.access_tokens, p.callers, p.now),
        log_out=LogOut(
            p.uow, limits, p.access_tokens, p.refresh_tokens, p.callers, auditor, p.now
        ),
        list_own=ListSessions(p.uow, p.now),
        end=EndSession(p.uow, auditor, p.now),
        end_others=EndOtherSessions(p.uow, auditor, p.now),
    )


def _oauth(p: Ports, policies: Policies, auditor: Auditor, limits: Limits) -> OAuth:
    issuer = Issuer(p.access_tokens, p.secrets, policies.tokens, p.metrics)
    authenticate = Authenticate(limits, p.access_tokens, p.callers, p.now)
    return OAuth(
        authenticate_client=AuthenticateClient(p.uow, limits, auditor, p.now),
        grant_to_client=GrantToClient(issuer, p.now),
        revoke=Revoke(p.uow, limits, p.access_tokens, p.refresh_tokens, p.callers, auditor, p.now),
        introspect=Introspect(p.uow, authenticate, p.refresh_tokens),
    )


def _clients(p: Ports, auditor: Auditor) -> Clients:
    edit = Editor(p.uow, auditor, p.now)
    return Clients(
        list=ListClients(p.uow, Cursors(p.cipher)),
        show=ShowClient(p.uow),
        create=CreateClient(edit, p.secrets),
        change=ChangeClient(edit),
        delete=DeleteClient(edit),
        add_secret=AddSecret(edit, p.secrets),
        delete_secret=DeleteSecret(edit),
    )


def _administration(
    p: Ports, policies: Policies, auditor: Auditor, postbox: Postbox, limits: Limits
) -> Administration:
    supervisor = Supervisor(p.uow, auditor, p.now)
    return Administration(
        create_administrator=CreateAdministrator(
            p.uow, p.hasher, p.secrets, auditor, p.now, policies.passwords
        ),
        create=CreateAccount(
            p.uow, limits, p.hasher, p.secrets, postbox, auditor, p.now, policies.passwords
        ),
        list_accounts=ListAccounts(p.uow, Cursors(p.cipher)),
        show=ShowAccount(p.uow),
        amend=AmendAccount(supervisor, limits, postbox),
        suspend=Suspend(supervisor),
        reactivate=Reactivate(supervisor),
        delete=DeleteAccount(supervisor, postbox),
        send_reset=SendReset(supervisor, limits, postbox),
        set_roles=SetRoles(supervisor),
        list_sessions=ListSessionsOf(p.uow, p.now),
        end_sessions=EndSessionsOf(supervisor),
    )


def _roles(p: Ports, auditor: Auditor) -> Roles:
    keeper = RoleKeeper(p.uow, auditor, p.now)
    return Roles(ListRoles(p.uow), PutRole(keeper), DeleteRole(keeper))


def _exports(p: Ports, auditor: Auditor, reauthenticate: Reauthenticate) -> Exports:
    read = ReadExport(p.uow, p.now)
    return Exports(
        request=RequestExport(p.uow, reauthenticate, p.secrets, auditor, p.now),
        read=read,
        download=DownloadExport(p.uow, read, p.exports, auditor, p.now),
    )


def _keys(p: Ports, policies: Policies, auditor: Auditor) -> Keys:
    smith, policy = KeySmith(p.cipher, p.access_tokens, auditor), policies.keys
    return Keys(
        load=LoadKeys(p.uow, smith, p.now),
        list=ListKeys(p.uow, smith, policy),
        rotate=RotateKeys(p.uow, smith, p.now, policy, policies.tokens.access_ttl),
        revoke=RevokeKey(p.uow, smith, p.now),
        access_tokens=p.access_tokens,
    )


def _webhooks(p: Ports, auditor: Auditor) -> Webhooks:
    edit = EndpointEditor(p.uow, auditor, p.now)
    return Webhooks(
        create=CreateEndpoint(p.uow, p.webhooks, p.secrets, p.cipher, auditor, p.now),
        list=ListEndpoints(p.uow),
        show=ShowEndpoint(p.uow),
        rotate=RotateSecret(edit, p.secrets, p.cipher),
        enable=EnableEndpoint(edit, p.secrets),
        disable=DisableEndpoint(edit),
        delete=DeleteEndpoint(edit),
        deliveries=ListDeliveries(p.uow),
        retry=RetryDelivery(p.uow, p.secrets, auditor, p.now),
    )


def _jobs(
    p: Ports,
    policies: Policies,
    auditor: Auditor,
    postbox: Postbox,
    purge: PurgeExpired,
    rotate: RotateKeys,
    subscribers: Sequence[Subscriber],
) -> Jobs:
    told: list[Subscriber] = [QueueDeliveries(p.uow, p.secrets, p.now), *subscribers]
    send_mail = SendMail(p.mailer, p.cipher, policies.mail, auditor, p.now)
    return Jobs(
        {
            JobName.SEND_MAIL: send_mail,
            JobName.CONFIRM_NEW_ADDRESS: MailNewAddress(p.uow, p.cipher, send_mail, p.now),
            JobName.RESEND_VERIFICATION: ResendVerification(p.uow, p.cipher, postbox, p.now),
            JobName.REQUEST_RESET: MailReset(p.uow, p.cipher, postbox, auditor, p.now),
            JobName.NOTIFY_OWNER: NotifyOwner(p.uow, p.cipher, postbox, p.now, policies.accounts),
            JobName.PURGE: purge,
            JobName.ROTATE_KEYS: rotate,
            JobName.BUILD_EXPORT: BuildExport(p.uow, Archive(p.uow), p.exports, postbox, p.now),
            JobName.REMOVE_EXPORT: RemoveExport(p.exports),
            JobName.PUBLISH_EVENT: PublishEvent(p.cipher, told),
            JobName.DELIVER_WEBHOOK: DeliverWebhook(
                p.uow, p.webhooks, p.cipher, postbox, auditor, p.now
            ),
            JobName.RESEAL_SECRETS: ResealSecrets(p.uow, p.cipher, auditor, p.now),
        },
        list=ListJobs(p.uow),
        dead=DeadLetters(p.uow, auditor, p.now),
    )
