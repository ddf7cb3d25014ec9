"""Groups about clients, keys, webhooks and jobs."""

from collections.abc import Mapping

from ..accounts import ResendVerification
from ..archive import Archive
from ..clients import (
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
from ..credentials import MailReset
from ..deliveries import DeliverWebhook, QueueDeliveries
from ..email_changes import MailNewAddress
from ..events import PublishEvent, Subscriber
from ..exports import BuildExport, RemoveExport
from ..jobs import DeadLetters, Handler, Jobs, ListJobs, PurgeExpired
from ..keys import Keys, KeySmith, ListKeys, LoadKeys, RevokeKey, RotateKeys
from ..mail import SendMail
from ..oauth import (
    AuthenticateClient,
    GrantToClient,
    Introspect,
    IntrospectAsClient,
    OAuth,
    Revoke,
)
from ..ports.delivery import JobName
from ..registration import NotifyOwner
from ..webhooks import (
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
from .parts import Parts


def oauth(parts: Parts) -> OAuth:
    p, auditor, limits = parts.ports, parts.auditor, parts.limits
    authenticate_client = AuthenticateClient(p.uow, p.callers, limits, auditor, p.now)
    introspect = Introspect(p.uow, parts.authenticate, p.refresh_tokens)
    return OAuth(
        authenticate_client=authenticate_client,
        grant_to_client=GrantToClient(parts.issuer, p.now),
        revoke=Revoke(p.uow, limits, p.access_tokens, p.refresh_tokens, p.callers, auditor, p.now),
        introspect=introspect,
        introspect_as_client=IntrospectAsClient(authenticate_client, introspect),
    )


def clients(parts: Parts) -> Clients:
    p = parts.ports
    edit = Editor(p.uow, parts.auditor, p.now)
    return Clients(
        list=ListClients(p.uow, parts.cursors),
        show=ShowClient(p.uow),
        create=CreateClient(edit, p.secrets),
        change=ChangeClient(edit),
        delete=DeleteClient(edit),
        add_secret=AddSecret(edit, p.secrets),
        delete_secret=DeleteSecret(edit),
    )


def keys(parts: Parts) -> Keys:
    p, policy = parts.ports, parts.policies.keys
    smith = KeySmith(p.cipher, p.access_tokens, parts.auditor)
    return Keys(
        load=LoadKeys(p.uow, smith, p.now),
        list=ListKeys(p.uow, smith, policy),
        rotate=RotateKeys(p.uow, smith, p.now, policy, parts.policies.tokens.access_ttl),
        revoke=RevokeKey(p.uow, smith, p.now),
        access_tokens=p.access_tokens,
    )


def webhooks(parts: Parts) -> Webhooks:
    p, auditor = parts.ports, parts.auditor
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


def jobs(parts: Parts, rotate: RotateKeys) -> Jobs:
    p = parts.ports
    purge = PurgeExpired(p.uow, p.exports, p.limiter, parts.policies.audit, p.now)
    return Jobs(
        {
            **_mailing(parts),
            **_telling(parts),
            JobName.PURGE: purge,
            JobName.ROTATE_KEYS: rotate,
            JobName.BUILD_EXPORT: BuildExport(
                p.uow, Archive(p.uow), p.exports, parts.postbox, p.now
            ),
            JobName.REMOVE_EXPORT: RemoveExport(p.exports),
        },
        list=ListJobs(p.uow),
        dead=DeadLetters(p.uow, parts.auditor, p.now),
        metrics=p.metrics,
        now=p.now,
    )


def _mailing(parts: Parts) -> Mapping[JobName, Handler]:
    p, policies, auditor, postbox = parts.ports, parts.policies, parts.auditor, parts.postbox
    send = SendMail(p.mailer, p.cipher, policies.mail, auditor, p.now)
    return {
        JobName.SEND_MAIL: send,
        JobName.CONFIRM_NEW_ADDRESS: MailNewAddress(p.uow, p.cipher, send, p.now),
        JobName.RESEND_VERIFICATION: ResendVerification(p.uow, p.cipher, postbox, p.now),
        JobName.REQUEST_RESET: MailReset(p.uow, p.cipher, postbox, auditor, p.now),
        JobName.NOTIFY_OWNER: NotifyOwner(p.uow, p.cipher, postbox, p.now, policies.accounts),
    }


def _telling(parts: Parts) -> Mapping[JobName, Handler]:
    p, auditor, postbox = parts.ports, parts.auditor, parts.postbox
    told: list[Subscriber] = [QueueDeliveries(p.uow, p.secrets, p.now), *parts.subscribers]
    deliver = DeliverWebhook(p.uow, p.webhooks, p.cipher, postbox, auditor, p.metrics, p.now)
    publish = PublishEvent(p.cipher, told)
    return {
        JobName.PUBLISH_EVENT: publish,
        **({JobName.TELL_SUBSCRIBERS: publish} if parts.subscribers else {}),
        JobName.DELIVER_WEBHOOK: deliver,
        JobName.RESEAL_SECRETS: ResealSecrets(p.uow, p.cipher, auditor, p.now),
    }
