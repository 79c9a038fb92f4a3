"""croniter's answers. Lines of "schedule<TAB>both<TAB>zone<TAB>instant<TAB>count" in, due times or an error out."""

import sys

from croniter import croniter
from dateutil import tz
import datetime

zones = {}


def answer(line):
    text, both, zone, instant, count = line.rstrip("\n").split("\t")
    start = float(instant)
    if zone != "UTC":
        if zone not in zones:
            zones[zone] = tz.gettz(zone)
        start = datetime.datetime.fromtimestamp(start, zones[zone])
    due = croniter(text, start, day_or=both == "0")
    return " ".join(str(int(due.get_next(float))) for _ in range(int(count)))


for line in sys.stdin:
    try:
        print(answer(line))
    except Exception as error:  # pylint: disable=broad-except
        print("error", type(error).__name__, str(error).replace("\n", " "))
