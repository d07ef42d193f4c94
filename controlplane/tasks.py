"""Background jobs of the composition, over what belongs to no app. A missed or doubled run is harmless."""

from celery import shared_task


@shared_task(ignore_result=True)
def clean_logins() -> None:
    """Every five seconds; a missed run leaves what has expired that much longer. Cost: three reads by index, and small
    deletes where they find something."""
    from agents.services.background import run_background_job  # noqa: PLC0415 -- leaf
    from agents.services.sizes import note_removed  # noqa: PLC0415 -- leaf
    from controlplane.access.cleaning import LOGINS_SETTING  # noqa: PLC0415 -- leaf
    from controlplane.access.cleaning import clean_logins as clean  # noqa: PLC0415 -- leaf

    run_background_job("clean-logins", every_s=5, work=lambda: note_removed(LOGINS_SETTING, clean()))
