"""The thirteen languages of MiniLingua, and code, in their canonical order.

The order is part of the data formats: a language is stored in a pack plan as its index here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language as the data sets name it."""

    code: str
    """ISO 639-1, or ``code`` for programming."""
    iso639_3: str
    english_name: str
    native_name: str
    script: str
    """ISO 15924 code of the script that its text is written in."""


CODE = "code"
"""The pseudo-language of programming instructions; its prose is English."""

LANGUAGES: dict[str, Language] = {
    language.code: language
    for language in (
        Language(code=code, iso639_3=iso, english_name=name, native_name=native, script=script)
        for code, iso, name, native, script in (
            ("en", "eng", "English", "English", "Latn"),
            ("de", "deu", "German", "Deutsch", "Latn"),
            ("es", "spa", "Spanish", "español", "Latn"),
            ("fr", "fra", "French", "français", "Latn"),
            ("it", "ita", "Italian", "italiano", "Latn"),
            ("pt", "por", "Portuguese", "português", "Latn"),
            ("nl", "nld", "Dutch", "Nederlands", "Latn"),
            ("pl", "pol", "Polish", "polski", "Latn"),
            ("cs", "ces", "Czech", "čeština", "Latn"),
            ("bg", "bul", "Bulgarian", "български", "Cyrl"),
            ("el", "ell", "Greek", "Ελληνικά", "Grek"),
            ("fi", "fin", "Finnish", "suomi", "Latn"),
            ("sv", "swe", "Swedish", "svenska", "Latn"),
            (CODE, "zxx", "Code", "Code", "Latn"),
        )
    )
}

NATURAL_LANGUAGES: tuple[str, ...] = tuple(code for code in LANGUAGES if code != CODE)
"""The thirteen codes without ``code``."""

LANGUAGE_INDEX: dict[str, int] = {code: index for index, code in enumerate(LANGUAGES)}
