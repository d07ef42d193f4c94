"""Finding instances by facts: the same on both databases."""

import pytest
from django.db import connection

from agents.models import Instance, InstanceFacts
from agents.selectors.facts import FactInvalid, mentioning_q, parse_fact, with_fact
from agents.services.inventory import store_facts
from tests.factories.agents import InstanceFactory, ServiceFactory
from tests.integration.api_client import api_as
from tests.integration.console import console_as, text_of, url

pytestmark = pytest.mark.django_db

FACTS = {
    "cpu_number": 8,
    "text_number": "8",
    "load": 1.5,
    "virtual": True,
    "one": 1,
    "gpu": None,
    "os": {"name": "linux", "a.b": "dotted", "名": "中文"},
    "disks": [{"size": 1}],
    "slash\\": "back\\slash",
    "quote": 'a "b"',
}


def with_facts(facts):
    instance = InstanceFactory()
    store_facts([(instance.pk, facts)])
    return instance


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ("cpu_number=8", True),
        ("cpu_number=8.0", True),
        ("cpu_number=9", False),
        ('cpu_number="8"', False),
        ("text_number=8", True),
        ('text_number="8"', True),
        ("load=1.5", True),
        ("virtual=true", True),
        ("virtual=1", False),
        ("one=true", False),
        ("one=1", True),
        ("gpu=null", True),
        ("missing=null", False),
        ("os.name=linux", True),
        ("os.name=Linux", False),
        ("os.name=linu", False),
        (r"os.a\.b=dotted", True),
        ("os.a.b=dotted", False),
        ("os.名=中文", True),
        ("os=linux", False),
        ("os.name.deeper=linux", False),
        ("disks=1", False),
        ("disks.size=1", False),
        ("disks.0.size=1", False),
        (" cpu_number = 8 ", True),
        ("slash\\=back\\slash", True),
        ('quote=a "b"', True),
        ('os={"name": "linux"}', False),
        ("cpu_number=1e400", False),
        ("cpu_number=NaN", False),
        (f"cpu_number={10**30}", False),
        ("cpu_number=", False),
    ],
)
def test_a_condition_matches_exactly(condition, matches):
    instance = with_facts(FACTS)
    with_facts({"other": 1})
    InstanceFactory()

    found = Instance.objects.filter(with_fact(parse_fact(condition)))

    assert list(found) == [instance] * matches


@pytest.mark.parametrize("text", ["", "cpu_number", "=8", "a..b=1", ".a=1", 'a"b=1', ".".join("a" * 17) + "=1"])
def test_what_is_no_condition_is_refused_with_what_to_write(text):
    with pytest.raises(FactInvalid, match="path"):
        parse_fact(text)


@pytest.mark.parametrize(("text", "matches"), [("linux", True), ("LINUX", True), ("cpu_num", True), ("windows", False)])
def test_words_are_found_in_names_and_values(text, matches):
    instance = with_facts(FACTS)

    assert list(Instance.objects.filter(mentioning_q(text))) == [instance] * matches


def test_words_are_found_in_any_script_and_are_no_pattern():
    instance = with_facts(FACTS)

    assert list(Instance.objects.filter(mentioning_q("中文"))) == [instance]
    assert list(Instance.objects.filter(mentioning_q("lin%x"))) == []


@pytest.mark.needs_postgres
def test_an_index_answers():
    instances = InstanceFactory.create_batch(300, service=ServiceFactory())
    store_facts([(instance.pk, {"os": {"name": f"of {at}"}}) for at, instance in enumerate(instances)])
    with connection.cursor() as cursor:
        # Where tables are this small, reading all of them is as cheap; statistics come when autovacuum likes.
        cursor.execute("ANALYZE agents_instance, agents_instancefacts")
        cursor.execute("SET LOCAL enable_seqscan = off")

    plan = Instance.objects.filter(with_fact(parse_fact("os.name=of 7"))).explain()

    assert "facts_facts" in plan


def test_the_api_gives_facts_and_finds_by_them():
    api = api_as("viewer")
    instance, other = with_facts(FACTS), with_facts({"cpu_number": 4})
    bare = InstanceFactory()

    assert api.get(f"instances/{instance.pk}/facts").json()["facts"] == FACTS
    assert api.get(f"instances/{bare.pk}/facts").json() == {
        "instance_id": str(bare.pk),
        "facts": {},
        "changed_at": None,
    }
    for path in ("instances", "inventory"):
        both = {"fact": ["cpu_number=8", "os.name=linux"]}
        assert [row["id"] for row in api.get(path, both).json()["items"]] == [str(instance.pk)]
        refused = api.get(path, {"fact": "x"})
        assert (refused.status_code, refused.json()["detail"][0]["loc"][:2]) == (422, ["query", "fact"])
        assert "path=value" in refused.json()["detail"][0]["msg"]
    [row] = api.get("inventory", {"facts": "cpu_number", "fact": "cpu_number=4"}).json()["items"]
    assert (row["id"], row["facts"]) == (str(other.pk), {"cpu_number": 4})
    assert api.get("inventory", {"facts": "li"}).status_code == 422
    assert api_as("viewer", environments=["prod"]).get(f"instances/{instance.pk}/facts").status_code == 404


def test_the_page_shows_facts_and_leads_to_those_that_share_them():
    client = console_as("viewer")
    instance = with_facts({**FACTS, "xss": "<script>alert(1)</script>"})
    other = with_facts({"cpu_number": 8})
    with_facts({"cpu_number": 4})

    page = text_of(client.get(url("agents_instance_change", instance.pk)))
    listed = client.get(url("agents_instance_changelist"), {"fact": "cpu_number=8"})

    assert "fact=cpu_number%3D8" in page
    assert "<script>alert" not in page
    assert {row.pk for row in listed.context["cl"].result_list} == {instance.pk, other.pk}
    wrong = client.get(url("agents_instance_changelist"), {"fact": "x"})
    assert list(wrong.context["cl"].result_list) == []
    assert "path=value" in text_of(wrong)


def found_on_the_console(client, **query):
    answer = client.get(url("agents_instance_changelist"), query)
    return answer, {row.pk for row in answer.context["cl"].result_list}


def test_the_list_has_fields_to_write_a_fact_and_words_into():
    client = console_as("viewer")
    instance, other = with_facts(FACTS), with_facts({"cpu_number": 8})

    page, everybody = found_on_the_console(client)

    assert 'name="fact"' in text_of(page)
    assert 'name="facts"' in text_of(page)
    assert everybody == {instance.pk, other.pk}
    assert found_on_the_console(client, fact="os.name=linux")[1] == {instance.pk}
    assert found_on_the_console(client, facts="LINUX")[1] == {instance.pk}
    assert found_on_the_console(client, facts="cpu_number", fact="cpu_number=8")[1] == everybody
    assert found_on_the_console(client, fact=" ", facts="")[1] == everybody
    assert 'value="os.name=linux"' in text_of(found_on_the_console(client, fact="os.name=linux")[0])


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"facts": "li"}, "Words in facts have 3 to 500 characters."),
        ({"facts": "x" * 501}, "Words in facts have 3 to 500 characters."),
        ({"fact": "a=" + "x" * 500}, "A fact to look for has 500 characters at most."),
        ({"fact": "x"}, "Write a fact as path=value"),
        ({"facts": "nul\0byte"}, ""),
        ({"fact": "nul=\0"}, ""),
    ],
)
def test_the_list_says_what_cannot_be_sought(query, told):
    with_facts(FACTS)

    page, found = found_on_the_console(console_as("viewer"), **query)

    assert (page.status_code, found) == (200, set())
    assert told in text_of(page)
