"""Small conversations in thirteen languages and code, for the tests of this package."""

from pathlib import Path

from minilingua.core.files import write_jsonl
from minilingua.core.languages import LANGUAGES
from minilingua.core.records import SPLITS, Conversation, Message, Role, Split
from minilingua.core.seeding import content_id

# language: (questions, answers, (place, capital), ..)
_FACTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "en": (
        ("Which city is the capital of {0}?", "Tell me the seat of government of {0}, please."),
        ("The capital of {0} is {1}.", "{1}", "It is {1}, with 3 rivers and 1250000 people."),
        "Finland:Helsinki Greece:Athens Poland:Warsaw Norway:Oslo Japan:Tokyo Peru:Lima",
    ),
    "de": (
        ("Wie heißt die Hauptstadt von {0}?", "Nenne mir bitte den Regierungssitz von {0}."),
        ("Die Hauptstadt von {0} heißt {1}.", "{1}", "Sie heißt {1} und wächst schnell."),
        "Finnland:Helsinki Griechenland:Athen Polen:Warschau Norwegen:Oslo Japan:Tokio Peru:Lima",
    ),
    "es": (
        ("¿Cuál es la capital de {0}?", "Dime, por favor, la sede del gobierno de {0}."),
        ("La capital de {0} es {1}.", "{1}", "Es {1}, una ciudad con mucha historia."),
        "Finlandia:Helsinki Grecia:Atenas Polonia:Varsovia Noruega:Oslo Japón:Tokio Perú:Lima",
    ),
    "fr": (
        ("Quelle est la capitale du pays {0} ?", "Donne-moi le siège du gouvernement : {0}."),
        ("La capitale du pays {0} est {1}.", "{1}", "C’est {1}, où l’été est très agréable."),
        "Finlande:Helsinki Grèce:Athènes Pologne:Varsovie Norvège:Oslo Japon:Tokyo Pérou:Lima",
    ),
    "it": (
        ("Qual è la capitale del paese {0}?", "Dimmi dove ha sede il governo: {0}."),
        ("La capitale del paese {0} è {1}.", "{1}", "È {1}, una città piena di giardini."),
        "Finlandia:Helsinki Grecia:Atene Polonia:Varsavia Norvegia:Oslo Giappone:Tokyo Perù:Lima",
    ),
    "pt": (
        ("Qual é a capital do país {0}?", "Diga-me onde fica o governo do país {0}."),
        ("A capital do país {0} é {1}.", "{1}", "É {1}, uma cidade com muitas canções."),
        "Finlândia:Helsinque Grécia:Atenas Polônia:Varsóvia Noruega:Oslo Japão:Tóquio Peru:Lima",
    ),
    "nl": (
        ("Wat is de hoofdstad van {0}?", "Noem alsjeblieft de regeringszetel van {0}."),
        ("De hoofdstad van {0} is {1}.", "{1}", "Dat is {1}, een drukke en mooie stad."),
        "Finland:Helsinki Griekenland:Athene Polen:Warschau Noorwegen:Oslo Japan:Tokio Peru:Lima",
    ),
    "pl": (
        ("Jakie miasto jest stolicą kraju {0}?", "Podaj siedzibę rządu kraju {0}."),
        ("Stolicą kraju {0} jest {1}.", "{1}", "To {1}, miasto, które szybko się zmienia."),
        "Finlandia:Helsinki Grecja:Ateny Polska:Warszawa Norwegia:Oslo Japonia:Tokio Peru:Lima",
    ),
    "cs": (
        ("Jaké je hlavní město země {0}?", "Řekni mi, kde sídlí vláda země {0}."),
        ("Hlavní město země {0} jsou {1}.", "{1}", "Je to {1}, kde žije příliš mnoho koček."),
        "Finsko:Helsinky Řecko:Athény Polsko:Varšava Norsko:Oslo Japonsko:Tokio Peru:Lima",
    ),
    "bg": (
        ("Коя е столицата на {0}?", "Кажи ми къде заседава правителството на {0}."),
        ("Столицата на {0} е {1}.", "{1}", "Това е {1}, град с широки улици."),
        "Финландия:Хелзинки Гърция:Атина Полша:Варшава Норвегия:Осло Япония:Токио Перу:Лима",
    ),
    "el": (
        ("Ποια είναι η πρωτεύουσα της χώρας {0};", "Πες μου πού εδρεύει η κυβέρνηση: {0}."),
        ("Η πρωτεύουσα της χώρας {0} είναι {1}.", "{1}", "Είναι {1}, μια πόλη δίπλα στο νερό."),
        "Φινλανδία:Ελσίνκι Ελλάδα:Αθήνα Πολωνία:Βαρσοβία Νορβηγία:Όσλο Ιαπωνία:Τόκιο Περού:Λίμα",
    ),
    "fi": (
        ("Mikä on maan {0} pääkaupunki?", "Kerro, missä sijaitsee maan {0} hallitus."),
        ("Maan {0} pääkaupunki on {1}.", "{1}", "Se on {1}, jossa kesäyöt ovat hyvin valoisia."),
        "Suomi:Helsinki Kreikka:Ateena Puola:Varsova Norja:Oslo Japani:Tokio Peru:Lima",
    ),
    "sv": (
        ("Vad heter huvudstaden i {0}?", "Säg mig var regeringen i {0} håller till."),
        ("Huvudstaden i {0} heter {1}.", "{1}", "Den heter {1} och ligger nära vattnet."),
        "Finland:Helsingfors Grekland:Aten Polen:Warszawa Norge:Oslo Japan:Tokyo Peru:Lima",
    ),
    "code": (
        ("Write a function {0} that returns {1}.", "I need {0} in Python; it returns {1}."),
        ("def {0}(x):\n    # always {1}\n    if x > 10:\n        x = 0\n    return '{1}'",),
        "first:alpha second:beta third:gamma fourth:delta fifth:omega sixth:sigma",
    ),
}


def conversation(*turns: tuple[Role, str], language: str = "en") -> Conversation:
    messages = tuple(Message(role=role, content=content) for role, content in turns)
    return Conversation(
        id=content_id("\x1f".join([language, *(part for turn in turns for part in turn)])),
        key=content_id(turns[0][1]) if turns else "",
        source="aya",
        language=language,
        task="code" if language == "code" else "instruction",
        messages=messages,
    )


def conversations(language: str) -> list[Conversation]:
    questions, answers, pairs = _FACTS[language]
    made: list[Conversation] = []
    for number, pair in enumerate(pairs.split()):
        place, capital = pair.split(":")
        asked = [text.format(place, capital) for text in questions]
        told = [text.format(place, capital) for text in answers]
        made += [
            conversation(("user", question), ("assistant", answer), language=language)
            for question in asked
            for answer in told
        ]
        if number == 0:
            made.append(
                conversation(
                    ("system", asked[1]),
                    ("user", asked[0]),
                    ("assistant", told[0]),
                    ("user", asked[1]),
                    ("assistant", told[-1]),
                    language=language,
                )
            )
    return made


def write_corpus(root: Path) -> None:
    """Writes data/conversations below ``root``, two thirds of it for training."""
    held_out: dict[int, Split] = {1: "validation", 2: "test"}
    for language in LANGUAGES:
        rows: dict[Split, list[Conversation]] = {split: [] for split in SPLITS}
        for number, item in enumerate(conversations(language)):
            rows[held_out.get(number % 6, "train")].append(item)
        for split in SPLITS:
            write_jsonl(root / "data/conversations" / split / f"{language}.jsonl", rows[split])
