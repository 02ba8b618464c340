"""Losses on the test split, in nats per supervised token, and in bits per byte of text.

``loss``                      what training minimises, on conversations that it never saw
``loss_shuffled_prompts``     the same answers, each after another conversation's prompt: how much
                              worse it is, the answers depend on what was asked
``unigram_loss``              a baseline that knows nothing but how often each token is an answer
                              token in the training split (add-one smoothing)

Bits per byte compare models with different tokenizers: the loss of the answers' text, without the
ends of turns, over its bytes in UTF-8. A loss is a ratio of sums over conversations.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minilingua.core.records import Conversation, ItemResult, ModelName, Split
from minilingua.core.seeding import generator
from minilingua.core.tokens import TokenFile, open_token_file
from minilingua.evaluation.model import Request
from minilingua.evaluation.prompts import PromptEncoder

TOKENS = Path("data/tokens")
METRIC = "nats_per_supervised_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A conversation cut where its first supervised token begins."""

    id: str
    """The conversation's id."""
    language: str
    fact: str | None = None
    """What is asked, in whatever wording or language; None where the source does not tell."""
    prompt: npt.NDArray[np.int64]
    """[p] token ids, at least one: the first token of all is given, not predicted."""
    answer: npt.NDArray[np.int64]
    """[a] token ids from the first supervised one on; later user turns are among them."""
    mask: npt.NDArray[np.bool_]
    """[a] True where ``answer`` is supervised."""

    @property
    def supervised(self) -> int:
        """Number of supervised tokens."""
        return int(self.mask.sum())

    @property
    def length(self) -> int:
        """Number of tokens, p + a."""
        return len(self.prompt) + len(self.answer)


def open_split(split: Split, languages: Iterable[str]) -> dict[str, TokenFile]:
    """Memory-maps the token files of a split.

    Raises:
        MissingInputError: a language has none.
        DataError: a file is damaged.
    """
    return {language: open_token_file(TOKENS / split / language) for language in languages}


def passages_of(
    files: Mapping[str, TokenFile], facts: Mapping[str, str | None] | None = None
) -> list[Passage]:
    """Returns the conversations that have supervised tokens, in the order of the files.

    Args:
        files: by language.
        facts: id of a conversation ─► its fact, where that is known.
    """
    facts = facts or {}
    passages = []
    for language, file in files.items():
        for row in range(len(file)):
            conversation = file[row]
            targets = np.flatnonzero(conversation.loss_mask[1:]) + 1
            if len(targets) == 0:
                continue
            cut = int(targets[0])
            tokens = conversation.tokens.astype(np.int64)
            passages.append(
                Passage(
                    id=conversation.id,
                    language=language,
                    fact=facts.get(conversation.id),
                    prompt=tokens[:cut],
                    answer=tokens[cut:],
                    mask=conversation.loss_mask[cut:] != 0,
                )
            )
    return passages


def with_shuffled_prompts(passages: Sequence[Passage], seed: int) -> list[Passage]:
    """Returns the answers of each language, every one after another one's prompt.

    A language with a single passage has no other prompt and is left out.

    Args:
        passages: in any order; those of a language stay in theirs.
        seed: root seed.
    """
    by_language: dict[str, list[Passage]] = {}
    for passage in passages:
        by_language.setdefault(passage.language, []).append(passage)
    shuffled = []
    for language, members in by_language.items():
        if len(members) > 1:
            rng = generator(seed, "evaluate", "shuffled_prompts", language)
            shuffled += [
                replace(passage, prompt=members[other].prompt)
                for passage, other in zip(members, derangement(len(members), rng), strict=True)
            ]
    return shuffled


def derangement(n: int, rng: np.random.Generator) -> list[int]:
    """Returns a permutation of range(n) that leaves nothing in its place, n > 1.

    Sattolo's algorithm: a uniformly random cycle through all of them.
    """
    order = list(range(n))
    for last in range(n - 1, 0, -1):
        other = int(rng.integers(last))
        order[last], order[other] = order[other], order[last]
    return order


def requests_of(passages: Iterable[Passage]) -> list[Request]:
    """Returns prompt and answer of each passage for scoring."""
    return [
        Request(prefix=tuple(p.prompt.tolist()), branches=(tuple(p.answer.tolist()),))
        for p in passages
    ]


def model_nats(
    passages: Sequence[Passage], likelihoods: Sequence[Sequence[npt.NDArray[np.float64]]]
) -> npt.NDArray[np.float64]:
    """Returns the summed loss [n] over each passage's supervised tokens.

    Args:
        passages: [n].
        likelihoods: [n][1][a] log-likelihoods of the answers' tokens, nats.
    """
    return np.array(
        [-values[p.mask].sum() for p, (values,) in zip(passages, likelihoods, strict=True)]
    )


def unigram_nats(
    training: Iterable[TokenFile], passages: Sequence[Passage], vocab_size: int
) -> npt.NDArray[np.float64]:
    """Returns the summed loss [n] of the add-one-smoothed unigram over supervised tokens."""
    counts = np.ones(vocab_size, dtype=np.int64)
    for file in training:
        supervised = file.tokens[np.flatnonzero(file.loss_mask)]
        counts += np.bincount(supervised, minlength=vocab_size)
    nats = math.log(int(counts.sum())) - np.log(counts)
    return np.array([nats[p.answer[p.mask]].sum() for p in passages])


def text_bytes(conversations: Iterable[Conversation], encoder: PromptEncoder) -> dict[str, int]:
    """Returns id ─► bytes (UTF-8) of what the assistant says."""
    found = {}
    for conversation in conversations:
        stripped = encoder.stripped([message.role for message in conversation.messages])
        said = [
            message.content.strip() if number in stripped else message.content
            for number, message in enumerate(conversation.messages)
            if message.role == "assistant"
        ]
        found[conversation.id] = sum(len(text.encode()) for text in said)
    return found


def loss_items(
    model: ModelName,
    task: str,
    passages: Sequence[Passage],
    nats: npt.NDArray[np.float64],
    content: Mapping[str, tuple[float, int]] | None = None,
) -> list[ItemResult]:
    """Returns the loss of each passage.

    Args:
        model: whose losses they are.
        task: as in ``Score``.
        passages: [n].
        nats: [n] summed over supervised tokens.
        content: id ─► nats without those of the ends of turns, and bytes; None: no bits per byte.
    """
    results = []
    for passage, total in zip(passages, nats.tolist(), strict=True):
        values = {METRIC: (total, float(passage.supervised))}
        if content is not None and content[passage.id][1]:
            of_text, size = content[passage.id]
            values["bits_per_byte"] = (of_text / math.log(2), float(size))
        results.append(
            ItemResult(
                model=model,
                task=task,
                item=passage.id,
                language=passage.language,
                answer_format=None,
                instruction_language=None,
                subsets=(),
                values=values,
                fact=passage.fact,
            )
        )
    return results


def content_nats(
    passages: Sequence[Passage],
    likelihoods: Sequence[Sequence[npt.NDArray[np.float64]]],
    end_of_turn: int,
) -> npt.NDArray[np.float64]:
    """Returns the summed loss [n] over supervised tokens but the ends of turns, which are no text.

    Args:
        passages: [n].
        likelihoods: [n][1][a] log-likelihoods of the answers' tokens, nats.
        end_of_turn: id of the token that ends an assistant's turn.
    """
    return np.array(
        [
            -values[p.mask & (p.answer != end_of_turn)].sum()
            for p, (values,) in zip(passages, likelihoods, strict=True)
        ]
    )
