"""Base64url without padding (RFC 4648 section 5), each value in one spelling only."""

import base64


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Decode; raises ValueError for any spelling that `encode` would not make.

    The standard decoder skips foreign characters and ignores the slack bits at the end, so that
    one value would have many spellings: encoding again shows them all.
    """
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(data) != text:
        raise ValueError("not canonical base64url")
    return data
