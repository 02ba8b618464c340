"""What is longer than the models' positions, which training never saw, is left out and counted.

Of a training's own rows ``pack`` drops those that are longer than a pack; the test split is scored
from its tokens, where all of them are.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from minilingua.core.errors import CheckpointError, DataError
from minilingua.core.files import read_json
from minilingua.evaluation.generation import Prompt
from minilingua.evaluation.losses import TOKENS, Passage
from minilingua.evaluation.open_answers import OpenPrompt


def positions_of(models: Iterable[tuple[Path, str]]) -> int:
    """Returns how many tokens all models can take.

    Args:
        models: directories, and the commands that make them.

    Raises:
        MissingInputError: one is missing.
        CheckpointError: a config.json does not say it.
    """
    found = []
    for path, made_by in models:
        value = read_json(path / "config.json", made_by).get("max_position_embeddings")
        if not isinstance(value, int) or value < 1:
            raise CheckpointError(
                f"{path / 'config.json'}: max_position_embeddings is {value!r}, expected an integer"
            )
        found.append(value)
    return min(found)


def fitting_passages(passages: Sequence[Passage], positions: int) -> list[Passage]:
    """Returns the conversations that fit; how many do not is told.

    Raises:
        DataError: none fits.
    """
    kept = [passage for passage in passages if passage.length <= positions]
    if not kept:
        raise DataError(
            f"{TOKENS / 'test'}: each of its {len(passages)} conversations is longer than the "
            f"models' {positions} positions; tokenize.truncate_to cuts them"
        )
    if len(kept) < len(passages):
        _tell(
            f"{len(passages) - len(kept)} of {len(passages)} conversations of test are longer than "
            f"the models' {positions} positions: no loss of them is taken"
        )
    return kept


def fitting_prompts(
    open_prompts: Sequence[OpenPrompt], prompts: Sequence[Prompt], positions: int
) -> tuple[list[OpenPrompt], list[Prompt]]:
    """Returns the open prompts that leave room for an answer; how many do not is told.

    Args:
        open_prompts: [n].
        prompts: [n] the same as token ids.
        positions: of the models.
    """
    kept = [
        (item, prompt)
        for item, prompt in zip(open_prompts, prompts, strict=True)
        if len(prompt.tokens) + prompt.limit <= positions
    ]
    if len(kept) < len(prompts):
        _tell(
            f"{len(prompts) - len(kept)} of {len(prompts)} open prompts leave no room for "
            f"evaluate.max_new_tokens within the models' {positions} positions: they are not asked"
        )
    return [item for item, _ in kept], [prompt for _, prompt in kept]


def _tell(what: str) -> None:
    print(f"evaluate: {what}", file=sys.stderr)  # noqa: T201 - a message of the stage
