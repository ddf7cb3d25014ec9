"""What the settings say about HTTP; apart, because applications are made without settings too."""

from ... import __version__
from ..settings import Settings
from .options import HttpOptions


def http_options(settings: Settings) -> HttpOptions:
    """Translate settings into the options of an application."""
    return HttpOptions(
        docs=settings.serves_docs,
        password_grant=settings.password_grant,
        version=__version__,
        public_url=settings.issuer,
        frontend_url=settings.frontend_url,
        cors_origins=settings.http.cors_origins,
        trusted_proxies=settings.http.trusted_proxies,
    )
