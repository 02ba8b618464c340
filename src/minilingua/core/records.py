"""What passes between the stages: frozen records, stored one a line as canonical JSON.

native row ─► MultipleChoiceItem ─► InstructionExample ─┐
native row ────────────────────────► InstructionExample ─┴► Conversation ─► TokenizedConversation
                                                                            (core/tokens.py)
base, result ─► Score
"""

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Role = Literal["system", "user", "assistant"]

AnswerFormat = Literal["letter", "number", "text"]
ANSWER_FORMATS: tuple[AnswerFormat, ...] = ("letter", "number", "text")

Task = Literal["instruction", "mcqa", "code"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    """Plain text. What spells a special token is text here and stays text when tokenized."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipleChoiceItem:
    """A multiple-choice question as its source has it, with the answer key resolved."""

    source: str
    """Name of the source, as in ``sources.include`` of params.yaml."""
    row: str
    """Where it stands, for messages: ``<file>:<line or row, from 1>``."""
    language: str
    question: str
    options: tuple[str, ...]
    """Two or more, in the order of the source."""
    answer: int
    """0-based index of the correct option."""
    fact: str | None = None
    """What is asked, equal over languages and wordings; only where the source tells (sample)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The options of a multiple-choice example, as they are shown in its prompt."""

    question: str
    """The bare question, without template and options."""
    options: tuple[str, ...]
    """Option texts in the order shown."""
    candidates: tuple[str, ...]
    """What the model may answer, one per option: letters, numbers or the option texts."""
    answer: int
    """0-based index of the correct one, in the order shown."""
    answer_format: AnswerFormat
    instruction_language: str
    """Language code of the instruction around the question: ``en`` or the item's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionExample:
    """A conversation before curation: what an adapter or the MCQA builder makes of one row."""

    source: str
    row: str
    """Where it stands, for messages: ``<file>:<line or row, from 1>``."""
    language: str
    task: Task
    messages: tuple[Message, ...]
    """Alternating user and assistant turns, ended by an assistant; a system turn may lead."""
    key: str
    """Identity of *what is asked* (``content_id`` of the bare question or first prompt): decides
    the split, so that one question never stands on both sides in two formats."""
    choice: Choice | None = None
    """Set for ``mcqa`` only."""
    fact: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A curated conversation, in its split."""

    id: str
    """``content_id`` of language, roles and contents: equal text has an equal id."""
    key: str
    source: str
    language: str
    task: Task
    messages: tuple[Message, ...]
    choice: Choice | None = None
    fact: str | None = None


ModelName = Literal["base", "result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """What one model made of one item of the evaluation; scores are sums over these.

    A score is total / total weight over items: for an accuracy every item weighs 1, for a loss an
    item weighs as many tokens as it has.
    """

    model: ModelName
    task: str
    """As in ``Score``, without the suffix of a subset."""
    item: str
    """``Conversation.key`` of a question, ``Conversation.id`` of a conversation. Items of a
    language with the same name are one question in several forms: not independent."""
    language: str
    answer_format: str | None
    instruction_language: str | None
    subsets: tuple[str, ...]
    """Parts of the items that are reported apart as well: task ``mcqa`` and subset ``seen_facts``
    are also scored as the task ``mcqa_seen_facts``."""
    values: dict[str, tuple[float, float]]
    """Metric ─► total and weight."""
    fact: str | None = None
    """What is asked, equal over languages and wordings, where the source tells: all items of a fact
    are one draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """An evaluation item that was found in a training row."""

    set: str
    """``test``, ``validation``, or ``benchmarks/`` and a file of ``sources.benchmarks``."""
    item: str
    """``Conversation.id``, or the item's name in its benchmark."""
    key: str | None
    """``Conversation.key``, where the item is one: equal for all forms of a question."""
    source: str
    """Source of the training row."""
    language: str
    row: str
    """Where the training row stood: ``<file>:<line or row, from 1>``."""
    id: str
    """``Conversation.id`` of the training row."""
    words: str
    """What they share: words in lower case, without punctuation."""
    is_whole: bool
    """They share question and answer, not just a passage."""
    is_dropped: bool
    """The row was left out of training, for this or another reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One figure of ``reports/evaluation.json``."""

    model: ModelName
    task: str
    """What was asked: ``mcqa`` (by likelihood), ``mcqa_generated``, ``answers`` (open prompts),
    ``loss``, ``loss_shuffled_prompts``, ``unigram_loss``; with the name of a subset behind it
    (``_seen_facts``, ``_unseen_facts``, ``_uncontaminated``) over a part of the items."""
    language: str
    """Language code, or ``all``."""
    answer_format: str | None
    """``letter``, ``number``, ``text`` or ``all``; None where it does not apply."""
    instruction_language: str | None
    """``en``, ``native`` or ``all``; None where it does not apply."""
    metric: str
    """One of ``evaluation.metrics``."""
    value: float
    stderr: float | None
    """Standard error of ``value``, facts (questions where no fact is told) being the independent
    draws, or None where it has none."""
    low: float | None = None
    """Lower end of the 95 % bootstrap interval."""
    high: float | None = None
    """Upper end of it."""
    n: int
    """Items (accuracies, shares), supervised tokens (losses) or bytes (bits per byte) behind
    it."""
