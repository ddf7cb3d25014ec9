"""Ids in paths, and paths under the prefix that we are mounted at."""

from urllib.parse import urlsplit

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.types import Scope


class _ResourceId(StringConvertor):
    """Leaves words alone that name resources of their own.

    `/v1/users/me` and `/v1/sessions/refresh` have their own methods; taken for ids they would
    answer others with a fault of an id where 405 is due.
    """

    regex = "(?!(?:me|current|refresh)(?:/|$))[^/]+"


register_url_convertor("resource_id", _ResourceId())

ID = "{id:resource_id}"


def path_within(scope: Scope) -> str:
    """Return the path as our own routes write it, without the prefix of a mount or a server."""
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def location(public_url: str, path: str) -> str:
    """Write a path of ours as clients reach it, whoever puts a prefix before it."""
    return f"{urlsplit(public_url).path.rstrip('/')}{path}"
