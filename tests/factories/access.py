"""Users in their roles, and API tokens."""

import hashlib

import factory
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from controlplane.access.models import ApiToken


class UserFactory(factory.django.DjangoModelFactory):
    """Someone who may log in to the console; `role="viewer"` puts them into that group. The password is `password`."""

    class Meta:
        model = get_user_model()
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user-{n}")
    password = factory.django.Password("password")
    is_staff = True

    @factory.post_generation
    def role(self, create, extracted, **kwargs):
        if extracted:
            self.groups.add(Group.objects.get(name=extracted))


class ApiTokenFactory(factory.django.DjangoModelFactory):
    """A usable token that may read; `ApiTokenFactory(secret="known")` makes one whose secret is known."""

    class Meta:
        model = ApiToken
        exclude = ("secret",)

    secret = factory.Sequence(lambda n: f"opt_test_{n}")
    name = factory.Sequence(lambda n: f"api-token-{n}")
    prefix = factory.LazyAttribute(lambda row: row.secret[:16])
    secret_hash = factory.LazyAttribute(lambda row: hashlib.sha256(row.secret.encode()).hexdigest())
    user = factory.SubFactory(UserFactory)
