"""Names and relations from the Unicode CLDR, as Babel ships it."""

from functools import cache

from babel import Locale
from babel.core import get_global
from babel.units import format_unit

from minilingua.core.errors import DataError


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(language)


def territory(code: str, language: str) -> str:
    """Returns the name of a territory (ISO 3166) in a language."""
    return str(_locale(language).territories[code])


def language_name(code: str, language: str) -> str:
    """Returns the name of the language ``code`` in ``language``."""
    return str(_locale(language).languages[code])


def currency_name(code: str, language: str) -> str:
    """Returns the name of a currency (ISO 4217) in a language."""
    return str(_locale(language).currencies[code])


def month(number: int, language: str) -> str:
    """Returns the name of a month, 1 to 12, in its dictionary form."""
    return str(_locale(language).months["stand-alone"]["wide"][number])


def weekday(number: int, language: str) -> str:
    """Returns the name of a day of the week, 1 (Monday) to 7, in its dictionary form."""
    return str(_locale(language).days["stand-alone"]["wide"][number - 1])


def unit_name(unit: str, language: str) -> str:
    """Returns the singular name of a unit."""
    return _without_number(format_unit(1, unit, "long", locale=_locale(language)))


def unit_abbreviation(unit: str, language: str) -> str:
    """Returns the short form of a unit, which CLDR does not always abbreviate."""
    return _without_number(format_unit(1, unit, "short", locale=_locale(language)))


def _without_number(measure: str) -> str:
    return measure.replace("1", "", 1).strip()


def city(zone: str, language: str) -> str:
    """Returns the city that a time zone is named after."""
    info = _locale(language).time_zones.get(zone, {})
    return str(info.get("city") or zone.rpartition("/")[2].replace("_", " "))


def country_of_zone(zone: str) -> str:
    """Returns the code of the territory that a time zone's city is in."""
    return str(get_global("zone_territories")[zone])


def currency_of(territory_code: str) -> str:
    """Returns the one currency that is legal tender in a territory.

    What counts is an open end in CLDR, not today's date: the sample must not depend on a clock.

    Raises:
        DataError: it has none or several; it should not be among the subjects.
    """
    current = [
        code
        for code, _, until, is_tender in get_global("territory_currencies")[territory_code]
        if until is None and is_tender
    ]
    return _only(current, f"currency of {territory_code}")


def official_language(territory_code: str) -> str:
    """Returns the one official language of a territory (regional ones aside).

    Raises:
        DataError: it has none or several; it should not be among the subjects.
    """
    official = [
        code
        for code, facts in get_global("territory_languages")[territory_code].items()
        if facts["official_status"] in {"official", "de_facto_official"}
    ]
    return _only(official, f"official language of {territory_code}")


def _only(values: list[str], what: str) -> str:
    if len(values) != 1:
        raise DataError(f"sample/subjects.yaml: {what}: CLDR has {values or 'none'}, expected one")
    return values[0]
