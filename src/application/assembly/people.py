"""Groups about people and what they may do."""

from ..accounts import Accounts, ChangeAccount, ReadAccount, VerifyEmail
from ..administration import (
    Administration,
    CreateAccount,
    CreateAdministrator,
    ListAccounts,
    ShowAccount,
)
from ..credentials import ChangePassword, Credentials, ResetPassword
from ..email_changes import RequestEmailChange, UndoEmailChange
from ..erasure import DeleteOwnAccount
from ..exports import DownloadExport, Exports, ReadExport, RequestExport
from ..initial_passwords import DemandChange
from ..jobs import RequestByEmail
from ..ports.delivery import JobName
from ..recovery import EndEverySession, RecoverAccount
from ..registration import Register
from ..roles import DeleteRole, ListRoles, PutRole, RoleKeeper, Roles
from ..rotations import Refresh
from ..sessions import EndOtherSessions, EndSession, ListSessions, LogOut, Sessions
from ..sign_ins import LogIn
from ..supervision import (
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
from ..transfer import ExportAccounts, ImportAccounts, Transfer
from .parts import Parts


def accounts(parts: Parts) -> Accounts:
    p, auditor, postbox = parts.ports, parts.auditor, parts.postbox
    return Accounts(
        register=_register(parts),
        request_verification=_by_email(parts, JobName.RESEND_VERIFICATION),
        verify_email=VerifyEmail(p.uow, parts.guesses, p.hasher, postbox, auditor, p.now),
        read=ReadAccount(),
        change=ChangeAccount(p.uow, auditor, p.now),
        request_email_change=RequestEmailChange(
            p.uow, parts.limits, parts.reauthenticate, postbox, auditor, p.now
        ),
        undo_email_change=UndoEmailChange(p.uow, parts.limits, postbox, auditor, p.now),
        delete=DeleteOwnAccount(p.uow, parts.reauthenticate, postbox, auditor, p.now),
    )


def _register(parts: Parts) -> Register:
    p, policies = parts.ports, parts.policies
    return Register(
        p.uow,
        None if parts.is_joined else p.callers,
        parts.limits,
        p.hasher,
        p.secrets,
        p.cipher,
        parts.postbox,
        parts.auditor,
        p.now,
        policies.accounts,
        policies.passwords,
    )


def _by_email(parts: Parts, job: JobName) -> RequestByEmail:
    p = parts.ports
    return RequestByEmail(p.uow, parts.limits, p.secrets, p.cipher, job)


def credentials(parts: Parts) -> Credentials:
    p, auditor, postbox = parts.ports, parts.auditor, parts.postbox
    policy = parts.policies.passwords
    return Credentials(
        request_reset=_by_email(parts, JobName.REQUEST_RESET),
        reset=ResetPassword(p.uow, parts.limits, p.hasher, postbox, auditor, p.now, policy),
        change_password=ChangePassword(
            p.uow, p.hasher, parts.reauthenticate, postbox, auditor, p.now, policy
        ),
    )


def sessions(parts: Parts) -> Sessions:
    p, auditor, limits = parts.ports, parts.auditor, parts.limits
    tokens, policy = p.refresh_tokens, parts.policies.sessions
    return Sessions(
        log_in=LogIn(
            p.uow,
            p.callers,
            p.sign_ins,
            parts.guesses,
            p.hasher,
            p.secrets,
            tokens,
            parts.issuer,
            DemandChange(p.uow, p.secrets, auditor, p.now),
            auditor,
            p.now,
            parts.policies.accounts,
            policy,
        ),
        refresh=Refresh(
            p.uow,
            p.rotations,
            limits,
            tokens,
            parts.issuer,
            auditor,
            p.now,
            policy,
            p.metrics,
        ),
        authenticate=parts.authenticate,
        log_out=LogOut(p.uow, limits, p.access_tokens, tokens, p.callers, auditor, p.now),
        list_own=ListSessions(p.uow, p.now),
        end=EndSession(p.uow, auditor, p.now),
        end_others=EndOtherSessions(p.uow, auditor, p.now),
    )


def administration(parts: Parts) -> Administration:
    p, auditor, postbox, limits = parts.ports, parts.auditor, parts.postbox, parts.limits
    supervisor, policy = Supervisor(p.uow, auditor, p.now), parts.policies.passwords
    return Administration(
        create_administrator=CreateAdministrator(
            p.uow, p.hasher, p.secrets, auditor, p.now, policy
        ),
        create=CreateAccount(p.uow, limits, p.hasher, p.secrets, postbox, auditor, p.now, policy),
        list_accounts=ListAccounts(p.uow, parts.cursors),
        show=ShowAccount(p.uow),
        amend=AmendAccount(supervisor, limits, postbox),
        suspend=Suspend(supervisor),
        reactivate=Reactivate(supervisor),
        recover=RecoverAccount(supervisor, postbox),
        delete=DeleteAccount(supervisor, postbox),
        send_reset=SendReset(supervisor, limits, postbox),
        set_roles=SetRoles(supervisor),
        list_sessions=ListSessionsOf(p.uow, p.now),
        end_sessions=EndSessionsOf(supervisor),
        end_every_session=EndEverySession(p.uow, auditor, p.now),
    )


def roles(parts: Parts) -> Roles:
    p = parts.ports
    keeper = RoleKeeper(p.uow, parts.auditor, p.now)
    return Roles(ListRoles(p.uow), PutRole(keeper), DeleteRole(keeper))


def exports(parts: Parts) -> Exports:
    p, auditor = parts.ports, parts.auditor
    read = ReadExport(p.uow, p.now)
    return Exports(
        request=RequestExport(p.uow, parts.reauthenticate, p.secrets, auditor, p.now),
        read=read,
        download=DownloadExport(p.uow, read, p.exports, auditor, p.now),
    )


def transfer(parts: Parts) -> Transfer:
    p, auditor = parts.ports, parts.auditor
    return Transfer(
        ImportAccounts(p.uow, p.hasher, p.secrets, auditor, p.now),
        ExportAccounts(p.uow, p.hasher, auditor, p.now),
    )
