"""What the database holds of channels, and how its key is changed."""

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from notifications.models import Channel
from notifications.secrets import SecretUnreadable, decrypt, encrypt

pytestmark = pytest.mark.django_db
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def channel(name="ops"):
    return Channel.objects.create(
        name=name, provider="feishu", address=encrypt("https://a.example/hook"), secret=encrypt("s3cret")
    )


def test_the_database_holds_nothing_readable(settings):
    settings.NOTIFY_SECRET_KEYS = (OLD,)
    made = channel()

    assert "example" not in made.address
    assert (decrypt(made.address), decrypt(made.secret), encrypt("")) == ("https://a.example/hook", "s3cret", "")


def test_keys_are_rotated(settings, capsys):
    settings.NOTIFY_SECRET_KEYS = (OLD,)
    made = channel()
    settings.NOTIFY_SECRET_KEYS = (NEW, OLD)

    call_command("rotate_notify_secrets")

    settings.NOTIFY_SECRET_KEYS = (NEW,)
    made.refresh_from_db()
    assert decrypt(made.address) == "https://a.example/hook"
    assert "1 channels" in capsys.readouterr().out


def test_what_no_key_reads_is_named(settings):
    settings.NOTIFY_SECRET_KEYS = (OLD,)
    channel("lost")
    settings.NOTIFY_SECRET_KEYS = (NEW,)

    with pytest.raises(SecretUnreadable):
        decrypt(Channel.objects.get().address)
    with pytest.raises(CommandError, match="lost"):
        call_command("rotate_notify_secrets")
