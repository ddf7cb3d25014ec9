from dataclasses import replace

import pytest

from gatepost.domain.exports import KEPT, ExportStatus
from gatepost.testing.builders import DAY, NOW, SECOND, an_account, an_export

ADA = an_account()
LATER = NOW + 3 * SECOND


def test_an_export_is_waited_for_a_day() -> None:
    asked = an_export(ADA)
    assert (asked.status, asked.expires_at) == (ExportStatus.PENDING, NOW + DAY)
    assert asked.at(NOW + KEPT - SECOND) == asked
    assert asked.start().status is ExportStatus.RUNNING
    for one in (asked, asked.start()):
        assert one.at(NOW + KEPT).status is ExportStatus.FAILED


def test_a_ready_export_is_kept_a_day_from_then_on() -> None:
    ready = an_export(ADA).start().complete(7, LATER)
    assert (ready.status, ready.size, ready.expires_at) == (ExportStatus.READY, 7, LATER + DAY)
    assert ready.progress == 100
    assert ready.at(LATER + KEPT - SECOND) == ready
    assert ready.at(LATER + KEPT).status is ExportStatus.EXPIRED


def test_built_again_it_is_kept_no_longer() -> None:
    ready = an_export(ADA).complete(7, NOW)
    assert ready.complete(8, LATER) == replace(ready, size=8)


@pytest.mark.parametrize("status", [ExportStatus.FAILED, ExportStatus.EXPIRED])
def test_what_is_closed_stays_so(status: ExportStatus) -> None:
    closed = an_export(ADA, status=status)
    assert closed.at(NOW + 9 * DAY) == closed
