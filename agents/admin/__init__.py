"""The console's pages for everything in `agents`, one module per noun."""

from agents.admin import background, command, event, instance, node, replica, service, session, token

__all__ = ["background", "command", "event", "instance", "node", "replica", "service", "session", "token"]
