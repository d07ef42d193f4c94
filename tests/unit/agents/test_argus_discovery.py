"""Prometheus' HTTP service discovery: what becomes of a node."""

import json

import pytest

from agents.gateways.argus.discovery import discovery_json, parse_port
from agents.selectors.discovery import Target
from controlplane.common.errors import Invalid


def target(**changed):
    facts = {"node_id": "A1", "user": "u", "ip": "10.0.0.1", "hostname": "h", "tags": [], "name": "n", "type": "agent"}
    facts |= {"version": "1", "environment": "prod", "port": "", "labels": {}}
    return Target(**facts | changed)


def groups(*nodes, port=None):
    return json.loads(discovery_json(nodes, port=port))


def test_no_node_is_an_empty_list():
    assert discovery_json([]) == b"[]"


def test_each_node_is_a_group_with_its_labels():
    node = target(tags=["gpu", "team=支付", "=x"], labels={"portal/x.y-z": "1", "team": "ours"})

    assert groups(node) == [
        {
            "targets": ["10.0.0.1"],
            "labels": {
                "__meta_argus_node_id": "A1",
                "__meta_argus_node_name": "n",
                "__meta_argus_type": "agent",
                "__meta_argus_version": "1",
                "__meta_argus_environment": "prod",
                "__meta_argus_hostname": "h",
                "__meta_argus_ip": "10.0.0.1",
                "__meta_argus_user": "u",
                "__meta_argus_tags": ",gpu,team=支付,=x,",
                "__meta_argus_label_gpu": "",
                "__meta_argus_labelpresent_gpu": "true",
                "__meta_argus_label_portal_x_y_z": "1",
                "__meta_argus_labelpresent_portal_x_y_z": "true",
                "__meta_argus_label_team": "ours",
                "__meta_argus_labelpresent_team": "true",
            },
        }
    ]


@pytest.mark.parametrize(
    ("changed", "port", "expected"),
    [
        ({}, None, "10.0.0.1"),
        ({}, 9100, "10.0.0.1:9100"),
        ({"port": "8080"}, None, "10.0.0.1:8080"),
        ({"port": "8080"}, 9100, "10.0.0.1:9100"),
        ({"port": "0"}, None, "10.0.0.1"),
        ({"port": "65536"}, None, "10.0.0.1"),
        ({"port": "http"}, None, "10.0.0.1"),
        ({"ip": "2001:DB8::1"}, None, "[2001:db8::1]"),
        ({"ip": "2001:db8::1"}, 9100, "[2001:db8::1]:9100"),
        ({"ip": " 10.0.0.1 "}, None, "10.0.0.1"),
        ({"ip": ""}, 9100, "h:9100"),
        ({"ip": "10.0.0.1/24", "hostname": "host-1.example"}, None, "host-1.example"),
        ({"ip": "node.example"}, None, "node.example"),
    ],
)
def test_target_is_the_ip_or_else_the_host_name_with_the_port_that_is_asked_for(changed, port, expected):
    (group,) = groups(target(**changed), port=port)

    assert group["targets"] == [expected]


@pytest.mark.parametrize("host", ["", "http://h", "a b", "h:9100", "h/x", "-h", "h..\x00", "ｈ"])
def test_node_without_a_host_that_can_be_called_is_left_out(host):
    listed = groups(target(ip=host, hostname=host), target(node_id="A2"))

    assert [group["labels"]["__meta_argus_node_id"] for group in listed] == ["A2"]


@pytest.mark.parametrize("text", ["", "0", "65536", "x", "-1", "1.5", "９１００", "9100 ", "1" * 5000])
def test_port_that_is_none_is_refused(text):
    with pytest.raises(Invalid, match="port must be a whole number from 1 to 65535"):
        parse_port({"port": text})


def test_other_parameters_are_refused_by_name():
    with pytest.raises(Invalid, match="ports is no parameter"):
        parse_port({"port": "1", "ports": "9100"})


def test_port_may_be_left_away():
    assert (parse_port({}), parse_port({"port": "9100"})) == (None, 9100)
