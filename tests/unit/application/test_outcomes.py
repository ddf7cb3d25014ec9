import asyncio

from gatepost.application.outcomes import deciding, is_deciding


async def test_a_task_is_deciding_only_while_it_waits_for_an_outcome() -> None:
    task = asyncio.current_task()
    assert not is_deciding(task)
    with deciding():
        assert is_deciding(task)
        assert not is_deciding(None)
    assert not is_deciding(task)
