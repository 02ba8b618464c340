"""The stage ``evaluate``: base and result on the test split, by likelihood.

data/mcqa/all_formats, data/conversations ─► questions ─┐
data/tokens/test ─────────────────────────► passages ───┴─► models/base, models/hf ─► reports/
"""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from minilingua.core.errors import DataError
from minilingua.core.records import Score
from minilingua.evaluation import losses, multiple_choice
from minilingua.evaluation.losses import (
    TOKENS,
    Passage,
    loss_scores,
    model_nats,
    open_split,
    passages_of,
    unigram_nats,
    with_shuffled_prompts,
)
from minilingua.evaluation.model import (
    load_model,
    log_likelihoods,
    reproducible_arithmetic,
)
from minilingua.evaluation.multiple_choice import (
    accuracy_scores,
    judge,
    load_questions,
    read_conversations,
)
from minilingua.evaluation.prompts import PromptEncoder
from minilingua.evaluation.report import print_report
from minilingua.evaluation.scores import ModelName, write_scores, write_summary
from minilingua.params import Params

TOKENIZER = Path("models/tokenizer")
MODELS: tuple[tuple[ModelName, Path, str], ...] = (
    ("base", Path("models/base"), "minilingua base"),
    ("result", Path("models/hf"), "minilingua convert"),
)
SCORES = Path("reports/evaluation.json")
SUMMARY = Path("reports/evaluation_summary.json")


def run(params: Params) -> None:
    """Scores both models and writes ``reports/evaluation.json`` and its summary.

    Raises:
        MissingInputError: an output of an earlier stage is missing; the message names the stage.
        DataError: the test split is empty, malformed or was tokenized otherwise than here.
        CheckpointError: a model cannot be loaded or holds values that are not finite.
    """
    languages = params.languages
    encoder = PromptEncoder(TOKENIZER)
    questions = load_questions(languages, params.evaluate.max_items)
    passages = passages_of(open_split("test", languages))
    if not passages:
        raise DataError(f"{TOKENS / 'test'} holds no supervised token to measure a loss on")
    _check_prompts(encoder, languages, passages)
    shuffled = with_shuffled_prompts(passages, params.seed)
    training = open_split("train", languages).values()
    unigram = unigram_nats(training, passages, encoder.vocab_size)
    requests = [
        *multiple_choice.requests_of(questions, encoder),
        *losses.requests_of(passages),
        *losses.requests_of(shuffled),
    ]

    scores: list[Score] = []
    with reproducible_arithmetic():
        for name, path, made_by in MODELS:
            model = load_model(path, made_by, encoder.vocab_size)
            # All at once: a question's prompt is often that of a conversation as well.
            found = iter(log_likelihoods(model, requests, params.evaluate.batch_tokens, name))
            outcomes = judge(questions, list(islice(found, len(questions))))
            nats = model_nats(passages, list(islice(found, len(passages))))
            shuffled_nats = model_nats(shuffled, list(found))
            scores += accuracy_scores(name, questions, outcomes)
            scores += loss_scores(name, "loss", passages, nats)
            scores += loss_scores(name, "loss_shuffled_prompts", shuffled, shuffled_nats)
            scores += loss_scores(name, "unigram_loss", passages, unigram)
    write_scores(SCORES, scores)
    write_summary(SUMMARY, scores)
    print_report(scores)


def _check_prompts(
    encoder: PromptEncoder, languages: Iterable[str], passages: Iterable[Passage]
) -> None:
    """Compares what is scored here with what the model was trained to read and write.

    Raises:
        DataError: a question of test has other tokens in ``data/tokens``.
    """
    tokenized = {passage.id: passage for passage in passages}
    for language in languages:
        for conversation in read_conversations("test", language):
            passage = tokenized.get(conversation.id)
            if conversation.task != "mcqa" or passage is None:
                continue
            *prompt, answer = conversation.messages
            here = encoder.request(prompt, [answer.content])
            # The answer in data/tokens has its end-of-turn token as well.
            found = (here.prefix, *here.branches)
            if found != (tuple(passage.prompt), tuple(passage.answer[: len(here.branches[0])])):
                raise DataError(
                    f"{TOKENS / 'test' / language}: conversation {conversation.id} has other "
                    f"tokens than {encoder.path} gives it; run `dvc repro tokenize`"
                )
