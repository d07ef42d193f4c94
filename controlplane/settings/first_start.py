"""The first start of `manage.py up`: the administrator that it makes where there is none."""

from controlplane.common import env

ADMIN_USERNAME = env.secret("ADMIN_USERNAME") or "admin"
# Unset: one is generated and printed once. An existing administrator is never changed.
ADMIN_PASSWORD = env.secret("ADMIN_PASSWORD")
