"""From what came back to a verdict."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import requests
from django.utils.translation import gettext as _

from notifications.providers.base import Verdict
from notifications.providers.guard import AddressRefused, Answer

RESPONSE_KEPT_CHARS = 4000


def attempted(call: Callable[[], Answer], judge: Callable[[Answer], Verdict]) -> Verdict:
    """The verdict on one call; what the network does is one too."""
    try:
        answer = call()
    except AddressRefused as error:
        return Verdict(ok=False, error=str(error), is_permanent=True)
    except requests.Timeout:
        return Verdict(ok=False, error=_("No answer came in time."))
    except requests.exceptions.SSLError:
        return Verdict(ok=False, error=_("Its certificate is not trusted, or TLS failed."))
    # Their texts hold URLs, and those are secret.
    except requests.RequestException as error:
        return Verdict(ok=False, error=_("It cannot be reached: %s") % type(error).__name__)
    return judge(answer)


def by_status(answer: Answer) -> Verdict:
    """Any 2xx is good. Source: contract 7.4."""
    ok = 200 <= answer.status < 300
    # What is wrong with the request itself stays wrong; time-outs and limits pass.
    is_permanent = 300 <= answer.status < 500 and answer.status not in {408, 425, 429}
    return Verdict(
        ok=ok,
        status_code=answer.status,
        response=answer.body[:RESPONSE_KEPT_CHARS],
        error="" if ok else _("HTTP %d was answered.") % answer.status,
        retry_after_s=answer.retry_after_s,
        is_permanent=not ok and is_permanent,
    )


def by_code(
    answer: Answer, names: tuple[str, ...], said: str, *, refused: frozenset[int], hints: Mapping[int, Any]
) -> Verdict:
    """2xx and a code of 0 in the body: these providers answer 200 to what they refuse.

    `refused` are codes at which the same would be refused again; `hints` say what to do about a code.
    """
    verdict = by_status(answer)
    if not verdict.ok:
        return verdict
    try:
        body = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        body = None
    code = next((body[name] for name in names if name in body), None) if isinstance(body, dict) else None
    if not isinstance(code, int) or isinstance(code, bool):
        return _unclear(verdict)
    if code == 0:
        return Verdict(ok=True, status_code=answer.status, provider_code="0", response=verdict.response)
    text = str(body.get(said, ""))[:500]
    hint = hints.get(code)
    return Verdict(
        ok=False,
        status_code=answer.status,
        provider_code=str(code),
        response=verdict.response,
        error=f"{code}: {text}" + (f" — {hint}" if hint else ""),
        retry_after_s=answer.retry_after_s,
        is_permanent=code in refused,
    )


def _unclear(verdict: Verdict) -> Verdict:
    return Verdict(
        ok=False,
        status_code=verdict.status_code,
        response=verdict.response,
        error=_("The answer holds no code: is this the address of the bot?"),
    )
