"""Ids in paths."""

from starlette.convertors import StringConvertor, register_url_convertor


class _ResourceId(StringConvertor):
    """Leaves words alone that name resources of their own.

    `/v1/users/me` and `/v1/sessions/refresh` have their own methods; taken for ids they would
    answer others with a fault of an id where 405 is due.
    """

    regex = "(?!(?:me|current|refresh)(?:/|$))[^/]+"


register_url_convertor("resource_id", _ResourceId())

ID = "{id:resource_id}"
