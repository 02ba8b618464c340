"""Token sequences on which two implementations of a model are compared.

Text in every language goes through every script that the vocabulary was made for; a random walk
over the whole vocabulary reaches rows of the embedding, and positions, that no text would.
"""

from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer

from minilingua.core.seeding import generator

TEXTS: Mapping[str, str] = {
    "en": "The ferry to the island leaves at seven, even when it snows.",
    "de": "Im Herbst färben sich die Blätter, und abends wird es früh kühl.",
    "es": "¿Quién dejó la ventana abierta mientras llovía en la montaña?",
    "fr": "Où as-tu rangé la clé du garage que j’ai prêtée à ta sœur ?",
    "it": "Perché il treno è già partito, se mancano ancora dieci minuti?",
    "pt": "As maçãs do quintal já estão maduras; amanhã faço uma compota.",
    "nl": "Het fietspad langs de rivier is ’s ochtends bijna altijd leeg.",
    "pl": "Źrebię przeskoczyło płot i pobiegło wprost na łąkę za młynem.",
    "cs": "Příště přijď dřív, ať stihneme ještě koupit čerstvý chléb.",
    "bg": "Щъркелът се върна на покрива точно преди първия пролетен дъжд.",
    "el": "Το καφενείο στην πλατεία ανοίγει νωρίς και κλείνει τα μεσάνυχτα.",
    "fi": "Järven jäällä näkyi yöllä hiihtäjä, jonka lyhty vilkkui pitkään.",
    "sv": "Åskan gick över på en kvart, så vi åt ändå ute på bryggan.",
    "code": "def area(w: float, h: float) -> float:\n    return w * h  # m²\n",
}
"""One text a language, with letters that only few languages have."""

_WALKS = 3
_WALK_LENGTH = 256


def probe_sequences(
    tokenizer_file: Path, vocab_size: int, max_positions: int
) -> dict[str, list[int]]:
    """Returns name ─► token ids, each sequence no longer than the model's positions.

    Args:
        tokenizer_file: tokenizer.json.
        vocab_size: rows of the embedding; ids of random walks lie below it.
        max_positions: longest sequence that the model supports.
    """
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    probes = {
        language: tokenizer.encode(text, add_special_tokens=False).ids[:max_positions]
        for language, text in TEXTS.items()
    }
    rng = generator(0, "convert", "probes")
    length = min(_WALK_LENGTH, max_positions)
    for number in range(1, _WALKS + 1):
        probes[f"random tokens {number}"] = rng.integers(vocab_size, size=length).tolist()
    return probes
