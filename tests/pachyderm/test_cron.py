"""When cron inputs tick."""

from datetime import UTC, datetime

import pytest

from pachyderm.errors import PachydermError
from pachyderm.spec.cron import due, schedule, stamp

NOW = datetime(2026, 1, 31, 6, 0, 5, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("spec", "following"),
    [
        ("@every 10m", "2026-01-31T06:10:05Z"),
        ("@every 1h30m", "2026-01-31T07:30:05Z"),
        ("*/5 * * * *", "2026-01-31T06:05:00Z"),
        ("0 6 * * mon-fri", "2026-02-02T06:00:00Z"),
        ("30 6,18 * * *", "2026-01-31T06:30:00Z"),
        ("0 0 13 * fri", "2026-02-06T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 12 1 JAN *", "2027-01-01T12:00:00Z"),
        ("@hourly", "2026-01-31T07:00:00Z"),
        ("@daily", "2026-02-01T00:00:00Z"),
        ("@midnight", "2026-02-01T00:00:00Z"),
        ("@weekly", "2026-02-01T00:00:00Z"),
        ("@monthly", "2026-02-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
    ],
)
def test_next_tick(spec: str, following: str) -> None:
    tick = schedule(spec)(NOW)
    assert tick is not None
    assert stamp(tick) == following


def test_never_is_only_ticked_by_hand() -> None:
    assert schedule("@never")(NOW) is None
    assert due("@never", datetime(2020, 1, 1, tzinfo=UTC), NOW) is None


@pytest.mark.parametrize(
    ("spec", "last", "expected"),
    [
        ("@every 10m", "2026-01-31T05:55:00Z", None),
        ("@every 10m", "2026-01-31T05:50:00Z", "2026-01-31T06:00:00Z"),
        ("@every 10m", "2026-01-30T05:51:00Z", "2026-01-31T05:51:00Z"),
        ("@hourly", "2026-01-31T06:00:00Z", None),
        ("@hourly", "2026-01-29T06:00:00Z", "2026-01-31T06:00:00Z"),
    ],
)
def test_after_a_pause_the_latest_missed_tick_is_due(spec: str, last: str, expected: str | None) -> None:
    tick = due(spec, datetime.fromisoformat(last), NOW)
    assert (tick and stamp(tick)) == expected


@pytest.mark.parametrize(
    "spec",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "*/0 * * * *", "@fortnightly", "@every", "@every 10"],
)
def test_what_is_no_schedule_is_refused(spec: str) -> None:
    with pytest.raises(PachydermError):
        schedule(spec)
