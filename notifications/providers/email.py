"""E-mail, by the server that EMAIL_* names."""

import smtplib
from typing import Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.validators import validate_email
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _

from controlplane.common.errors import Invalid
from notifications.engine.cards import Card
from notifications.providers.base import Target, Verdict
from notifications.providers.plain import text_of

RECIPIENTS_MAX: Final = 50
SUBJECT_CHARS: Final = 200


class Email:
    def check(self, target: Target) -> None:
        found = recipients(target.address)
        if not 1 <= len(found) <= RECIPIENTS_MAX:
            raise Invalid(
                _("Give 1 to %d e-mail addresses, with commas between them.") % RECIPIENTS_MAX, field="address"
            )
        for address in found:
            try:
                validate_email(address)
            except ValidationError as error:
                raise Invalid(_("“%s” is no e-mail address.") % address[:80], field="address") from error
        if not settings.EMAIL_HOST:
            raise Invalid(_("No mail server is set: EMAIL_HOST is empty."), field="provider")

    def mask(self, address: str) -> str:
        """The first letter of each and where it is."""
        found = [f"{each[:1]}…@{each.rpartition('@')[2]}" for each in recipients(address)]
        more = f" +{len(found) - 3}" if len(found) > 3 else ""
        return ", ".join(found[:3]) + more

    def send(self, target: Target, card: Card, *, delivery_id: str, timeout_s: float) -> Verdict:
        message = EmailMultiAlternatives(
            subject=subject_of(target, card),
            body=text_of(card),
            from_email=settings.DEFAULT_FROM_EMAIL,
            to=recipients(target.address),
            headers={"Message-ID": f"<{delivery_id}@control-plane>", "Auto-Submitted": "auto-generated"},
            connection=get_connection(timeout=timeout_s),
        )
        message.attach_alternative(html_of(card), "text/html")
        try:
            message.send()
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _said in error.recipients.values()]
            return Verdict(
                ok=False,
                provider_code=str(codes[0]),
                error=_("The mail server refused the recipients."),
                is_permanent=all(500 <= code < 600 for code in codes),
            )
        except smtplib.SMTPResponseException as error:
            said = (
                error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            )
            return Verdict(
                ok=False,
                provider_code=str(error.smtp_code),
                response=str(said)[:4000],
                error=_("The mail server answered %d.") % error.smtp_code,
                is_permanent=500 <= error.smtp_code < 600,
            )
        except (OSError, smtplib.SMTPException) as error:
            return Verdict(ok=False, error=_("The mail server cannot be reached: %s") % type(error).__name__)
        return Verdict(ok=True, provider_code="250")

    def preview(self, target: Target, card: Card) -> str:
        return f"{_('Subject')}: {subject_of(target, card)}\n\n{text_of(card)}"


def recipients(address: str) -> list[str]:
    return [each.strip() for each in address.split(",") if each.strip()]


def subject_of(target: Target, card: Card) -> str:
    """One line, whatever is in it."""
    text = f"{target.options.get('subject_prefix', '')} {card.title}"
    return " ".join(text.replace("\0", " ").split())[:SUBJECT_CHARS]


def html_of(card: Card) -> str:
    rows = format_html_join(
        "", "<tr><td><b>{}</b></td><td>{}</td></tr>", ((line.name, line.value) for line in (*card.lines, *card.metrics))
    )
    items = format_html_join("", "<li>{}</li>", ((item,) for item in card.items))
    link = (
        format_html('<p><a href="{}">{}</a></p>', card.link, card.link_text or card.link) if "://" in card.link else ""
    )
    return format_html("<h3>{}</h3><table>{}</table><ul>{}</ul>{}", card.title, rows, items, link)
