"""Facts: what instances say of themselves and their hosts, kept as it came and written only where it changed."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast
from uuid import UUID

import msgspec
from django.utils import timezone

from agents.models import HostAddress, InstanceFacts
from agents.services.reports import Hello
from controlplane.common.bulk import insert_new, upsert
from controlplane.common.clean import clean_json

Facts = dict[str, Any]

# As JSON in UTF-8. Larger facts are cut; a dialect that must give them back as they came refuses them before, as the
# registry does with bodies of this size.
FACTS_MAX_BYTES = 1024 * 1024
# In place of what was cut: how many entries, how large the whole was, and the first names.
CUT_KEY = "portal/cut"
_CUT_NAMES = 20
_CUT_NAME_CHARS = 100
# Room for the mark and its brackets.
_CUT_RESERVE_BYTES = 16 * 1024
ADDRESSES_MAX = 64
_MAC = re.compile(r'"((?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2})"')
_NO_MAC = "00:00:00:00:00:00"
_encode = msgspec.json.Encoder(order="sorted").encode


def store_facts(said: Iterable[tuple[UUID, Mapping[str, object]]]) -> set[UUID]:
    """Replace the facts of instances as a whole; returns whose changed.

    Facts are objects of JSON. They are stored as they came but for what no database keeps (`clean_json`) and for what
    exceeds FACTS_MAX_BYTES: then the smallest top-level entries are kept and CUT_KEY tells of the rest. Of several
    for one instance the last counts. Network addresses among them are kept beside. Call it inside the transaction that
    knows the instances exist. Cost: one read of digests, and up to three statements more where something changed.
    """
    given = dict(said)
    if not given:
        return set()
    digests = dict(InstanceFacts.objects.filter(pk__in=given).values_list("pk", "digest"))
    changed = write_changed_facts((key, facts, digests.get(key, "")) for key, facts in given.items())
    if changed:
        _write_addresses({key: given[key] for key in changed})
    return changed


def write_changed_facts(said: Iterable[tuple[UUID, Mapping[str, object], str]]) -> set[UUID]:
    """The same for a caller that has read the digests already: each instance once, with what digest is stored or "".

    Network addresses are not looked for. Cost: one statement where something changed, none otherwise.
    """
    now = timezone.now()
    changed: list[tuple[UUID, Facts, str, int, object]] = []
    for instance_id, facts, stored in said:
        kept, digest, facts_bytes = _storable(facts)
        if digest != stored:
            changed.append((instance_id, kept, digest, facts_bytes, now))
    upsert(InstanceFacts, ("instance_id", "facts", "digest", "facts_bytes", "changed_at"), changed)
    return {row[0] for row in changed}


def _write_addresses(given: Mapping[UUID, Mapping[str, object]]) -> None:
    HostAddress.objects.filter(instance__in=given).delete()
    rows = [(key, mac) for key in sorted(given) for mac in addresses_in(given[key])]
    insert_new(HostAddress, ("instance_id", "mac"), rows)


def addresses_in(facts: Mapping[str, object]) -> list[str]:
    """The MAC addresses that stand anywhere in facts, sorted; those that are made up by software are left out.

    Bridges of containers have the same ones on every host. At most ADDRESSES_MAX.
    """
    found = {match.lower().replace("-", ":") for match in _MAC.findall(_encode(clean_json(facts)).decode())}
    # The second bit of the first octet: given by whoever administers the host, not by the maker of the card.
    burnt_in = {mac for mac in found if not int(mac[:2], 16) & 0b11 and mac != _NO_MAC}
    return sorted(burnt_in)[:ADDRESSES_MAX]


def facts_of_hello(hello: Hello) -> Facts:
    """What a hello says of its process that stays the same when it is started again: process id and start do not."""
    return {
        "node_name": hello.service.node_name,
        "hostname": hello.runtime.hostname,
        "deployment_version": hello.service.deployment_version,
        "onestep_version": hello.runtime.agent_version,
        "python_version": hello.runtime.python_version,
        "protocol_version": hello.protocol_version,
        "capabilities": sorted(set(hello.capabilities)),
    }


def _storable(facts: Mapping[str, object]) -> tuple[Facts, str, int]:
    """What is stored of facts, its digest, and its size in bytes."""
    kept = cast("Facts", clean_json(facts))
    encoded = _encode(kept)
    if len(encoded) > FACTS_MAX_BYTES:
        kept = _cut(kept, len(encoded))
        encoded = _encode(kept)
    return kept, hashlib.blake2b(encoded, digest_size=16).hexdigest(), len(encoded)


def _cut(facts: Facts, whole_bytes: int) -> Facts:
    # Two for the colon and the comma.
    sizes = {name: len(_encode(name)) + len(_encode(value)) + 2 for name, value in facts.items() if name != CUT_KEY}
    room = FACTS_MAX_BYTES - _CUT_RESERVE_BYTES
    kept: set[str] = set()
    for name in sorted(sizes, key=sizes.__getitem__):
        room -= sizes[name]
        if room < 0:
            break
        kept.add(name)
    left_out = [name for name in sizes if name not in kept]
    mark = {
        "bytes": whole_bytes,
        "entries": len(left_out),
        "names": [name[:_CUT_NAME_CHARS] for name in left_out[:_CUT_NAMES]],
    }
    return {name: value for name, value in facts.items() if name in kept} | {CUT_KEY: mark}
