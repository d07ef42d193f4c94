"""The form of a channel: what each provider asks for. Secrets are written here and never shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from controlplane.console.editing import ServedForm
from notifications.admin.forms import PairsField, zone_field
from notifications.models import Channel, Provider
from notifications.providers.budgets import budget_of

ADDRESS_MAX: Final = 4096
SECRET_MAX: Final = 1024
BUDGET_MAX: Final = 100_000
KEPT: Final = _("Kept; type to replace it")
METHODS: Final = (("POST", "POST"), ("GET", "GET"))
# Those that are shown again, each with what an empty field means.
OPTIONS: Final[Mapping[str, Any]] = {
    "method": "POST",
    "query_params": [],
    "body_params": [],
    "body_template": "",
    "subject_prefix": "",
}


@dataclass(frozen=True, slots=True)
class Asks:
    """What a provider asks for: how its address and secret are called (empty for none), and which options it takes."""

    icon: str
    # Texts that are translated when they are shown.
    address: Any
    help: Any
    example: str
    secret: Any = ""
    secret_help: Any = ""
    options: tuple[str, ...] = ()


PROVIDERS: Final[Mapping[str, Asks]] = {
    Provider.FEISHU: Asks(
        "chat",
        _("Address of the bot"),
        _("In the group: settings, bots, add a custom bot."),
        "https://open.feishu.cn/open-apis/bot/v2/hook/…",
        _("Signing secret"),
        _("Where the bot checks signatures."),
    ),
    Provider.WECHAT_WORK: Asks(
        "forum",
        _("Address of the bot"),
        _("In the group: add a group bot."),
        "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…",
    ),
    Provider.CUSTOM: Asks(
        "webhook",
        _("Address"),
        _("Any address that takes an HTTP request."),
        "https://hooks.example.com/portal",
        options=("method", "query_params", "body_params", "body_template", "headers"),
    ),
    Provider.EMAIL: Asks(
        "mail", _("Recipients"), _("Addresses, by commas."), "on-call@example.com", options=("subject_prefix",)
    ),
    Provider.APPRISE: Asks(
        "hub",
        _("Apprise URL"),
        _("As Apprise writes it, for DingTalk, Slack, Telegram, Teams and many more."),
        "slack://TokenA/TokenB/TokenC/#channel",
    ),
}


class ChannelForm(ServedForm):
    # What is said of all options is said at the address; a provider that is not set up is no fault of a field.
    PLACES = {"provider": "address"}

    address = forms.CharField(max_length=ADDRESS_MAX, widget=UnfoldAdminTextInputWidget)
    secret = forms.CharField(required=False, max_length=SECRET_MAX, widget=UnfoldAdminPasswordWidget)
    drops_secret = forms.BooleanField(label=_("Take the secret away"), required=False, widget=UnfoldBooleanWidget)
    time_zone = zone_field(help_text=_("Of the times in its messages."))
    method = forms.ChoiceField(label=_("Method"), choices=METHODS, required=False, widget=UnfoldAdminSelectWidget)
    query_params = PairsField(
        label=_("Query"), placeholder="task={{ task_name }}", help_text=_("One parameter a line, as name=value.")
    )
    body_params = PairsField(
        label=_("Body"),
        placeholder="text={{ failure_message }}",
        help_text=_("The same, sent as a JSON object of texts."),
    )
    body_template = forms.CharField(
        label=_("Body as JSON"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "spellcheck": "false"}),
        help_text=_("In the place of the parameters above, with the same variables."),
    )
    subject_prefix = forms.CharField(
        label=_("Subjects begin with"), required=False, max_length=100, widget=UnfoldAdminTextInputWidget
    )
    headers = PairsField(
        separator=":",
        label=_("Headers"),
        placeholder="Authorization: Bearer …",
        help_text=_("One a line, as Name: value. Their values are never shown; what is written here replaces all."),
    )
    drops_headers = forms.BooleanField(label=_("Take all headers away"), required=False, widget=UnfoldBooleanWidget)
    per_second = forms.IntegerField(
        label=_("At most a second"),
        required=False,
        min_value=1,
        max_value=BUDGET_MAX,
        widget=UnfoldAdminIntegerFieldWidget,
    )
    per_minute = forms.IntegerField(
        label=_("At most a minute"),
        required=False,
        min_value=1,
        max_value=BUDGET_MAX,
        widget=UnfoldAdminIntegerFieldWidget,
    )
    provider = forms.ChoiceField(label=_("Provider"), choices=Provider.choices, widget=forms.HiddenInput)

    class Meta:
        model = Channel
        fields = ("name", "enabled", "language", "time_zone", "per_second", "per_minute", "provider")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.provider_name = self._provider()
        asks = PROVIDERS[self.provider_name]
        self.fields["provider"].initial = self.initial["provider"] = self.provider_name
        self._fit_secrets(asks)
        self._fit_options(asks)
        self._fit_budget()
        if not self.instance.pk:
            self.initial.setdefault("language", settings.LANGUAGE_CODE)

    def _provider(self) -> str:
        """That of the row, which stays, else what was chosen."""
        chosen = self.instance.provider or self.data.get("provider") or self.initial.get("provider", "")
        return chosen if chosen in PROVIDERS else str(Provider.CUSTOM)

    def _fit_secrets(self, asks: Asks) -> None:
        address = self.fields["address"]
        address.label, address.help_text = asks.address, asks.help
        address.widget.attrs |= {"autocomplete": "off", "spellcheck": "false", "placeholder": asks.example}
        if self.instance.pk:
            # What it is now is nobody's to read; empty, it stays.
            address.required = False
            address.widget.attrs["placeholder"] = f"{self.instance.address_masked} ({KEPT})"
        if not asks.secret:
            self._drop("secret", "drops_secret")
            return
        secret = self.fields["secret"]
        secret.label, secret.help_text = asks.secret, asks.secret_help
        secret.widget.attrs |= {"autocomplete": "new-password"}
        if self.instance.secret:
            secret.widget.attrs["placeholder"] = KEPT
        else:
            self._drop("drops_secret")

    def _fit_options(self, asks: Asks) -> None:
        options = self.instance.options or {}
        for name in (*OPTIONS, "headers"):
            if name not in asks.options:
                self._drop(name)
            elif name != "headers":
                self.initial.setdefault(name, options.get(name, ""))
        known = [each["key"] for each in options.get("headers", ())]
        if not known:
            self._drop("drops_headers")
        elif "headers" in self.fields:
            self.fields["headers"].widget.attrs["placeholder"] = f"{', '.join(known)} ({KEPT})"

    def _fit_budget(self) -> None:
        known = budget_of(self.provider_name, None, None)
        for name, count in (("per_second", known.per_second), ("per_minute", known.per_minute)):
            self.fields[name].widget.attrs["placeholder"] = str(count)
            self.fields[name].help_text = gettext("Empty means %d, which this provider takes.") % count

    def _drop(self, *names: str) -> None:
        for name in names:
            self.fields.pop(name, None)

    def values(self) -> dict[str, Any]:
        data = self.cleaned_data
        plain = ("name", "enabled", "language", "time_zone", "per_second", "per_minute")
        values = {name: data[name] for name in plain}
        if data.get("address"):
            values["address"] = data["address"]
        if data.get("drops_secret"):
            values["secret"] = ""
        elif data.get("secret"):
            values["secret"] = data["secret"]
        if not self.instance.pk:
            values["provider"] = self.provider_name
        if PROVIDERS[self.provider_name].options:
            values["options"] = self._options()
        return values

    def _options(self) -> dict[str, Any]:
        data = self.cleaned_data
        options = dict(self.instance.options or {})
        for name, empty in OPTIONS.items():
            if name in self.fields:
                options[name] = data.get(name) or empty
        if data.get("drops_headers"):
            options["headers"] = []
        elif data.get("headers"):
            # The service encrypts them.
            options["headers"] = data["headers"]
        return options
