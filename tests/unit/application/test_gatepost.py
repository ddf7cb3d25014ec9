import dataclasses

from gatepost import Gatepost, Policies
from tests.unit.application.service import UNLIMITED, Service


async def test_a_person_registers_proves_the_address_signs_in_and_is_known(
    service: Service,
) -> None:
    await service.register()
    await service.work()
    account = await service.verify()
    caller = await service.caller(await service.log_in("ada@example.com"))
    assert await service.gatepost.accounts.read(actor=caller) == account


async def test_every_group_is_there_and_keeps_the_policies_it_was_given() -> None:
    policies = Policies()
    gatepost = Service(policies).gatepost
    assert all(getattr(gatepost, field.name) for field in dataclasses.fields(Gatepost))
    assert gatepost.policies == dataclasses.replace(policies, limits=UNLIMITED)
    await gatepost.database()


def test_the_defaults_are_those_of_a_laptop() -> None:
    policies = Policies()
    assert policies.tokens.issuer == policies.mail.frontend_url == "http://127.0.0.1:8000"
    assert policies.accounts.require_verified_email
    assert policies.passwords.min_length == 8
