"""The sender of mails; without the packages of mailers, for the settings check it too."""

from email.errors import MessageError
from email.headerregistry import Address, AddressHeader
from email.policy import SMTP

_LINE_BREAKS = "\r\n\0\v\f\x1c\x1d\x1e\x85\u2028\u2029"


def parse_sender(text: str) -> Address:
    """Read an address, with or without a name; raises ValueError, without the text.

    The domain comes in its ASCII form. A local part beyond ASCII is refused as a defect: it would
    need SMTPUTF8 (RFC 6531) at every server on the way.
    """
    if any(character in _LINE_BREAKS for character in text):
        raise ValueError("The sender holds line breaks.")
    try:
        header = SMTP.header_factory("From", text)
    except (MessageError, ValueError, LookupError):
        header = None
    addresses = header.addresses if isinstance(header, AddressHeader) else ()
    if header is None or header.defects or len(addresses) != 1 or not addresses[0].domain:
        raise ValueError("The sender is not one address, with or without a name.")
    return _in_ascii(addresses[0])


def _in_ascii(address: Address) -> Address:
    try:
        domain = address.domain.encode("idna").decode()
    except UnicodeError:
        raise ValueError("The sender's address has no such domain.") from None
    return Address(address.display_name, address.username, domain)
