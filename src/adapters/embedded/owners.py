"""The account that owns the data and runs the server: PostgreSQL refuses to run as root."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from .errors import EmbeddedPostgresError

_VARIABLE = "EMBEDDED_PG_UID"
_NOBODY = 65534


class RunAs(TypedDict, total=False):
    """Arguments of `subprocess` that change the account."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Owner:
    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        return self.uid == os.geteuid()

    @property
    def run_as(self) -> RunAs:
        if self.is_us:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def take(self, path: Path) -> None:
        """Hand a file or folder of ours to this account."""
        if not self.is_us:
            os.chown(path, self.uid, self.gid)


def owner_of(cluster: Path) -> Owner:
    """Find the account for a folder: its owner, or the one for new folders."""
    ours = Owner(os.geteuid(), os.getegid())
    found = cluster.stat() if cluster.exists() else None
    if ours.uid == 0:
        return Owner(found.st_uid, found.st_gid) if found else _configured()
    if found and found.st_uid != ours.uid:
        raise EmbeddedPostgresError(
            f"{cluster} belongs to uid {found.st_uid}: start as root or as that user,"
            " or choose another data folder."
        )
    return ours


def _configured() -> Owner:
    """Read `uid` or `uid:gid` from the environment."""
    text = os.environ.get(_VARIABLE) or str(_NOBODY)
    uid, _, gid = text.partition(":")
    if not uid.isdecimal() or not (gid or uid).isdecimal() or int(uid) == 0:
        raise EmbeddedPostgresError(f"{_VARIABLE}={text}: a uid other than 0, or uid:gid.")
    return Owner(int(uid), int(gid or uid))
