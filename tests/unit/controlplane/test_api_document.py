"""How fields and plain views come into the OpenAPI document."""

from types import SimpleNamespace

from django.urls import include, path

from controlplane.common.rest import plain
from controlplane.common.rest.plain import add_plain_views, describe


@describe("post", {"operationId": "second"})
@describe("get", {"operationId": "first"})
def described(_request, **_params):
    raise NotImplementedError


def undescribed(_request):
    raise NotImplementedError


def test_described_views_stand_among_the_others_in_order_of_paths(monkeypatch):
    below = [path("things/<slug:thing_id>", described), path("other", undescribed)]
    monkeypatch.setattr(plain, "get_resolver", lambda: SimpleNamespace(url_patterns=[path("api/", include(below))]))

    document = add_plain_views({"openapi": "3.0.3", "paths": {"/b": {}, "/a": {}}})

    assert list(document["paths"]) == ["/a", "/api/things/{thing_id}", "/b"]
    assert document["paths"]["/api/things/{thing_id}"] == {
        "get": {"operationId": "first"},
        "post": {"operationId": "second"},
    }
