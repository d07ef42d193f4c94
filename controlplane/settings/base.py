"""Django itself: apps, middleware, templates, languages, security."""

import ipaddress
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from controlplane.common import env

BASE_DIR = Path(__file__).resolve().parent.parent.parent
APP_ENV = env.choice("APP_ENV", "dev", ("dev", "prod"))
DEBUG = env.boolean("DEBUG", default=False)
HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, minimum=1, maximum=65535)

# Everything that the embedded default writes: database, generated secrets. Created by `manage.py up`.
DATA_DIR = Path(env.text("DATA_DIR", str(BASE_DIR / "var"))).resolve()


def _secret_key() -> str:
    """SECRET_KEY from the environment; outside production, one generated once into DATA_DIR."""
    configured = env.secret("SECRET_KEY")
    if configured:
        return configured
    if APP_ENV == "prod":
        raise ImproperlyConfigured(
            "SECRET_KEY must be set when APP_ENV is prod. Make one: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"
        )
    return kept_secret("secret_key", lambda: secrets.token_urlsafe(50))


def kept_secret(name: str, make: Callable[[], str]) -> str:
    """What the file of this name in DATA_DIR holds; made at the first start, for this user alone to read.

    A process that may not write there (a check, a build) gets one of its own, good for its lifetime.
    """
    path = DATA_DIR / name
    try:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            path.chmod(0o600)
            file.write(make())
    except FileExistsError:
        pass
    except OSError:
        return make()
    try:
        # An empty file is one that another process is writing this very moment, or one lost to a full disk.
        return path.read_text(encoding="utf-8").strip() or make()
    except OSError as exc:
        raise ImproperlyConfigured(
            f"The key file {path} cannot be read: {exc.strerror}. Set DATA_DIR to a folder that this user may write."
        ) from exc


SECRET_KEY = _secret_key()


def _allowed_hosts() -> list[str]:
    configured = env.items("ALLOWED_HOSTS")
    if configured:
        return list(configured)
    if APP_ENV == "prod":
        raise ImproperlyConfigured("ALLOWED_HOSTS must name the host names of this portal when APP_ENV is prod.")
    if HOST in {"0.0.0.0", "::"}:  # noqa: S104 -- compared, not bound
        return ["*"]
    return ["localhost", "127.0.0.1", "[::1]", "testserver", HOST, socket.gethostname()]


ALLOWED_HOSTS = _allowed_hosts()
CSRF_TRUSTED_ORIGINS = list(env.items("CSRF_TRUSTED_ORIGINS"))

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "channels",
    "corsheaders",
    "csp",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_htmx",
    "controlplane",
    "controlplane.access",
    "agents",
    "tasks_app",
    "notifications",
]

MIDDLEWARE = [
    "controlplane.common.rest.paths.api_path_middleware",
    "corsheaders.middleware.CorsMiddleware",
    "controlplane.common.headers.BrowserPolicies",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "controlplane.common.rest.programs.Sessions",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "controlplane.console.zones.ViewerZone",
    "controlplane.common.rest.programs.Authentication",
    "controlplane.common.rest.programs.Messages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "controlplane.common.rest.programs.Htmx",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "controlplane.urls"
ASGI_APPLICATION = "controlplane.asgi.application"
# Agents and programs call without a trailing slash and must never be redirected: a redirect turns POST into GET.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

LANGUAGE_CODE = env.choice("LANGUAGE_CODE", "en", ("en", "zh-hans"))
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.text("API_RESPONSE_TIMEZONE") or env.text("TZ") or "UTC"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# SQLite makes an index without the columns that PostgreSQL keeps beside its keys, and every command would say so.
SILENCED_SYSTEM_CHECKS = ["models.W040"]


def _trusted_proxies() -> list[str]:
    proxies = env.items("TRUSTED_PROXIES", ("127.0.0.1", "::1"))
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as exc:
            raise ImproperlyConfigured(f"TRUSTED_PROXIES must hold addresses and networks, not {proxy!r}.") from exc
    return list(proxies)


# Whose X-Forwarded-For names the peer: addresses or networks. Anybody else's is passed over.
TRUSTED_PROXIES = _trusted_proxies()
# Behind a proxy that ends TLS, set BEHIND_TLS_PROXY so that its X-Forwarded-Proto is believed.
if env.boolean("BEHIND_TLS_PROXY", default=APP_ENV == "prod"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_COOKIES = env.boolean("SECURE_COOKIES", default=APP_ENV == "prod")
SECURE_SSL_REDIRECT = env.boolean("SECURE_SSL_REDIRECT", default=APP_ENV == "prod")
# Health probes come from inside, in plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^(api/v1/master/)?(healthz|readyz)$"]
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", 31536000 if APP_ENV == "prod" else 0, minimum=0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.boolean("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=APP_ENV == "prod")
SECURE_HSTS_PRELOAD = env.boolean("SECURE_HSTS_PRELOAD", default=APP_ENV == "prod")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# A larger body is answered with 413 before it is read; parts of the API allow less.
HTTP_BODY_MAX_BYTES = env.integer("HTTP_BODY_MAX_BYTES", 4 * 1024 * 1024, minimum=64 * 1024)

STATIC_URL = "static/"
STATIC_ROOT = env.text("STATIC_ROOT") or None
# With STATIC_ROOT (the container image) files are collected, hashed and compressed; without it they are served from
# the packages, so that `make up` needs no collecting step.
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = STATIC_ROOT is None
# Files serve the pages of this portal; what other origins may read is below /api.
WHITENOISE_ALLOW_ALL_ORIGINS = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_ROOT
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
