"""What can go wrong around the embedded server."""


class EmbeddedPostgresError(Exception):
    """The server cannot be started; the message is one line for whoever starts it."""


class InUse(EmbeddedPostgresError):
    """Another process has a server on the folder, or is just starting it."""
