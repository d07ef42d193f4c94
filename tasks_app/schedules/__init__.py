"""When the tasks of an agent start by themselves: its cron grammar and its intervals, by its own clock. Pure."""

from tasks_app.schedules.cron import Cron, ScheduleInvalid, parse_cron
from tasks_app.schedules.schedule import SCHEDULED_KINDS, Schedule, Slot, schedule_of, wall_of

__all__ = ["SCHEDULED_KINDS", "Cron", "Schedule", "ScheduleInvalid", "Slot", "parse_cron", "schedule_of", "wall_of"]
