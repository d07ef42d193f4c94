"""People, their roles and the tokens with which programs act as them."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import Count, Prefetch, Q, QuerySet, prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.forms import AdminPasswordChangeForm as UnfoldPasswordChangeForm
from unfold.forms import UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectMultipleWidget

from controlplane.access.actors import actor_of
from controlplane.access.lockout import UNKNOWN_MARK, counted_username
from controlplane.access.models import ApiToken, FailedLogin, SuccessfulLogin
from controlplane.access.roles import Role
from controlplane.access.services import create_api_token, revoke_api_token
from controlplane.console.admin import HistoryAdmin, ModelAdmin, after_recent_login
from controlplane.console.formatting import NOTHING, admin_url, age, badge, clock, cut, link
from controlplane.console.tokens import TokenAdmin, TokenForm, environments_field, words

admin.site.unregister(User)
admin.site.unregister(Group)

ROLE_WORDS = {Role.VIEWER.value: _("Viewer"), Role.OPERATOR.value: _("Operator"), Role.ADMIN.value: _("Administrator")}


def group_words(group: Any) -> str:
    """What a group is called: the roles in the language of the reader, others by their name."""
    return str(ROLE_WORDS.get(group.name, group.name))


class AdminUserCreationForm(UserCreationForm):  # type: ignore[misc]
    """Everybody has a password: there is no other way in, so Django's choice of none is left out."""

    usable_password = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _require_password(self)


class AdminPasswordChangeForm(UnfoldPasswordChangeForm):  # type: ignore[misc]
    """The same for a new password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.pop("usable_password", None)
        _require_password(self)


def _require_password(form: Any) -> None:
    form.fields["password1"].required = True
    form.fields["password2"].required = True


class RightsAdmin(ModelAdmin):
    """Forms that say what people may do. They are opened, and changes stored, after a recent login only."""

    @after_recent_login("GET", "POST")
    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().add_view(request, *args, **kwargs)
        return response

    @after_recent_login("POST")
    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().change_view(request, *args, **kwargs)
        return response


@admin.register(User)
class UserAdmin(RightsAdmin, DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Only a superuser makes superusers or hands out single permissions.

    Nobody touches people who may do more than oneself, nor puts anybody into a group that may.
    """

    form = UserChangeForm
    add_form = AdminUserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "full_name", "roles", "active", "seen", "joined")
    list_filter = ("is_active", "is_superuser", "groups")
    date_hierarchy = "date_joined"
    show_full_result_count = False
    list_fullwidth = True
    # Rights come from roles; eighty single permissions would say less than they hide.
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Personal info"), {"fields": ("first_name", "last_name", "email")}),
        (_("Role"), {"fields": ("groups", "is_active", "is_staff", "is_superuser")}),
        (_("Important dates"), {"fields": ("last_login_at", "joined_at")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "password1", "password2")}),
        (_("Role"), {"fields": ("groups", "is_staff")}),
    )
    filter_horizontal = ()
    superuser_fields = ("is_superuser", "user_permissions")
    # A form would cut them to what its fields show, and the history would tell that somebody changed them.
    readonly_fields = ("last_login_at", "joined_at")

    @admin.display(description=_("Last login"))
    def last_login_at(self, user: User) -> SafeString | str:
        return clock(user.last_login)

    @admin.display(description=_("Joined"))
    def joined_at(self, user: User) -> SafeString | str:
        return clock(user.date_joined)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related(Prefetch("groups", Group.objects.order_by("name")))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Whoever is added here is meant to log in here."""
        return {"is_staff": True, **super().get_changeform_initial_data(request)}

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """The few groups as boxes to tick, the roles by their words; none that may do more than who is asking."""
        if db_field.name != "groups":
            return super().formfield_for_manytomany(db_field, request, **kwargs)
        field = super().formfield_for_manytomany(
            db_field, request, widget=UnfoldAdminCheckboxSelectMultipleWidget, help_text="", **kwargs
        )
        if field is not None:
            if not request.user.is_superuser:
                above = Group.objects.filter(permissions__in=_permissions_beyond(request.user))
                field.queryset = Group.objects.exclude(pk__in=above)
            field.label_from_instance = group_words  # type: ignore[method-assign, assignment]
        return field

    @admin.display(description=_("Name"), ordering="last_name")
    def full_name(self, row: User) -> str:
        return row.get_full_name() or NOTHING

    @admin.display(description=_("Roles"))
    def roles(self, row: User) -> str:
        names = [group_words(group) for group in row.groups.all()]
        if row.is_superuser:
            names.insert(0, gettext("Superuser"))
        return ", ".join(names) or NOTHING

    @admin.display(description=_("State"), ordering="is_active")
    def active(self, row: User) -> SafeString:
        if not row.is_active:
            return badge("token", "revoked", gettext("Disabled"))
        if not row.is_staff:
            return badge("token", "expired", gettext("May not log in here"))
        return badge("token", "usable", gettext("Active"))

    @admin.display(description=_("Last login"), ordering="last_login")
    def seen(self, row: User) -> SafeString | str:
        if row.last_login is None:
            return NOTHING
        return link(admin_url("access_successfullogin_changelist", q=row.get_username()), age(row.last_login))

    @admin.display(description=_("Joined"), ordering="date_joined")
    def joined(self, row: User) -> SafeString | str:
        return age(row.date_joined)

    @after_recent_login("GET", "POST")
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        """The page that gives somebody else a new password, in one transaction with the event that says so."""
        with transaction.atomic():
            if request.method == "POST" and (user := self.get_object(request, unquote(id))) is not None:
                self.remember_before(request, user.pk)
            response: HttpResponse = super().user_change_password(request, id, form_url)
        return response

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else (*fields, *self.superuser_fields)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Deleting several at once could take a superuser along."""
        actions: dict[str, Any] = super().get_actions(request)
        if not request.user.is_superuser:
            actions.pop("delete_selected", None)
        return actions


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    if user is None or request.user.is_superuser:
        return True
    if user.is_superuser:
        return False
    # Read from the tables: has_perm denies everything to people who are disabled, and they can be enabled again.
    return not _permissions_of(user).filter(pk__in=_permissions_beyond(request.user)).exists()


