"""Run by the Python of an agent: answers lines of JSON with what the agent's own sources make of them."""

import json
import sys
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from onestep.connectors.schedule import CronSchedule, IntervalSource


def answer(asked):
    zone = ZoneInfo(asked["timezone"])
    moment = datetime.fromisoformat(asked["since"]).astimezone(zone)
    if "seconds" in asked:
        source = IntervalSource(timedelta(seconds=asked["seconds"]), timezone=asked["timezone"])
        moment, after = moment.replace(fold=0), source._next_fire_after
    else:
        try:
            after = CronSchedule(asked["expression"], timezone=asked["timezone"]).next_after
        except ValueError:
            return None
    found = []
    for _ in range(asked["count"]):
        moment = after(moment)
        found.append(moment.isoformat())
    return found


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
