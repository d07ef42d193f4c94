"""What `up` prints once the portal answers: where it is, who may sign in, how an agent connects, where data lives."""

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _

from controlplane.runtime.bootstrap import Administrator, IngestToken, token_file

# The environment that the printed lines name; the first token may speak for any of them.
_ENVIRONMENT = "dev"


def base_url() -> str:
    """The URL to open on this very machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.HOST, settings.HOST)  # noqa: S104 -- compared, not bound
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{settings.PORT}"


def banner(administrator: Administrator, token: IngestToken) -> str:
    url = base_url()
    lines = [
        "",
        _("The portal is up: %(url)s") % {"url": url + reverse("admin:index")},
        "",
        *_login(administrator),
        "",
        *_agent(url, token),
        "",
        *_data(),
        _("Stop it with Ctrl-C."),
        "",
    ]
    return "\n".join(lines)


def _login(administrator: Administrator) -> list[str]:
    if administrator.password is not None:
        return [
            _("Sign in with this login; the password is shown this once:"),
            _("    user      %(name)s") % {"name": administrator.username},
            _("    password  %(password)s") % {"password": administrator.password},
        ]
    if administrator.made_now:
        return [_("Sign in as %(name)s with the password from ADMIN_PASSWORD.") % {"name": administrator.username}]
    return [
        _("Sign in as %(name)s with the password that you have; to set a new one: %(command)s")
        % {"name": administrator.username, "command": f"python manage.py changepassword {administrator.username}"}
    ]


def _agent(url: str, token: IngestToken) -> list[str]:
    if token.secret is None:
        reason = (
            _("The first ingest token was revoked or has expired.")
            if token.lost == "unusable"
            else _("The first ingest token was made before, and %(path)s no longer holds it.") % {"path": token_file()}
        )
        return [reason, _("Make a new one at %(url)s") % {"url": url + reverse("admin:agents_agenttoken_add")}]
    return [
        _("A OneStep agent on this machine connects with these three lines in its environment:"),
        f"    ONESTEP_CONTROL_PLANE_URL={url}",
        f"    ONESTEP_CONTROL_PLANE_TOKEN={token.secret}",
        f"    ONESTEP_CONTROL_PLANE_ENVIRONMENT={_ENVIRONMENT}",
    ]


def _data() -> list[str]:
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        return [_("Data is in %(path)s") % {"path": database["NAME"]}]
    return [
        _("Data is in the database %(name)s at %(host)s; keys and the first token are in %(path)s")
        % {"name": database["NAME"], "host": database["HOST"] or "localhost", "path": settings.DATA_DIR}
    ]