def _permissions_of(user: Any) -> QuerySet[Permission]:
    return Permission.objects.filter(Q(group__user=user) | Q(user=user))


def _permissions_beyond(user: Any) -> QuerySet[Permission]:
    """What the user, no superuser, may not do."""
    return Permission.objects.exclude(pk__in=_permissions_of(user).values("pk"))


@admin.register(Group)
class GroupAdmin(RightsAdmin, DjangoGroupAdmin, ModelAdmin):
    """The three roles are groups; more groups may be made, but a role is neither renamed nor deleted.

    Only a superuser says what a group may do: otherwise an administrator could raise oneself through the own group.
    """

    list_display = ("role", "members")
    show_full_result_count = False
    list_fullwidth = True
    # Django's two lists with arrows between them are not for those who hear the page.
    filter_horizontal = ()

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any) -> Any:
        """Permissions as the browser's own list of choices."""
        field = super().formfield_for_manytomany(db_field, request, widget=UnfoldAdminSelectMultipleWidget, **kwargs)
        if field is not None:
            # Django's hint names keys in English in every language.
            field.help_text = ""
        return field

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        rows: QuerySet[Group] = super().get_queryset(request)
        return rows.annotate(member_count=Count("user"))

    @admin.display(description=_("Group"), ordering="name")
    def role(self, row: Group) -> str:
        return group_words(row)

    @admin.display(description=_("Members"), ordering="member_count")
    def members(self, row: Any) -> SafeString:
        return link(admin_url("auth_user_changelist", groups__id__exact=row.pk), row.member_count)

    def get_readonly_fields(self, request: HttpRequest, obj: Group | None = None) -> tuple[str, ...]:
        name = ("name",) if obj is not None and obj.name in ROLE_WORDS else ()
        return name if request.user.is_superuser else (*name, "permissions")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Group | None:
        """With its permissions: shown read-only, each would cost a query for its content type."""
        group = super().get_object(request, object_id, from_field)
        if group is not None:
            prefetch_related_objects(
                [group], Prefetch("permissions", Permission.objects.select_related("content_type"))
            )
        return group

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.name not in ROLE_WORDS)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Deleting several at once could take a role along."""
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions


class ApiTokenForm(TokenForm):
    environments = environments_field(_("What it sees and commands; none chosen means all."))

    class Meta:
        model = ApiToken
        fields = ("name", "user", "scope", "environments", "expires_at")


@admin.register(ApiToken)
class ApiTokenAdmin(TokenAdmin):
    form = ApiTokenForm
    autocomplete_fields = ("user",)
    list_display = (
        "name",
        "state",
        "shown_prefix",
        "user_column",
        "scope_column",
        "environments_column",
        "last_used",
        "expires",
        "created",
    )
    list_filter = (*TokenAdmin.list_filter, "scope")
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username")
    page_template = "admin/access/apitoken/page.html"
    made_template = "admin/access/apitoken/made.html"

    @admin.display(description=_("Secret begins with"))
    def shown_prefix(self, row: ApiToken) -> SafeString:
        return format_html('<code class="c-mono">{}…</code>', row.prefix)

    @admin.display(description=_("Acts as"), ordering="user__username")
    def user_column(self, row: ApiToken) -> SafeString:
        return link(admin_url("auth_user_change", row.user_id), row.user.get_username())

    @admin.display(description=_("Scope"), ordering="scope")
    def scope_column(self, row: ApiToken) -> str:
        return row.get_scope_display()

    @admin.display(description=_("Environments"))
    def environments_column(self, row: ApiToken) -> str:
        return words(row.environments, gettext("All"))

    def page_context(self, request: HttpRequest, obj: ApiToken) -> dict[str, object]:
        return {**super().page_context(request, obj), "environments": self.environments_column(obj)}

    def get_page_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        return ApiToken.objects.select_related("user")

    @after_recent_login("GET", "POST")
    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().add_view(request, *args, **kwargs)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """A token acts as its user, so nobody makes one for a superuser but a superuser."""
        if db_field.name == "user":
            users = User.objects.filter(is_active=True)
            if not request.user.is_superuser:
                users = users.filter(is_superuser=False)
            kwargs["queryset"] = users
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def make(self, request: HttpRequest, data: dict[str, Any]) -> tuple[ApiToken, str]:
        return create_api_token(
            name=data["name"],
            user=data["user"],
            actor=actor_of(request),
            scope=data["scope"],
            environments=data["environments"],
            expires_at=data["expires_at"],
        )

    def revoke(self, request: HttpRequest, token: Any) -> bool:
        return revoke_api_token(token, actor=actor_of(request))

    def made_context(self, request: HttpRequest, obj: ApiToken) -> dict[str, object]:
        return {"portal_url": request.build_absolute_uri("/").rstrip("/")}


class LoginHistoryAdmin(HistoryAdmin):
    """What django-axes stores of one attempt."""

    ordering = ("-attempt_time",)
    date_hierarchy = "attempt_time"
    search_fields = ("=username", "=ip_address")
    search_help_text = _("A username or an address; of IPv6, the network.")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return super().get_search_results(request, queryset, counted_username(search_term))

    @admin.display(description=_("When"), ordering="attempt_time")
    def when(self, row: FailedLogin | SuccessfulLogin) -> SafeString | str:
        return age(row.attempt_time)

    @admin.display(description=_("Username"), ordering="username")
    def who(self, row: FailedLogin | SuccessfulLogin) -> SafeString | str:
        name = row.username or NOTHING
        return cut(gettext("Unknown user %s") % name if name.startswith(UNKNOWN_MARK) else name, 60)

    @admin.display(description=_("Address"), ordering="ip_address")
    def address(self, row: FailedLogin | SuccessfulLogin) -> str:
        return str(row.ip_address or NOTHING)

    @admin.display(description=_("Browser or program"))
    def program(self, row: FailedLogin | SuccessfulLogin) -> SafeString | str:
        return cut(row.user_agent, 80)

    @admin.display(description=_("Where"))
    def door(self, row: FailedLogin | SuccessfulLogin) -> str:
        return str(row.path_info)


@admin.register(FailedLogin)
class FailedLoginAdmin(LoginHistoryAdmin):
    list_display = fields = readonly_fields = ("when", "who", "address", "outcome", "door", "program")
    list_filter = ("locked_out",)
    list_before_template = "admin/access/failedlogin/unlock.html"

    @admin.display(description=_("Locked out by it"), ordering="locked_out")
    def outcome(self, row: FailedLogin) -> SafeString | str:
        return badge("token", "revoked", gettext("Locked out")) if row.locked_out else NOTHING


@admin.register(SuccessfulLogin)
class SuccessfulLoginAdmin(LoginHistoryAdmin):
    list_display = fields = readonly_fields = ("when", "who", "address", "logged_out", "door", "program")

    @admin.display(description=_("Logged out"), ordering="logout_time")
    def logged_out(self, row: SuccessfulLogin) -> SafeString | str:
        return age(row.logout_time)
