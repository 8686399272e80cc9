"""The cast of the built-in corpus: one person for each domain, and who leads to whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from lit_implicit_text.senses import Domain, domains

NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jonas", "Kate",
    "Leo", "Maria", "Noah", "Olga", "Paul", "Rosa", "Simon", "Tina", "Victor", "Wendy", "Xaver",
    "Yara", "Zoe", "Lukas", "Nina", "Oscar", "Vera",
)  # fmt: skip
"""Who works in the first domain, in the second one, and so on."""

# Who the teacher and the boss of the i-th is: (a i + b) modulo the number of names. Each map is one
# to one and leaves nobody where they are; in which order the two are applied makes a difference.
_MAPS = {"teacher": (1, 11), "boss": (5, 3)}


@dataclass(frozen=True)
class Person:
    """One of the cast.

    Args:
        name: The name.
        domain: Where the person works.
        teacher: Name of the person's teacher.
        boss: Name of the person's boss.
    """

    name: str
    domain: Domain
    teacher: str
    boss: str


@cache
def cast() -> dict[str, Person]:
    """Return the cast by their names."""
    found = {}
    for i, (name, domain) in enumerate(zip(NAMES, domains().values(), strict=True)):
        linked = {link: NAMES[(a * i + b) % len(NAMES)] for link, (a, b) in _MAPS.items()}
        found[name] = Person(name, domain, **linked)
    return found


@cache
def person_of(domain: Domain) -> Person:
    """Return who works in a domain."""
    (person,) = (person for person in cast().values() if person.domain == domain)
    return person


def name_before(person: Person, links: Sequence[str]) -> str:
    """Return the name from which links lead to a person.

    Args:
        person: Who is at the end of the chain.
        links: `teacher` or `boss`, the last link of the chain first.
    """
    for link in links:
        (person,) = (one for one in cast().values() if getattr(one, link) == person.name)
    return person.name
