import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from minilingua.chat.sentencepiece_bpe import (
    SPECIAL_TOKENS,
    fast_tokenizer,
    train_sentencepiece,
)
from minilingua.core.errors import DataError, ParamsError
from minilingua.core.languages import LANGUAGES
from tests.chat.corpus import conversations

CONTENTS = [
    message.content
    for language in LANGUAGES
    for item in conversations(language)
    for message in item.messages
]
MODEL = train_sentencepiece(CONTENTS, 900)
PIECES = sentencepiece.SentencePieceProcessor(model_proto=MODEL)
FAST = fast_tokenizer(MODEL)


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def test_training_twice_gives_the_same_bytes() -> None:
    again = train_sentencepiece(CONTENTS, 900)
    assert again == MODEL
    assert fast_tokenizer(again).to_str() == FAST.to_str()


def test_the_vocabulary_has_exactly_the_size_and_leads_with_the_special_tokens() -> None:
    assert FAST.get_vocab_size() == 900
    assert tuple(FAST.id_to_token(index) for index in range(7)) == SPECIAL_TOKENS


def test_ids_equal_those_of_sentencepiece_on_the_corpus() -> None:
    assert [ids_of(FAST, text) for text in CONTENTS] == [PIECES.encode(text) for text in CONTENTS]


WORDS = sorted({word for text in CONTENTS for word in text.split()})


@given(
    st.lists(
        st.one_of(
            st.sampled_from(WORDS),
            st.sampled_from([" ", "   ", "\n", "\t", "é", "😀", "<|end|>", "<0x41>", "2025"]),
            st.text(max_size=4),
        ),
        max_size=12,
    ).map("".join)
)
def test_any_text_survives_and_has_the_ids_of_sentencepiece(text: str) -> None:
    text = text.replace("\u2581", "").replace("\x00", "")  # the space sign is a space to both
    FAST.encode_special_tokens = True
    ids = ids_of(FAST, text)
    FAST.encode_special_tokens = False
    assert FAST.decode(ids, skip_special_tokens=False) == text
    assert not set(ids) & set(range(7))
    assert ids == PIECES.encode(text)


def test_every_digit_is_a_token() -> None:
    assert [FAST.id_to_token(index) for index in ids_of(FAST, "1250000")] == list("1250000")


def test_the_largest_vocabulary_is_named_and_works() -> None:
    with pytest.raises(ParamsError, match=r"vocab_size: 9000 is more .* works is \d+$") as caught:
        train_sentencepiece(CONTENTS, 9000)
    largest = int(str(caught.value).rsplit(" ", 1)[1])
    assert fast_tokenizer(train_sentencepiece(CONTENTS, largest)).get_vocab_size() == largest


def test_the_smallest_vocabulary_is_named_and_works() -> None:
    with pytest.raises(ParamsError, match=r"vocab_size: 320 is less .* works is \d+$") as caught:
        train_sentencepiece(CONTENTS, 320)
    smallest = int(str(caught.value).rsplit(" ", 1)[1])
    assert fast_tokenizer(train_sentencepiece(CONTENTS, smallest)).get_vocab_size() == smallest


def test_no_text_is_one_clear_line() -> None:
    with pytest.raises(DataError, match="no text"):
        train_sentencepiece(["", "\n"], 900)
