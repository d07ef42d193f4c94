"""What the image is built of holds what the portal reads of its own files."""

from django.conf import settings


def test_the_image_knows_its_version():
    sent = (settings.BASE_DIR / ".dockerignore").read_text(encoding="utf-8").splitlines()

    # The page System tells the version that stands there.
    assert "!pyproject.toml" in sent
    assert (settings.BASE_DIR / "pyproject.toml").is_file()
