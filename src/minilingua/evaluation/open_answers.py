"""Open prompts of the test split, answered by generation: does the answer stop, and in what words?

    test conversations ─► their prompts ─► greedy answers ─► stop_rate, repetition, wrong_language
                                                          └► reports/evaluation/answers.jsonl

There is no key to an open prompt: these figures tell whether a model behaves, not whether it is
right. The answers are written out beside the reference, to be read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minilingua.core.language_identifier import judge
from minilingua.core.languages import CODE
from minilingua.core.records import Conversation, ItemResult, Message, ModelName
from minilingua.evaluation.answers import share_of_repetition
from minilingua.evaluation.generation import Answer, Prompt
from minilingua.evaluation.multiple_choice import read_conversations
from minilingua.evaluation.prompts import PromptEncoder

TASK = "answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPrompt:
    """A prompt without a key."""

    id: str
    """The conversation's id."""
    language: str
    prompt: tuple[Message, ...]
    """The turns before the answer."""
    reference: str
    """The answer in the data."""
    fact: str | None = None
    """What is asked, in whatever wording or language; None where the source does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenAnswer:
    """A line of ``answers.jsonl``."""

    id: str
    language: str
    prompt: str
    """The last user turn."""
    reference: str
    base: str
    result: str


def load_open_prompts(languages: Iterable[str], count: int) -> list[OpenPrompt]:
    """Returns prompts of the test split that are no multiple-choice questions.

    Args:
        languages: codes, in the order wanted.
        count: prompts a language at most: those of the lowest ids, which are hashes.

    Raises:
        MissingInputError: a file of an earlier stage is missing.
    """
    prompts: list[OpenPrompt] = []
    for language in languages:
        found = [c for c in read_conversations("test", language) if c.task != "mcqa"]
        found.sort(key=lambda conversation: conversation.id)
        prompts += [_open_prompt(conversation) for conversation in found[:count]]
    return prompts


def _open_prompt(conversation: Conversation) -> OpenPrompt:
    *prompt, answer = conversation.messages
    return OpenPrompt(
        id=conversation.id,
        language=conversation.language,
        prompt=tuple(prompt),
        reference=answer.content,
        fact=conversation.fact,
    )


def prompts_of(
    prompts: Iterable[OpenPrompt], encoder: PromptEncoder, max_new_tokens: int
) -> list[Prompt]:
    """Returns the prompts as token ids."""
    return [
        Prompt(tokens=encoder.request(item.prompt, ()).prefix, limit=max_new_tokens)
        for item in prompts
    ]


def judge_answers(
    model: ModelName, prompts: Sequence[OpenPrompt], answers: Sequence[Answer], texts: Sequence[str]
) -> list[ItemResult]:
    """Returns how each answer behaves.

    Args:
        model: whose answers they are.
        prompts: [n].
        answers: [n].
        texts: [n] the answers decoded.
    """
    return [
        ItemResult(
            model=model,
            task=TASK,
            item=prompt.id,
            language=prompt.language,
            answer_format=None,
            instruction_language=None,
            subsets=(),
            values=_values(prompt.language, answer, text),
            fact=prompt.fact,
        )
        for prompt, answer, text in zip(prompts, answers, texts, strict=True)
    ]


def _values(language: str, answer: Answer, text: str) -> dict[str, tuple[float, float]]:
    values = {"stop_rate": (float(answer.stopped), 1.0)}
    repetition = share_of_repetition(answer.tokens)
    if repetition is not None:
        values["repetition"] = (repetition, 1.0)
    if language != CODE:
        verdict = judge(text, language)
        values["unclear_language"] = (float(verdict == "unclear"), 1.0)
        if verdict != "unclear":
            values["wrong_language"] = (float(verdict == "wrong"), 1.0)
    return values


def side_by_side(
    prompts: Sequence[OpenPrompt], base: Sequence[str], result: Sequence[str]
) -> list[WrittenAnswer]:
    """Returns both models' answers beside the reference."""
    return [
        WrittenAnswer(
            id=prompt.id,
            language=prompt.language,
            prompt=prompt.prompt[-1].content,
            reference=prompt.reference,
            base=before,
            result=after,
        )
        for prompt, before, after in zip(prompts, base, result, strict=True)
    ]
