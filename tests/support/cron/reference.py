"""The ticks of rules, by another implementation: which local times a rule names is cronsim's answer, on a clock without a
zone; what they mean in a zone follows docs/schedules.md, over the zoneinfo of Python's standard library.

The second half is not cronsim's own, because its rule about changing clocks differs from ours: it takes a rule as a
wildcard one when the minute or the hour begins with a star, we when the hour has a star or a step. With `own`, cronsim
answers for the zone too; the test asks so for rules that both see alike.

The rule is applied to the whole set of local times at once, not from tick to tick as the product does it.

usage: reference.py CASES, a JSON list of {rule, zone, from, to, own}; prints a JSON list of ticks a line, in Unix seconds.
"""

import json
import sys
from datetime import datetime, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

# More than any zone is away from UTC, with a change of its clocks.
MARGIN = timedelta(days=1)


@cache
def named(rule, begin, end):
    """The local times that a rule names."""
    times = []
    for time in CronSim(rule, begin):
        if time > end:
            return times
        times.append(time)
    return times


@cache
def changes(zone, begin, end):
    """The instants in which a zone's distance from UTC changes, with the distances around them."""
    found = []
    here = ZoneInfo(zone)

    def offset(instant):
        return instant.astimezone(here).utcoffset()

    step = timedelta(hours=6)
    time = begin
    while time < end:
        low, high = time, time + step
        if offset(low) != offset(high):
            while high - low > timedelta(seconds=1):
                middle = (low + (high - low) / 2).replace(microsecond=0)
                if offset(middle) == offset(low):
                    low = middle
                else:
                    high = middle
            found.append((high, offset(low), offset(high)))
        time += step
    return found


def instants(rule, zone, begin, end):
    fields = rule.split()
    hour = fields[-4]
    floats = "*" in hour or "/" in hour
    around = changes(zone, begin - MARGIN, end + MARGIN)
    here = ZoneInfo(zone)
    first = (begin - MARGIN).replace(tzinfo=None)
    last = (end + MARGIN).replace(tzinfo=None)
    found = set()
    for local in named(rule, first, last):
        shown = set()
        for fold in (0, 1):
            instant = local.replace(tzinfo=here, fold=fold).astimezone(timezone.utc)
            if instant.astimezone(here).replace(tzinfo=None) == local:
                shown.add(instant)
        if floats:
            found |= shown
        elif shown:
            found.add(min(shown))
        else:
            found.add(next(
                instant for instant, before, after in around
                if (instant + before).replace(tzinfo=None) <= local < (instant + after).replace(tzinfo=None)
            ))
    return sorted(instant for instant in found if begin < instant <= end)


def own(rule, zone, begin, end):
    here = ZoneInfo(zone)
    found = []
    for time in CronSim(rule, begin.astimezone(here)):
        instant = time.astimezone(timezone.utc)
        if instant > end:
            return found
        found.append(instant)
    return found


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    for case in cases:
        begin = datetime.fromtimestamp(case["from"], timezone.utc)
        end = datetime.fromtimestamp(case["to"], timezone.utc)
        answer = own if case["own"] else instants
        ticks = answer(case["rule"], case["zone"], begin, end)
        print(json.dumps([int(tick.timestamp()) for tick in ticks]))


main()
