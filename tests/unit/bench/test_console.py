"""The pages that the scenario `console` measures: none of the console is missing."""

from django.contrib import admin
from django.urls import Resolver404, resolve

from bench.run import BY_THEMSELVES
from bench.scenarios import console


def test_every_registered_admin_has_its_list_measured():
    assert set(console.LISTS) == {model._meta.label_lower.replace(".", "/") for model in admin.site._registry}


def test_every_measured_page_exists():
    paths = [*console.PAGES, *console.NARROWED, *(f"{name}/" for name in console.LISTS)]

    def exists(path):
        try:
            return resolve(f"/admin/{path}".partition("?")[0]).url_name != "catch_all"
        except Resolver404:
            return False

    assert [path for path in paths if not exists(path)] == []


def test_the_scenario_is_run_by_its_own_name():
    assert BY_THEMSELVES["console"] is console.console
