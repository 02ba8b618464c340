"""The stage ``evaluate``: base and result on the test split.

data/mcqa/all_formats, data/conversations ─► questions ─┬► by likelihood ─┐
                                                        └► by generation ─┤
data/conversations ──────────────────────► open prompts ─► by generation ─┤
data/tokens/test ────────────────────────► passages ─────► by likelihood ─┴► items of each model
    items ─► reports/evaluation.json (scores), reports/evaluation/ (items, answers, comparison)

What has been computed is kept in ``runs/evaluation`` while it runs: a killed evaluation goes on
where it was.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers

from minilingua.core.errors import DataError
from minilingua.core.files import (
    staged_directory,
    tree_digest,
    write_json,
    write_jsonl,
)
from minilingua.core.records import Conversation, ItemResult, ModelName
from minilingua.evaluation import losses, multiple_choice, open_answers
from minilingua.evaluation.aggregate import score_items
from minilingua.evaluation.comparison import compare
from minilingua.evaluation.contamination import contaminated_items, mark_uncontaminated
from minilingua.evaluation.generation import Prompt, generate
from minilingua.evaluation.losses import (
    TOKENS,
    Passage,
    content_nats,
    loss_items,
    model_nats,
    open_split,
    passages_of,
    text_bytes,
    unigram_nats,
    with_shuffled_prompts,
)
from minilingua.evaluation.model import (
    Request,
    load_model,
    log_likelihoods,
    reproducible_arithmetic,
)
from minilingua.evaluation.multiple_choice import (
    Question,
    by_generation,
    by_likelihood,
    generated_questions,
    load_questions,
    read_conversations,
)
from minilingua.evaluation.open_answers import (
    OpenPrompt,
    judge_answers,
    load_open_prompts,
    side_by_side,
)
from minilingua.evaluation.plot import write_comparison_plot
from minilingua.evaluation.positions import fitting_passages, fitting_prompts, positions_of
from minilingua.evaluation.prompts import PromptEncoder
from minilingua.evaluation.report import print_report
from minilingua.evaluation.result_log import forget_others, result_log
from minilingua.evaluation.scores import write_items, write_scores, write_summary
from minilingua.params import EvaluateParams, Params

TOKENIZER = Path("models/tokenizer")
MODELS: tuple[tuple[ModelName, Path, str], ...] = (
    ("base", Path("models/base"), "minilingua base"),
    ("result", Path("models/hf"), "minilingua convert"),
)
SCORES = Path("reports/evaluation.json")
SUMMARY = Path("reports/evaluation_summary.json")
DETAILS = Path("reports/evaluation")
_SOURCE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What both models are asked."""

    encoder: PromptEncoder
    questions: list[Question]
    generated: list[Question]
    """Those of them that are answered by generation as well."""
    open_prompts: list[OpenPrompt]
    passages: list[Passage]
    shuffled: list[Passage]
    """The answers of ``passages`` behind other prompts."""
    bytes: dict[str, int]
    """Conversation id ─► bytes of what the assistant says."""
    requests: list[Request]
    """Of questions, passages and shuffled passages, in this order."""
    prompts: list[Prompt]
    """Of generated questions and open prompts, in this order."""


def run(params: Params) -> None:
    """Scores both models and writes ``reports/evaluation.json`` and what explains it.

    Raises:
        MissingInputError: an output of an earlier stage is missing; the message names the stage.
        DataError: the test split is empty, malformed or was tokenized otherwise than here.
        CheckpointError: a model cannot be loaded or holds values that are not finite.
        RunBusyError: another process evaluates the same models.
    """
    work = _prepare(params)
    unigram = unigram_nats(
        open_split("train", params.languages).values(), work.passages, work.encoder.vocab_size
    )
    results: list[ItemResult] = []
    answers: dict[ModelName, list[str]] = {}
    used: set[str] = set()
    with reproducible_arithmetic():
        for name, path, made_by in MODELS:
            found, texts = _evaluate(name, path, made_by, work, params.evaluate, used)
            results += found
            results += loss_items(name, "unigram_loss", work.passages, unigram)
            answers[name] = texts
            _warn_of_endless(name, found)
    results = mark_uncontaminated(results, contaminated_items())
    scores = score_items(results, params.seed, params.evaluate.resamples)
    compared = compare(
        [result for result in results if result.model == "base"],
        [result for result in results if result.model == "result"],
        seed=params.seed,
        resamples=params.evaluate.resamples,
    )
    written = side_by_side(work.open_prompts, answers["base"], answers["result"])
    with staged_directory(DETAILS) as aside:
        write_items(aside / "items.jsonl", results)
        write_jsonl(aside / "answers.jsonl", written)
        write_json(aside / "comparison.json", [asdict(item) for item in compared.comparisons])
        write_comparison_plot(aside / "comparison.png", compared.comparisons, "base", "result")
    write_scores(SCORES, scores)
    write_summary(SUMMARY, scores)
    forget_others(used)
    print_report(compared, written)


