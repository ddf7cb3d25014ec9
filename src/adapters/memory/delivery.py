"""Mail that goes nowhere but into a list."""

from ...application.ports.delivery import Mail, Mailer


class MemoryMailer(Mailer):
    """Keeps what was sent, oldest first; a mail sent again stands in the list again."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        self.sent.append(mail)

    def sent_to(self, address: str) -> list[Mail]:
        return [mail for mail in self.sent if mail.to == address]
