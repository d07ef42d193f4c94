"""What subjects have in common: the smallest set of services, hosts, versions or labels that covers them."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

CoverKind: TypeAlias = Literal["service", "host", "version", "label"]

# So many of what subjects have in common are looked up, those that most of them have.
CANDIDATES_MAX: Final = 24
# What many others have as well covers nothing: at least one in so many that have it must be among the subjects.
DILUTED: Final = 2
# Beyond so many parts nobody reads a cover.
PARTS_MAX: Final = 3
# A further part is worth naming for at least this share of the subjects.
_SHARE_MIN: Final = 0.1
_ORDER: Final[Mapping[str, int]] = {"service": 0, "host": 1, "version": 2, "label": 3}


@dataclass(frozen=True, slots=True)
class Trait:
    """Something that an instance may have in common with others. `key` is set for labels."""

    kind: CoverKind
    value: str
    key: str = ""

    def __str__(self) -> str:
        return (f"{self.key}={self.value}" if self.value else self.key) if self.kind == "label" else self.value


@dataclass(frozen=True, slots=True)
class Part:
    """So many subjects have this trait, of so many that have it at all; `among` is None where nobody counted."""

    trait: Trait
    count: int
    among: int | None = None

    def __str__(self) -> str:
        return f"{self.trait}: {self.count}" if self.among is None else f"{self.trait}: {self.count}/{self.among}"


def traits_of(*, service: str, host: str, version: str, labels: Mapping[str, str]) -> frozenset[Trait]:
    """The traits of one instance, by which it may be covered; what the portal itself says is not said twice."""
    named: tuple[tuple[CoverKind, str], ...] = (("service", service), ("host", host), ("version", version))
    own = {Trait("label", value, key) for key, value in labels.items() if not key.startswith("portal/")}
    return frozenset({Trait(kind, value) for kind, value in named if value} | own)


def candidates(subjects: Collection[Collection[Trait]]) -> list[Trait]:
    """The traits that may cover subjects: those that most of them have, and more than one."""
    counts = Counter(trait for traits in subjects for trait in traits)
    shared = [trait for trait, count in counts.items() if count > 1]
    return sorted(shared, key=lambda trait: (-counts[trait], *_sorted_by(trait)))[:CANDIDATES_MAX]


def cover(subjects: Sequence[Collection[Trait]], among: Mapping[Trait, int]) -> tuple[Part, ...]:
    """The fewest parts that cover most subjects; empty where nothing does.

    `among` is how many instances have each of the candidates. One part that covers all, and of such the one that fewest
    others have, is better than several; what too many others have (DILUTED) is none.
    """
    counts = Counter(trait for traits in subjects for trait in traits)
    usable = {trait: number for trait, number in among.items() if 0 < number <= DILUTED * counts[trait]}
    whole = [trait for trait in usable if counts[trait] == len(subjects)]
    if whole:
        chosen = min(whole, key=lambda trait: (usable[trait], *_sorted_by(trait)))
        return (Part(chosen, counts[chosen], usable[chosen]),)
    return _several([frozenset(each) for each in subjects], usable)


def _several(subjects: Sequence[frozenset[Trait]], usable: Mapping[Trait, int]) -> tuple[Part, ...]:
    parts: list[Part] = []
    left = list(subjects)
    enough = max(2, round(_SHARE_MIN * len(subjects)))
    while left and len(parts) < PARTS_MAX:
        counts = Counter(trait for traits in left for trait in traits if trait in usable)
        best = min(counts, key=lambda trait: (-counts[trait], usable[trait], *_sorted_by(trait)), default=None)
        if best is None or counts[best] < enough:
            break
        parts.append(Part(best, sum(best in traits for traits in subjects), usable[best]))
        left = [traits for traits in left if best not in traits]
    return tuple(parts)


def by_service(services: Iterable[str]) -> tuple[Part, ...]:
    """The services that most subjects are of, for subjects that are no instances."""
    counts = Counter(service for service in services if service)
    most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:PARTS_MAX]
    return tuple(Part(Trait("service", service), count) for service, count in most)


def cover_text(parts: Sequence[Part]) -> str:
    """In no language: `rack=r7: 300/312, rack=r9: 4/40`."""
    return ", ".join(str(part) for part in parts)


def _sorted_by(trait: Trait) -> tuple[int, str, str]:
    return (_ORDER[trait.kind], trait.key, trait.value)
