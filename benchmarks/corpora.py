"""The conversations that tokenization is measured on, in directories that the stages can run in.

sample   what the sample's generator gives when asked for more: about 48,000 conversations
long     the same joined by six, so that they are as long as those of the real sets: prompts to
         one prompt, answers to one answer; each begins two after the one before it
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from minilingua.core.files import read_jsonl, write_jsonl
from minilingua.core.records import SPLITS, Conversation, Message
from minilingua.core.seeding import content_id

CONVERSATIONS = Path("data/conversations")
TOKENIZER = Path("models/tokenizer")
JOINED = {"sample": 1, "long": 6}
"""Corpus ─► conversations that become one: 256 of the real sets hold about 41,000 tokens, 256 of
the sample about a sixth."""
_STRIDE = 2
"""Joined conversations overlap, for there to be enough of them: what is done once, such as drawing
the mixture, is not what is measured. Every side tokenizes the same texts."""

FULL = (
    "experiment=sample",
    "sources.sample.facts=500",
    "sources.sample.instruction_rows=6400",
    "sources.sample.mcqa_rows=3200",
    "sources.sample.code_rows=4800",
    "pack.epochs=1.0",
)
SHORT = ("experiment=smoke", "pack.epochs=1.0")
STAGES = ("fetch", "mcqa", "curate", "tokenizer")


def read_corpus(directory: Path) -> list[Conversation]:
    """Returns all conversations of a directory, split by split."""
    return [
        conversation
        for file in _files(directory)
        for conversation in read_jsonl(file, Conversation)
    ]


def copy_corpus(source: Path, target: Path, *, joined: int = 1) -> None:
    """Makes a directory with the tokenizer and the conversations of a line.

    Args:
        source: where the stages have run.
        target: what to make.
        joined: how many conversations in a row become one.
    """
    shutil.copytree(source / TOKENIZER, target / TOKENIZER)
    for file in _files(source):
        rows = list(read_jsonl(file, Conversation))
        write_jsonl(
            target / file.relative_to(source),
            (
                _joined(rows[begin : begin + joined])
                for begin in range(0, len(rows), 1 if joined == 1 else _STRIDE)
            ),
        )


def _files(directory: Path) -> list[Path]:
    return [
        file
        for split in SPLITS
        for file in sorted((directory / CONVERSATIONS / split).glob("*.jsonl"))
    ]


def _joined(parts: Sequence[Conversation]) -> Conversation:
    if len(parts) == 1:
        return parts[0]
    messages = tuple(
        Message(
            role=role,
            content="\n\n".join(
                message.content
                for part in parts
                for message in part.messages
                if message.role == role
            ),
        )
        for role in ("user", "assistant")
    )
    identity = content_id("".join(part.id for part in parts))
    return Conversation(
        id=identity,
        key=identity,
        source=parts[0].source,
        language=parts[0].language,
        task="instruction",
        messages=messages,
    )
