"""Template access to the badges of agents.badges."""

from django import template

from agents import badges

register = template.Library()

register.simple_tag(badges.connectivity, name="connectivity_badge")
register.simple_tag(badges.health, name="health_badge")
