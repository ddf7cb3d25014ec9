"""Gatepost in one process and in memory: no database, no network, no waiting.

For a notebook, a first look, or the tests of what you build on it: the ports in memory keep the
same promises as those of production, the clock is yours, and mails lie in a list.

    python -m examples.memory_notebook
"""

import asyncio
from datetime import timedelta

from gatepost import ClientContext, GatepostError, Policies, assemble
from gatepost.adapters.memory import memory_ports

PASSWORD = "a quiet sea of numbers"
HERE = ClientContext(ip="203.0.113.9", user_agent="a notebook")


async def main() -> None:
    ports = memory_ports()
    gatepost = assemble(ports, Policies())

    print("Ada registers; a job with her mail is queued in the same transaction.")
    await gatepost.accounts.register(
        username="ada", email="ada@example.com", password=PASSWORD, client=HERE
    )
    for job in await ports.storage.drain():
        await gatepost.jobs.run(job)
    (mail,) = ports.mailer.sent_to("ada@example.com")
    token = str(mail.link).partition("#token=")[2]

    print("Before her address is proven she is told so, for her password was right:")
    try:
        await gatepost.sessions.log_in(login="ada", password=PASSWORD, client=HERE)
    except GatepostError as refused:
        print(f"  {refused.code}: {refused.detail}")

    await gatepost.accounts.verify_email(token=token, password=PASSWORD, client=HERE)
    first = await gatepost.sessions.log_in(login="ada", password=PASSWORD, client=HERE)
    caller = await gatepost.sessions.authenticate(access_token=first.access_token)
    print(f"Signed in as {caller.own_account.username.value}, with {first.scope}.")

    print("A quarter of an hour later the access token has expired; the refresh token is good:")
    ports.now.advance(timedelta(minutes=15))
    second = await gatepost.sessions.refresh(refresh_token=first.refresh_token, client=HERE)
    await gatepost.sessions.authenticate(access_token=second.access_token)

    print("The old refresh token a minute later is theft, and ends the session:")
    ports.now.advance(timedelta(minutes=1))
    for refresh_token in (first.refresh_token, second.refresh_token):
        try:
            await gatepost.sessions.refresh(refresh_token=refresh_token, client=HERE)
        except GatepostError as refused:
            print(f"  {refused.code}: {refused.detail}")


if __name__ == "__main__":
    asyncio.run(main())
