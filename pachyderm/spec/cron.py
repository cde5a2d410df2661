"""When a cron input ticks: the five fields, the @words and @every that Pachyderm's parser takes."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pachyderm.errors import PachydermError

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# Name, lowest, highest value, and names for the values from the lowest on.
_FIELDS: list[tuple[str, int, int, list[str]]] = [
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
]
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
# Of Go's durations, which count nanoseconds in 64 bits.
_LONGEST = 2**63 / 1e9
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(h|ms|m|s|us|µs|μs|ns)")

SECOND = timedelta(seconds=1)

Next = Callable[[datetime], datetime | None]


def schedule(spec: str) -> Next:
    """A function from a time to the next tick after it, None if there is none. Raises PachydermError."""
    if spec == "@never":
        return lambda _: None
    if spec.startswith("@every "):
        # As the server's parser, which takes no second blank and none at the end.
        step = _every(spec.removeprefix("@every "))
        return lambda now: now.replace(microsecond=0) + step
    if spec.startswith("@") and spec not in _WORDS:
        raise PachydermError(f"{spec}: no such schedule; there are {', '.join(_WORDS)}, @every 10m and @never")
    fields = _WORDS.get(spec, spec).split()
    if len(fields) != len(_FIELDS):
        raise PachydermError(f'"{spec}": {len(fields)} fields where a schedule has 5: {_names()}')
    return _by_fields(fields)


def _by_fields(fields: list[str]) -> Next:
    minutes, hours, days, months, weekdays = (
        _values(text, *field) for text, field in zip(fields, _FIELDS, strict=True)
    )
    # With both days restricted, either will do: the rule of every cron.
    either = not fields[2].startswith(("*", "?")) and not fields[4].startswith(("*", "?"))

    def is_day(day: datetime) -> bool:
        by_date, by_week = day.day in days, day.isoweekday() % 7 in weekdays
        return day.month in months and ((by_date or by_week) if either else (by_date and by_week))

    def next_tick(now: datetime) -> datetime | None:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        every_day = (midnight + timedelta(days=days) for days in range(5 * 366))
        ticks = (
            day.replace(hour=hour, minute=minute)
            for day in every_day
            if is_day(day)
            for hour in sorted(hours)
            for minute in sorted(minutes)
        )
        return next((tick for tick in ticks if tick > now), None)

    return next_tick


def stamp(time: datetime) -> str:
    """A tick's file name: `2026-01-31T06:00:00Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def due(spec: str, last: datetime, now: datetime) -> datetime | None:
    """The latest tick in (last, now], None if there is none.

    Pachyderm replays every tick it missed, one by one; with `overwrite` only the last of them leaves anything.
    """
    next_tick = schedule(spec)
    if spec.startswith("@every"):
        first = next_tick(last)
        if first is None or first > now:
            return None
        step = first - last
        return last + step * ((now - last) // step)
    latest, tick = None, next_tick(max(last, now - timedelta(days=5 * 365)))
    while tick is not None and tick <= now:
        latest, tick = tick, next_tick(tick)
    return latest


def _names() -> str:
    return ", ".join(name for name, *_ in _FIELDS)


def _every(text: str) -> timedelta:
    """As Go reads durations; less than a second counts as one."""
    sign, unsigned = ("-", text[1:]) if text.startswith("-") else ("", text.removeprefix("+"))
    parts = _DURATION.findall(unsigned)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if (unsigned != "0" and "".join(map("".join, parts)) != unsigned) or not unsigned or seconds >= _LONGEST:
        raise PachydermError(f"@every {text}: write a duration of a second or more, such as 90s, 10m or 1h30m")
    return max(SECOND, timedelta(seconds=-seconds if sign else seconds))


def is_too_often(spec: str) -> bool:
    """Whether a schedule ticks each second, which nobody may have meant. Raises PachydermError as `schedule` does."""
    return spec.startswith("@every ") and _every(spec.removeprefix("@every ")) == SECOND


def _values(text: str, name: str, low: int, high: int, names: list[str]) -> frozenset[int]:
    """The values that one field allows."""
    values: set[int] = set()
    # As the server's parser, which passes over what is empty between two commas.
    for part in filter(None, text.split(",")) if text.strip(",") else [text]:
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            start, end = (low, high) if span in ("*", "?") else (_value(first, low, names),) * 2
            if dash:
                end = _value(last, low, names)
            elif step and span not in ("*", "?"):
                end = high
            stride = _value(step, 0, []) if step else 1
        except ValueError:
            start, end, stride = 1, 0, 1
        if not low <= start <= end <= high or stride < 1:
            raise PachydermError(f"{name} {part}: write *, numbers from {low} to {high}, a-b, or */step")
        values.update(range(start, end + 1, stride))
    return frozenset(values)


def _value(text: str, low: int, names: list[str]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    # Python reads other scripts' digits and underscores too.
    if not re.fullmatch(r"\+?[0-9]+", text):
        raise ValueError(text)
    return int(text)
