"""Facts: what the sample asks about, the same in every language and wording."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, TypeAdapter
from ruamel.yaml import YAML

from minilingua.core.errors import ParamsError
from minilingua.core.seeding import generator
from minilingua.sources.sample import cldr

ANSWERS_ALIKE = 2
"""Facts of one kind that may share their answer: otherwise guessing "euro" would be knowledge."""
LONGEST_NAME = 30
"""Longer names are left out, in characters: the sample is to be small."""
LONGEST_ABBREVIATION = 6
"""A longer short form of a unit is no abbreviation but a name again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One fact."""

    kind: str
    """Kind of question, as in subjects.yaml and the wordings."""
    key: str
    """Code of what is asked about, such as ``PL`` or ``territory.PL``."""
    target: str = ""
    """Language to translate into; for translations only."""

    @property
    def id(self) -> str:
        """Returns the stable name of the fact, such as ``currency:PL``."""
        return ":".join(part for part in (self.kind, self.key, self.target) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A fact in one language: all names in their dictionary form."""

    subject: str
    answer: str
    target: str = ""
    """Name of the language to translate into."""


@cache
def all_facts() -> dict[str, tuple[Fact, ...]]:
    """Returns every fact that could be asked, by kind, in the order of subjects.yaml."""
    facts: dict[str, tuple[Fact, ...]] = {}
    for kind, subjects in _subjects().items():
        facts[kind] = tuple(
            Fact(kind=kind, key=key, target=target)
            for key in subjects.keys
            for target in subjects.targets
        )
    return facts


def choose_facts(count: int, seed: int) -> list[Fact]:
    """Returns ``count`` facts, their kinds mixed evenly, in proportion to the kinds' shares.

    Raises:
        ParamsError: there are not so many.
    """
    pools: dict[str, list[Fact]] = {}
    for kind, facts in all_facts().items():
        order = generator(seed, "sample", "facts", kind).permutation(len(facts))
        pools[kind] = _few_alike([facts[index] for index in order])
    available = sum(len(pool) for pool in pools.values())
    if count > available:
        raise ParamsError(f"sources.sample.facts: {count}, but CLDR facts suffice for {available}")
    taken = dict.fromkeys(pools, 0)
    chosen = []
    for _ in range(count):
        kind = min(
            (kind for kind in pools if taken[kind] < len(pools[kind])),
            key=lambda kind: (taken[kind] + 1) / _subjects()[kind].share,
        )
        chosen.append(pools[kind][taken[kind]])
        taken[kind] += 1
    return chosen


def _few_alike(facts: list[Fact]) -> list[Fact]:
    seen: dict[str, int] = {}
    kept = []
    for fact in facts:
        # Translations of one word would otherwise take all places.
        alike = fact.key if fact.kind == "translation" else _answer(fact, "en")
        seen[alike] = seen.get(alike, 0) + 1
        if seen[alike] <= ANSWERS_ALIKE:
            kept.append(fact)
    return kept


@cache
def state(fact: Fact, language: str) -> Statement | None:
    """Returns the fact in a language, or None where it makes no good question in it."""
    subject, answer = _subject(fact, language), _answer(fact, language)
    if subject.casefold() == answer.casefold() or max(len(subject), len(answer)) > LONGEST_NAME:
        return None
    if fact.kind == "unit" and len(answer) > LONGEST_ABBREVIATION:
        return None
    if fact.target == language:
        return None
    target = cldr.language_name(fact.target, language) if fact.target else ""
    return Statement(subject=subject, answer=answer, target=target)


def wrong_answers(fact: Fact, language: str, others: Sequence[Fact]) -> list[str]:
    """Returns plausible wrong answers: those of other facts of its kind, distinct, in their order.

    For a translation they are the names of the same thing in other languages.
    """
    right = _answer(fact, language)
    if fact.kind == "translation":
        candidates = [_name(fact.key, target) for target in _subjects()[fact.kind].targets]
    else:
        stated = [state(other, language) for other in others if other.kind == fact.kind]
        candidates = [statement.answer for statement in stated if statement is not None]
    seen = {right.casefold()}
    wrong = []
    for candidate in candidates:
        if candidate.casefold() not in seen:
            seen.add(candidate.casefold())
            wrong.append(candidate)
    return wrong


def _subject(fact: Fact, language: str) -> str:
    subjects: dict[str, Callable[[], str]] = {
        "currency_code": lambda: cldr.currency_name(fact.key, language),
        "city": lambda: cldr.city(fact.key, language),
        "translation": lambda: _name(fact.key, language),
        "month_after": lambda: cldr.month(int(fact.key), language),
        "weekday_after": lambda: cldr.weekday(int(fact.key), language),
        "unit": lambda: cldr.unit_name(fact.key, language),
    }
    return subjects.get(fact.kind, lambda: cldr.territory(fact.key, language))()


def _answer(fact: Fact, language: str) -> str:
    answers: dict[str, Callable[[], str]] = {
        "currency": lambda: cldr.currency_name(cldr.currency_of(fact.key), language),
        "official_language": lambda: cldr.language_name(cldr.official_language(fact.key), language),
        "city": lambda: cldr.territory(cldr.country_of_zone(fact.key), language),
        "translation": lambda: _name(fact.key, fact.target),
        "month_after": lambda: cldr.month(int(fact.key) % 12 + 1, language),
        "weekday_after": lambda: cldr.weekday(int(fact.key) % 7 + 1, language),
        "unit": lambda: cldr.unit_abbreviation(fact.key, language),
    }
    return answers.get(fact.kind, lambda: fact.key)()


def _name(key: str, language: str) -> str:
    what, _, code = key.partition(".")
    if what == "territory":
        return cldr.territory(code, language)
    if what == "language":
        return cldr.language_name(code, language)
    return (cldr.month if what == "month" else cldr.weekday)(int(code), language)


class _Subjects(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    share: int
    keys: tuple[str, ...]
    targets: tuple[str, ...] = ("",)


@cache
def _subjects() -> dict[str, _Subjects]:
    resource = files("minilingua.sources.sample") / "subjects.yaml"
    raw = YAML(typ="safe", pure=True).load(resource.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, _Subjects]).validate_python(raw)
