import pytest

from minilingua.core.languages import CODE, NATURAL_LANGUAGES
from minilingua.curation.artefacts import markup_residue, repetition, translated_code
from minilingua.curation.texts import Texts, read_texts
from tests.curation.examples import example, question

LOOPS = {
    "de": "für i im Bereich(n):",
    "es": "para i en rango(n):",
    "fr": "pour i dans la plage(n):",
    "it": "per i in intervallo(n):",
    "pt": "para i no intervalo(n):",
    "nl": "voor i in bereik(n):",
    "pl": "dla i w zakresie(n):",
    "cs": "pro i v rozsahu(n):",
    "bg": "за i в диапазон(n):",
    "el": "για i στο εύρος(n):",
    "sv": "för i inom intervall(n):",
}
CONDITIONS = {
    "de": "wenn x == 0:",
    "es": "si x % 2 == 0:",
    "fr": "si x <= y:",
    "it": "se x != 1:",
    "pt": "se x == 0:",
    "nl": "als x == 0:",
    "pl": "jeśli x == 0:",
    "cs": "pokud x == 0:",
    "bg": "ако x == 0:",
    "el": "αν x == 0:",
    "fi": "jos x == 0:",
    "sv": "om x == 0:",
}


def texts(answer: str, language: str = "de", prompt: str = "Schreibe ein Programm.") -> Texts:
    return read_texts(example(prompt, answer, language=language))


@pytest.mark.parametrize("language", LOOPS)
def test_translated_loops(language: str) -> None:
    assert translated_code(texts(f"summe = 0\n{LOOPS[language]}\n    summe += i", language))


@pytest.mark.parametrize("language", CONDITIONS)
def test_translated_conditions(language: str) -> None:
    assert translated_code(texts(f"x = 1\n    {CONDITIONS[language]}\n        x = 2", language))


@pytest.mark.parametrize(
    ("answer", "language"),
    [
        ('drucken("Hallo")', "de"),
        ("imprimir('hola')", "es"),
        ("WÄHLE * VON kunden;", "de"),
        ("SELECCIONAR nombre, edad DE clientes", "es"),
        ("Konsole.log(x);", "de"),
        ("öffentliche statische void main(String[] args) {", "de"),
        ("```python\nprint(1)\n`` `", "fr"),
        ("So geht es:\n```python\nprint(1)", "de"),
        ("<div>Text</ div>", "it"),
    ],
)
def test_broken_programs(answer: str, language: str) -> None:
    assert translated_code(texts(answer, language))


PROGRAM = """```python
def count(n):
    for i in range(n):
        if i == 0:
            print("null")
    return n
```"""


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_sound_programs_and_prose_pass(language: str) -> None:
    assert translated_code(texts(f"Text.\n{PROGRAM}", language)) is None
    assert translated_code(texts("SELECT * FROM kunden; console.log(x); <div></div>")) is None


@pytest.mark.parametrize(
    ("answer", "language"),
    [
        ("Wenn du 100 % sicher bist: sag es. Drucken (oder kopieren) geht auch.", "de"),
        ("Für dich im Bereich (Sport) gibt es = viel.", "de"),
        ("Si no lo sabes: pregunta. Puedes imprimir (en papel) el texto.", "es"),
        ("Als het regent: blijf thuis. Kies een kleur van de lijst.", "nl"),
        ("Om du vill: 5 < 6 och 3 = 3.", "sv"),
    ],
)
def test_prose_with_signs_passes(answer: str, language: str) -> None:
    assert translated_code(texts(answer, language)) is None


def test_pseudocode_programs_and_options_are_left_alone() -> None:
    assert translated_code(texts(LOOPS["de"], prompt="Schreibe Pseudocode.")) is None
    assert translated_code(texts(LOOPS["de"], CODE)) is None
    assert translated_code(texts("`` `", "en")) is None
    assert translated_code(read_texts(question("Was?", (LOOPS["de"], "nichts")))) is None


def test_lines_that_repeat() -> None:
    circle = "Ich weiß es nicht genau.\n" * 8
    assert repetition(texts(circle)) == "8 times Ich weiß es nicht genau."
    assert repetition(texts("Anfang der Liste\n" + circle))
    assert repetition(texts("Ja.\n" * 30 + "Das war es.")) is None, "bullets and braces may repeat"
    assert repetition(texts("\n".join(f"Zeile Nummer {n}" for n in range(50)))) is None
    assert repetition(texts("Refrain, Refrain!\nStrophe eins.\n" * 2)) is None


def test_words_that_repeat() -> None:
    assert repetition(texts("und so weiter " * 30)) == "3 different words of 90"
    assert repetition(texts("und so weiter " * 10)) is None
    assert repetition(texts("a b c " * 30, CODE)) is None
    assert repetition(read_texts(question("Was?", ("ja " * 100, "nein")))) is None


@pytest.mark.parametrize(
    "answer", ["Tom &amp; Jerry", "Erster Satz.<br />Zweiter.", "a&nbsp;b", "[[Datei:x.jpg]] Text"]
)
def test_markup_that_was_left_behind(answer: str) -> None:
    assert markup_residue(texts(answer, prompt="Erzähle etwas."))
    assert markup_residue(texts("Gut.", prompt=answer))


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Schreibe eine HTML-Seite.", "<p>Hallo</p>"),
        ("Was macht dieses Tag?", "<br> bricht um."),
        ("Wiederhole diesen Text unverändert.\n\n<|end|>", "</s><s>"),
        ("Was ist kleiner?", "3 < 4 & 5 > 2"),
        ("AT&T; R&D", "Firmen."),
    ],
)
def test_texts_about_markup_and_signs_pass(prompt: str, answer: str) -> None:
    assert markup_residue(texts(answer, prompt=prompt)) is None


def test_markup_in_programs_and_options_passes() -> None:
    assert markup_residue(texts("<p>", CODE)) is None
    assert markup_residue(read_texts(question("Was?", ("&amp;", "b")))) is None
