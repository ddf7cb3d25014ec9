"""Gatepost: an identity service to run or to embed.

Only the core is exported here: importing it must load nothing beyond the standard library.
"""

from .application.events import Subscriber
from .application.gatepost import Gatepost, assemble
from .application.policies import Policies
from .application.ports import Ports
from .domain.errors import GatepostError, Kind
from .domain.events import DomainEvent

__version__ = "0.1.0"

__all__ = [
    "DomainEvent",
    "Gatepost",
    "GatepostError",
    "Kind",
    "Policies",
    "Ports",
    "Subscriber",
    "__version__",
    "assemble",
]