def _prepare(params: Params) -> _Work:
    languages = params.languages
    encoder = PromptEncoder(TOKENIZER)
    questions = load_questions(languages, params.evaluate.max_items)
    generated = generated_questions(questions, params.evaluate.generated_items)
    open_prompts = load_open_prompts(languages, params.evaluate.open_prompts)
    conversations = [c for language in languages for c in read_conversations("test", language)]
    passages = passages_of(open_split("test", languages), {c.id: c.fact for c in conversations})
    if not passages:
        raise DataError(f"{TOKENS / 'test'} holds no supervised token to measure a loss on")
    _check_prompts(encoder, conversations, passages)
    positions = positions_of((path, made_by) for _, path, made_by in MODELS)
    passages = fitting_passages(passages, positions)
    shuffled = [
        passage
        for passage in with_shuffled_prompts(passages, params.seed)
        if passage.length <= positions
    ]
    open_prompts, open_tokens = fitting_prompts(
        open_prompts,
        open_answers.prompts_of(open_prompts, encoder, params.evaluate.max_new_tokens),
        positions,
    )
    return _Work(
        encoder=encoder,
        questions=questions,
        generated=generated,
        open_prompts=open_prompts,
        passages=passages,
        shuffled=shuffled,
        bytes=text_bytes(conversations, encoder),
        requests=[
            *multiple_choice.requests_of(questions, encoder),
            *losses.requests_of(passages),
            *losses.requests_of(shuffled),
        ],
        prompts=[*multiple_choice.prompts_of(generated, encoder), *open_tokens],
    )


def _evaluate(
    name: ModelName,
    path: Path,
    made_by: str,
    work: _Work,
    evaluate: EvaluateParams,
    used: set[str],
) -> tuple[list[ItemResult], list[str]]:
    """Returns the results of one model, and its answers to the open prompts."""
    encoder = work.encoder
    model = load_model(path, made_by, encoder.vocab_size)
    depends: dict[str, Any] = {
        "model": tree_digest(path),
        "code": tree_digest(_SOURCE),
        "versions": [torch.__version__, transformers.__version__],
        "batch_tokens": evaluate.batch_tokens,
    }
    with result_log(used, requests=[asdict(r) for r in work.requests], **depends) as log:
        # All at once: a question's prompt is often that of a conversation as well.
        found = iter(log_likelihoods(model, work.requests, evaluate.batch_tokens, name, log))
    with result_log(used, prompts=[asdict(p) for p in work.prompts], **depends) as log:
        answers = generate(
            model, work.prompts, encoder.end_of_turn, evaluate.batch_tokens, name, log
        )
    texts = [encoder.decode(answer.tokens) for answer in answers]
    asked = len(work.generated)

    results = by_likelihood(name, work.questions, list(islice(found, len(work.questions))))
    results += by_generation(name, work.generated, texts[:asked])
    results += judge_answers(name, work.open_prompts, answers[asked:], texts[asked:])
    likelihoods = list(islice(found, len(work.passages)))
    of_text = content_nats(work.passages, likelihoods, encoder.end_of_turn).tolist()
    content = {
        passage.id: (nats, work.bytes.get(passage.id, 0))
        for passage, nats in zip(work.passages, of_text, strict=True)
    }
    results += loss_items(
        name, "loss", work.passages, model_nats(work.passages, likelihoods), content
    )
    results += loss_items(
        name, "loss_shuffled_prompts", work.shuffled, model_nats(work.shuffled, list(found))
    )
    return results, texts[asked:]


def _warn_of_endless(name: ModelName, results: Iterable[ItemResult]) -> None:
    """Says so where the trained model never stops: whoever serves it will wait for the limit."""
    stops = [r.values["stop_rate"][0] for r in results if "stop_rate" in r.values]
    if name == "result" and stops and not any(stops):
        print(  # noqa: T201 - a message of the stage
            f"evaluate: warning: models/hf ended none of {len(stops)} answers within "
            "evaluate.max_new_tokens; it has not learnt to end its turn",
            file=sys.stderr,
        )


def _check_prompts(
    encoder: PromptEncoder, conversations: Sequence[Conversation], passages: Iterable[Passage]
) -> None:
    """Compares what is scored here with what the model was trained to read and write.

    Raises:
        DataError: a question of test has other tokens in ``data/tokens``.
    """
    tokenized = {passage.id: passage for passage in passages}
    for conversation in conversations:
        passage = tokenized.get(conversation.id)
        if conversation.task != "mcqa" or passage is None:
            continue
        *prompt, answer = conversation.messages
        here = encoder.request(prompt, [answer.content])
        # The answer in data/tokens has its end-of-turn token as well.
        found = (here.prefix, *here.branches)
        if found != (tuple(passage.prompt), tuple(passage.answer[: len(here.branches[0])])):
            raise DataError(
                f"{TOKENS / 'test' / conversation.language}: conversation {conversation.id} has "
                f"other tokens than {encoder.path} gives it; run `dvc repro tokenize`"
            )
