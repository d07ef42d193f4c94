"""The fleet by what it runs, and who of it may be gone or there twice."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Event, HostAddress, Instance
from agents.selectors import suspects
from agents.selectors.inventory import Composition, Scope, capabilities
from agents.selectors.suspects import duplicates, stale
from agents.services.inventory import addresses_in, store_facts
from tests.factories.agents import (
    ONESTEP_CAPABILITIES,
    GroupFactory,
    InstanceFactory,
    InstanceLabelsFactory,
    ServiceFactory,
    SessionFactory,
)
from tests.integration.api_client import api_as
from tests.integration.console import console_as, said, text_of

pytestmark = pytest.mark.django_db
NOW = timezone.now()
LONG_AGO = NOW - timedelta(days=40)
MAC = "00:1b:44:11:3a:b7"


def test_the_fleet_is_counted_by_dialect_and_environment_without_the_archived():
    prod = ServiceFactory(environment="prod")
    InstanceFactory.create_batch(2, service=prod, online=True)
    InstanceFactory(service=prod, offline=True)
    InstanceFactory(dialect="argus", service=prod)
    InstanceFactory(service=prod, archived_at=NOW)

    parts = [(part.dialect, part.environment, part.instances, part.online) for part in Composition(Scope()).parts()]

    assert parts == [("argus", "prod", 1, 0), ("onestep", "prod", 3, 2)]


def test_versions_are_counted_and_what_is_left_out_is_told():
    service = ServiceFactory(name="shop")
    InstanceFactory.create_batch(3, service=service, agent_version="1.15.0", online=True)
    InstanceFactory(service=service, agent_version="1.11.0", offline=True)
    InstanceFactory(agent_version="")

    agent = Composition(Scope()).versions()[0]
    [shown] = Composition(Scope()).versions(by_service=True, limit=1)[:1]

    counted = [(item.version, item.instances, item.online, item.service_name) for item in agent.items]
    assert counted == [("1.15.0", 3, 3, ""), ("", 1, 0, ""), ("1.11.0", 1, 0, "")]
    assert ([item.service_name for item in shown.items], shown.left_out) == (["shop"], 2)


def test_a_service_of_mixed_versions_is_found():
    mixed, one = ServiceFactory(), ServiceFactory()
    InstanceFactory.create_batch(2, service=mixed, deployment_version="2", online=True)
    InstanceFactory(service=mixed, deployment_version="1", online=True)
    InstanceFactory(service=one, deployment_version="2", online=True)
    InstanceFactory(service=one, deployment_version="1", offline=True)

    count, [drift] = Composition(Scope()).drifts()

    assert (count, drift.service_id, drift.versions) == (1, mixed.pk, [("2", "", 2), ("1", "", 1)])


def test_who_lacks_what_most_of_its_service_accept_is_found():
    service = ServiceFactory()
    for _number in range(2):
        SessionFactory(instance__service=service)
    lacking = SessionFactory(
        instance__service=service, accepted_capabilities=[each for each in ONESTEP_CAPABILITIES if "ping" not in each]
    )
    SessionFactory(accepted_capabilities=["telemetry.sync"])
    SessionFactory(instance__service=service, status="disconnected", accepted_capabilities=[])

    found = capabilities(Scope())

    assert (found.sessions, dict(found.counts)["command.ping"], dict(found.counts)["telemetry.sync"]) == (4, 2, 4)
    assert found.lacking_count == 1
    assert [(each.instance, each.capabilities) for each in found.lacking] == [(lacking.instance, ["command.ping"])]


def test_stale_are_those_not_heard_of_for_long():
    silent = InstanceFactory(connectivity="offline", last_seen_at=LONG_AGO)
    never = InstanceFactory()
    Instance.objects.filter(pk=never.pk).update(created_at=LONG_AGO)
    InstanceFactory(offline=True)
    InstanceFactory(connectivity="offline", last_seen_at=LONG_AGO, archived_at=NOW)
    InstanceFactory(connectivity="online", last_seen_at=LONG_AGO)

    count, found = stale(Scope(), now=NOW)

    assert count == 2
    assert [(each.instance, each.why) for each in found] == [
        (never, "stale_never_reported"),
        (silent, "stale_offline"),
    ]


def test_two_agents_of_one_kind_on_a_host_are_told():
    twins = [InstanceFactory(dialect="argus", hostname="host-1") for _number in range(2)]
    InstanceFactory(dialect="jkstack", hostname="host-1")
    InstanceFactory.create_batch(3, hostname="host-1", online=True)

    count, [group] = duplicates(Scope())

    assert (count, group.why, group.shared, set(group.instances)) == (1, "same_hostname", "host-1", set(twins))


def test_two_hosts_with_one_network_address_are_told():
    one, two, other = (InstanceFactory(dialect="jkstack", hostname=f"h{number}") for number in range(3))
    store_facts([(one.pk, {"nics": [{"mac": MAC.upper()}]}), (two.pk, {"mac": MAC.replace(":", "-")})])
    store_facts([(other.pk, {"docker0": "02:42:ac:11:00:02", "none": "00:00:00:00:00:00"})])

    count, [group] = duplicates(Scope())

    assert (count, group.why, group.shared, set(group.instances)) == (1, "same_mac", MAC, {one, two})
    store_facts([(two.pk, {"mac": "00:1b:44:11:3a:b8"})])
    assert duplicates(Scope()) == (0, [])
    assert HostAddress.objects.count() == 2


@pytest.mark.parametrize("mac", ["", MAC])
def test_of_a_large_group_the_first_are_read(monkeypatch, mac):
    monkeypatch.setattr(suspects, "MEMBERS_MAX", 2)
    service, now = ServiceFactory(), timezone.now()
    clones = [
        InstanceFactory(
            dialect="jkstack",
            service=service,
            hostname="" if mac else "localhost",
            last_seen_at=None if number == 0 else now - timedelta(hours=number),
        )
        for number in range(4)
    ]
    store_facts([(clone.pk, {"mac": mac}) for clone in clones if mac])

    count, [group] = duplicates(Scope())

    assert (count, group.count) == (1, 4)
    # Those that were never seen are the last, in either database.
    wanted = sorted(clones, key=lambda clone: clone.pk)[:2] if mac else clones[1:3]
    assert group.instances == wanted


def test_addresses_that_software_makes_up_are_no_addresses():
    facts = {"a": [MAC, {"b": MAC}], "text": f"x {MAC}", "bridge": "02:42:ac:11:00:02", "all": "ff:ff:ff:ff:ff:ff"}

    assert addresses_in(facts) == [MAC]


def test_a_process_that_got_a_new_id_is_told_and_many_on_one_host_are_not():
    service = ServiceFactory()
    same = {"service": service, "node_name": "n", "hostname": "h"}
    old, new = InstanceFactory(offline=True, **same), InstanceFactory(online=True, **same)
    InstanceFactory.create_batch(2, online=True, service=service, node_name="m", hostname="h")
    InstanceFactory(offline=True, node_name="n", hostname="h")

    count, [group] = duplicates(Scope())

    assert (count, group.why, group.count, set(group.instances)) == (1, "same_process", 2, {old, new})


def test_the_api_tells_versions_capabilities_and_suspects():
    api = api_as("viewer")
    session = SessionFactory()
    InstanceFactory(connectivity="offline", last_seen_at=LONG_AGO, agent_version="1", service=session.service)
    same = {"dialect": "argus", "hostname": "h"}
    InstanceFactory.create_batch(2, **same)

    found = api.get("inventory/versions", {"dialect": "onestep", "by_service": "true"}).json()
    able = api.get("inventory/capabilities").json()
    suspects = api.get("inventory/suspects").json()

    assert found["fleet"][0]["instances"] == 2
    assert {item["service_name"] for item in found["agent_version"]["items"]} == {session.service.name}
    assert {"capability": "command.ping", "sessions": 1} in able["items"]
    assert (suspects["stale"]["count"], suspects["stale"]["items"][0]["reason"]) == (1, "stale_offline")
    assert "Archive" in suspects["stale"]["items"][0]["what_to_do"]
    assert (suspects["duplicates"]["count"], suspects["duplicates"]["items"][0]["count"]) == (1, 2)
    assert api.get("inventory/versions", {"dialect": "x"}).status_code == 422
    assert api.get("inventory/versions", {"service": "ghost"}).json()["fleet"] == []


def test_environments_of_a_token_bound_the_inventory():
    SessionFactory()
    InstanceFactory(connectivity="offline", last_seen_at=LONG_AGO)
    api = api_as("viewer", environments=["prod"])

    assert api.get("inventory/versions").json()["fleet"] == []
    assert api.get("inventory/capabilities").json()["sessions"] == 0
    assert api.get("inventory/suspects").json()["stale"]["count"] == 0


def mixed_fleet():
    """Two instances labelled team=a and one team=b, alike in all that makes them suspects; b lacks a capability."""
    service = ServiceFactory()
    same = {"service": service, "node_name": "n", "hostname": "h", "connectivity": "offline", "last_seen_at": LONG_AGO}
    ours = [InstanceFactory(deployment_version="1", **same) for _number in range(2)]
    theirs = InstanceFactory(deployment_version="2", **same)
    for instance, team in ((ours[0], "a"), (ours[1], "a"), (theirs, "b")):
        InstanceLabelsFactory(instance=instance, labels={"team": team})
        accepted = ONESTEP_CAPABILITIES if team == "a" else ["telemetry.sync"]
        SessionFactory(instance=instance, accepted_capabilities=accepted)
    return ours, theirs


@pytest.mark.parametrize("by", ["selector", "group"])
def test_selectors_and_groups_narrow_the_inventory(by):
    ours, theirs = mixed_fleet()
    GroupFactory(name="ours", selector="team=a")
    GroupFactory(name="theirs", selector="team=b")
    api = api_as("viewer")

    def asked(path, whose):
        query = {"group": whose} if by == "group" else {"selector": {"ours": "team=a", "theirs": "team=b"}[whose]}
        return api.get(f"inventory/{path}", query).json()

    versions = asked("versions", "ours")
    assert [(item["version"], item["instances"]) for item in versions["deployment_version"]["items"]] == [("1", 2)]
    assert versions["fleet"][0]["instances"] == 2
    suspects = asked("suspects", "ours")
    assert {each["instance"]["id"] for each in suspects["stale"]["items"]} == {str(row.pk) for row in ours}
    assert [group["count"] for group in suspects["duplicates"]["items"]] == [2]
    assert asked("suspects", "theirs")["duplicates"]["count"] == 0
    assert asked("capabilities", "ours")["lacking_count"] == 0
    assert asked("capabilities", "theirs")["items"] == [{"capability": "telemetry.sync", "sessions": 1}]
    everybody = api.get("inventory/capabilities", {"selector": ""}).json()
    assert [each["instance_id"] for each in everybody["lacking"]] == [str(theirs.pk)]


def test_selector_and_group_must_both_hold_and_wrong_ones_are_refused():
    mixed_fleet()
    GroupFactory(name="ours", selector="team=a")
    api = api_as("viewer")

    for path in ("versions", "capabilities", "suspects"):
        refused = api.get(f"inventory/{path}", {"selector": "team=a b="})
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", "selector"])
        refused = api.get(f"inventory/{path}", {"group": "ghost"})
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", "group"])
    both = api.get("inventory/versions", {"selector": "team=b", "group": "ours"})
    assert both.json()["fleet"] == []


def furnish(count):
    for number in range(count):
        service = ServiceFactory()
        SessionFactory.create_batch(2, instance__service=service)
        SessionFactory(instance__service=service, accepted_capabilities=[], instance__deployment_version="2")
        InstanceFactory(connectivity="offline", last_seen_at=LONG_AGO, service=service)
        InstanceFactory.create_batch(2, dialect="argus", hostname=f"h{number}", service=service)
        InstanceFactory.create_batch(2, hostname=f"p{number}", node_name="n", service=service)


@pytest.mark.parametrize("path", ["versions", "capabilities", "suspects"])
def test_the_api_costs_the_same_for_any_fleet(path):
    api, counts = api_as("viewer"), []
    # The first call of a token notes that it was used.
    api.get("inventory/versions")
    for count in (1, 3):
        furnish(count)
        with CaptureQueriesContext(connection) as queries:
            assert api.get(f"inventory/{path}").status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1]


PARTS = {
    "": ("Mixed versions", "Who is offline does not count", "Gone for long"),
    "capabilities/": ("Capabilities", "command.ping"),
    "suspects/": ("Gone for long", "There twice", "Archive the chosen"),
}


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_page_shows_its_own_at_one_cost(part):
    client, counts = console_as("operator"), []
    for count in (1, 3):
        furnish(count)
        with CaptureQueriesContext(connection) as queries:
            page = client.get(f"/admin/inventory/{part}")
        counts.append(len(queries))

    assert counts[0] == counts[1] <= 12
    text = text_of(page)
    assert [words for words in PARTS[part] if words not in text] == []


def test_the_page_fetches_its_parts_narrowed_as_it_is():
    text = text_of(console_as("viewer").get("/admin/inventory/?environment=prod"))

    for part in ("capabilities", "suspects"):
        assert f'hx-get="/admin/inventory/{part}/?environment=prod" hx-trigger="load"' in text
    assert 'href="/admin/inventory/"' in text


def test_the_page_of_an_empty_fleet_says_so():
    assert "No instances." in text_of(console_as("viewer").get("/admin/inventory/"))


ARCHIVE = "/admin/inventory/archive/"


@pytest.fixture
def operator():
    return console_as("operator")


def test_nothing_is_chosen_beforehand_and_who_is_online_cannot_be(operator):
    InstanceFactory(connectivity="offline", last_seen_at=LONG_AGO)
    away, here = (InstanceFactory(dialect="argus", hostname="h", node_name=f"n{number}") for number in range(2))
    Instance.objects.filter(pk=here.pk).update(connectivity="online")

    text = text_of(operator.get("/admin/inventory/suspects/"))

    boxes = dict(re.findall(r'<input type="checkbox" name="instance" value="([^"]+)"([^>]*)>', text))
    assert not any("checked" in rest for rest in boxes.values())
    assert ("disabled" in boxes[str(here.pk)], "disabled" in boxes[str(away.pk)]) == (True, False)
    assert f'>n0</a> <span class="c-soft c-mono">{away.external_id}</span>' in text
    assert 'name="instance"' not in text_of(console_as("viewer").get("/admin/inventory/suspects/"))


@pytest.mark.parametrize("section", ["stale", "duplicates"])
def test_the_chosen_are_named_and_asked_for_again_before_they_are_archived(operator, section):
    silent = InstanceFactory.create_batch(2, connectivity="offline", last_seen_at=LONG_AGO)
    online = InstanceFactory(online=True, node_name="busy-one")
    chosen = {"instance": [str(row.pk) for row in (*silent, online)], "section": section}

    asked = operator.post(ARCHIVE, chosen)

    text = text_of(asked)
    assert "Archive 2 instances?" in text
    assert "1 instance stays as it is, because it is online or connected" in text
    assert all(row.node_name in text for row in (*silent, online))
    assert not Event.objects.filter(kind="instance.archived").exists()
    confirmed = re.findall(r'type="hidden" name="instance" value="([^"]+)"', text)
    assert set(confirmed) == {str(row.pk) for row in silent}
    done = operator.post(ARCHIVE, {"instance": confirmed, "section": section, "confirm": "1"}, follow=True)
    assert done.redirect_chain == [(f"/admin/inventory/#{section}", 302)]
    assert "2 instances archived." in text_of(done)
    assert Event.objects.filter(kind="instance.archived", actor=operator.person.username).count() == 2
    assert "They were archived before." in text_of(
        operator.post(ARCHIVE, chosen | {"instance": confirmed}, follow=True)
    )


def test_what_cannot_be_archived_is_not_asked_for(operator):
    online = InstanceFactory(online=True)

    for chosen in ([], ["x"], ["a\0"]):
        answer = operator.post(ARCHIVE, {"instance": chosen}, follow=True)
        assert "Choose at least one" in text_of(answer)
    answer = operator.post(ARCHIVE, {"instance": [str(online.pk)]}, follow=True)
    assert "1 instance left as it is" in text_of(answer)
    assert console_as("viewer").post(ARCHIVE).status_code == 403


def test_the_page_goes_back_to_what_it_was_narrowed_to(operator):
    silent = InstanceFactory(connectivity="offline", last_seen_at=LONG_AGO)
    narrowed = "?environment=dev&selector=team%3Da"

    page = operator.post(ARCHIVE + narrowed, {"instance": str(silent.pk)})
    done = operator.post(ARCHIVE + narrowed, {"instance": str(silent.pk), "confirm": "1"})

    assert page.context["back"] == done.url == f"/admin/inventory/{narrowed}#stale"
    assert page.context["action"] == f"{ARCHIVE}{narrowed}"


def test_selectors_and_groups_narrow_the_page_and_its_links():
    mixed_fleet()
    GroupFactory(name="ours", selector="team=a")
    client = console_as("viewer")

    page = client.get("/admin/inventory/", {"selector": " team=b ", "group": ""})
    suspects = client.get("/admin/inventory/suspects/", {"selector": " team=b ", "group": ""})
    grouped = client.get("/admin/inventory/", {"group": "ours"})

    [part] = page.context["parts"]
    assert (part["row"].instances, suspects.context["stale_count"]) == (1, 1)
    count, address = part["counts"][2]
    listed = client.get(address).context["cl"].result_list
    assert (count, len(listed)) == (1, 1)
    assert [part["row"].instances for part in grouped.context["parts"]] == [2]
    assert '<option value="ours" selected>' in text_of(grouped)
    version = grouped.context["versions"][1]["rows"][0]
    assert len(client.get(version["url"]).context["cl"].result_list) == version["item"].instances == 2
    for query, told in (({"selector": "a b="}, "Character 3"), ({"group": "ghost\0"}, "ghost")):
        wrong = client.get("/admin/inventory/", query)
        suspects = client.get("/admin/inventory/suspects/", query)
        assert (wrong.status_code, wrong.context["parts"], suspects.context["duplicates"]) == (200, [], [])
        assert told in said(wrong)[0]


def test_each_figure_leads_to_those_that_it_counts():
    client = console_as("viewer")
    service = ServiceFactory()
    InstanceFactory.create_batch(3, service=service)
    InstanceFactory.create_batch(2, service=service, online=True)
    InstanceFactory(service=service, offline=True)

    [part] = client.get("/admin/inventory/").context["parts"]

    assert [count for count, _url in part["counts"]] == [6, 2, 1, 3]
    for count, address in part["counts"]:
        assert len(client.get(address).context["cl"].result_list) == count


def test_a_version_that_agents_of_a_dialect_do_not_have_is_not_missed():
    InstanceFactory(dialect="argus", agent_version="1")
    InstanceFactory(dialect="argus", agent_version="")
    InstanceFactory(python_version="")

    found = {each.field: each for each in Composition(Scope()).versions(limit=1)}

    assert [(item.dialect, item.version) for item in found["python_version"].items] == [("onestep", "")]
    assert (found["python_version"].left_out, found["agent_version"].left_out) == (0, 2)
