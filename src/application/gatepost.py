"""The whole service as one object."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from ..domain.dataclasses import dataclass
from .accounts import Accounts
from .administration import Administration
from .assembly import machines, people
from .assembly.parts import Parts
from .clients import Clients
from .credentials import Credentials
from .events import Subscriber
from .exports import Exports
from .idempotency import Idempotency
from .jobs import Jobs, JobsCheck
from .keys import Keys
from .oauth import OAuth
from .policies import Policies
from .ports import Ports
from .ports.delivery import BacklogReader
from .ports.storage import HealthCheck, UnitOfWork
from .roles import Roles
from .sessions import Sessions
from .trail import ReadAudit
from .transfer import Transfer
from .webhooks import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Gatepost:
    """What every entrypoint receives: use cases in groups, each an async callable."""

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
    _parts: Parts = field(repr=False)

    def demand_room(self) -> None:
        """Raise Overloaded while no password could be hashed; may be asked before all reading."""
        self._parts.ports.hasher.demand_room()

    def within(self, uow: UnitOfWork) -> "Gatepost":
        """Return the same use cases, with their changes in transactions of another unit of work.

        So an account and what belongs to it elsewhere last together or not at all. Sessions,
        OAuth, keys and jobs stay as they are: their refusals and their work must last whatever
        becomes of those transactions, and so must every audited refusal.
        """
        parts = self._parts.within(uow)
        return replace(
            self,
            accounts=people.accounts(parts),
            credentials=people.credentials(parts),
            clients=machines.clients(parts),
            administration=people.administration(parts),
            roles=people.roles(parts),
            audit=ReadAudit(uow, parts.cursors),
            exports=people.exports(parts),
            transfer=people.transfer(parts),
            webhooks=machines.webhooks(parts),
        )


def assemble(ports: Ports, policies: Policies, subscribers: Sequence[Subscriber] = ()) -> Gatepost:
    """Wire every use case.

    `subscribers` are told of events by `jobs.run`, in whichever process works the jobs; each
    process must be given them, as those without any queue no event.
    """
    parts = Parts.of(ports, policies, subscribers)
    keys = machines.keys(parts)
    return Gatepost(
        accounts=people.accounts(parts),
        credentials=people.credentials(parts),
        sessions=people.sessions(parts),
        oauth=machines.oauth(parts),
        clients=machines.clients(parts),
        keys=keys,
        administration=people.administration(parts),
        roles=people.roles(parts),
        audit=ReadAudit(ports.uow, parts.cursors),
        exports=people.exports(parts),
        transfer=people.transfer(parts),
        webhooks=machines.webhooks(parts),
        idempotency=Idempotency(ports.cipher, ports.now),
        jobs=machines.jobs(parts, keys.rotate),
        database=ports.database,
        checks={
            "database": ports.database,
            "rate_limiter": ports.limiter_check,
            "mail": ports.mailer.check,
            "jobs": JobsCheck(ports.backlog),
        },
        backlog=ports.backlog,
        policies=policies,
        _parts=parts,
    )
