"""What covers the subjects of a message."""

import pytest

from notifications.engine.covers import Trait, by_service, candidates, cover, cover_text, traits_of


def instance(number, rack, service="prod/billing", **labels):
    return traits_of(service=service, host=f"host-{number}", version="1.0", labels={"rack": rack, **labels})


def counted(subjects, fleet):
    """The cover of subjects among a fleet."""
    return cover_text(cover(subjects, {trait: sum(trait in each for each in fleet) for trait in candidates(subjects)}))


def test_the_label_that_few_others_have_is_better_than_one_that_all_have():
    fleet = [instance(number, f"r{number % 4}", env="prod") for number in range(40)]
    subjects = [each for each in fleet if Trait("label", "r3", "rack") in each][:9]

    assert counted(subjects, fleet) == "rack=r3: 9/10"


def test_a_service_is_named_where_it_is_as_good_as_a_label():
    fleet = [instance(number, "r1", service="prod/shop" if number < 10 else "prod/billing") for number in range(30)]

    assert counted(fleet[:10], fleet) == "prod/shop: 10/10"


def test_several_parts_cover_what_no_one_does():
    fleet = [instance(number, f"r{number // 10}") for number in range(100)]
    subjects = fleet[10:19] + fleet[50:56]

    assert counted(subjects, fleet) == "rack=r1: 9/10, rack=r5: 6/10"


def test_what_most_others_have_as_well_covers_nothing():
    fleet = [instance(number, "r1") for number in range(100)]

    assert counted(fleet[:10], fleet) == ""


def test_what_the_portal_says_itself_is_not_taken_for_a_label():
    labels = {"portal/service": "billing", "rack": "r1"}

    traits = traits_of(service="prod/billing", host="", version="", labels=labels)

    assert {str(trait) for trait in traits} == {"prod/billing", "rack=r1"}


def test_subjects_that_are_no_instances_are_covered_by_their_services():
    assert cover_text(by_service(["prod/a", "prod/b", "prod/a", ""])) == "prod/a: 2, prod/b: 1"


@pytest.mark.parametrize("count", [0, 1])
def test_nobody_has_something_in_common_with_nobody(count):
    assert candidates([instance(number, "r1") for number in range(count)]) == []
