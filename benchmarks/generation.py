"""Answers in batches of similar length against ``generate`` one by one, with the same tokens.

Both are greedy, of the same model with random weights, after prompts of the sample's test split,
and have to write the same tokens: where they do not, there is no result.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import begin, interleave, timed
from benchmarks.line import compose, line
from benchmarks.options import output_of, parser, repetitions_of
from benchmarks.results import Result, report, row

if TYPE_CHECKING:
    from minilingua.evaluation.generation import Prompt
    from minilingua.params import ModelParams

TARGET = 3.0
_LIMIT = 24


def read_prompts(root: Path, languages: Sequence[str], count: int) -> "list[Prompt]":
    """Returns prompts of the test split, ``count`` of each language."""
    from minilingua.core.tokens import open_token_file
    from minilingua.evaluation.generation import Prompt
    from minilingua.evaluation.losses import passages_of

    prompts = []
    for language in languages:
        passages = passages_of({language: open_token_file(root / "data/tokens/test" / language)})
        prompts += [
            Prompt(tokens=tuple(passage.prompt.tolist()), limit=_LIMIT)
            for passage in passages[:count]
        ]
    return prompts


def random_model(shape: "ModelParams", vocab_size: int) -> Any:
    """Returns a Llama with random weights."""
    import torch
    from transformers.models.llama import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.ffn_hidden_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.attention_heads,
            num_key_value_heads=shape.kv_groups,
            max_position_embeddings=shape.max_positions,
            tie_word_embeddings=shape.tied_embeddings,
            initializer_range=0.1,  # no draws between tokens
            pad_token_id=None,
        )
    ).eval()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    options = parser("generation", __doc__, repetitions=5).parse_args(argv)
    settings = begin(options.threads)

    import torch

    from minilingua.core.tokenizer_files import read_tokenizer_files
    from minilingua.evaluation.generation import generate
    from minilingua.evaluation.result_log import ResultLog

    torch.set_num_threads(settings["threads"])
    params = compose([f"experiment={'smoke' if options.short else 'sample'}"])
    with line(params, ready=options.line) as data:
        files = read_tokenizer_files(data.path / "models/tokenizer")
        root = data.path / "data/tokens/test"
        languages = [path.name for path in sorted(root.iterdir()) if path.is_dir()]
        prompts = read_prompts(data.path, languages, 2 if options.short else 8)
        model = random_model(params.model, files.vocab_size)
        end = files.special_token_ids().end_of_turn
        written: dict[str, Any] = {}

        def answer(side: str, batch_tokens: int) -> None:
            written[side] = generate(model, prompts, end, batch_tokens, side, ResultLog())

        timings = interleave(
            {
                "batched": timed(lambda: answer("batched", params.evaluate.batch_tokens)),
                "alone": timed(lambda: answer("alone", 1)),
            },
            repetitions=repetitions_of(options),
            label="generation",
        )
    same = sum(a == b for a, b in zip(written["batched"], written["alone"], strict=True))
    if same < 0.98 * len(prompts):  # a draw between two tokens may fall either way
        sys.exit(f"void: {same} of {len(prompts)} answers are the same")
    report(
        Result(
            benchmark="generation",
            claim="Answers in batches against one by one.",
            settings={**settings, "model": params.model.name, "tokens_per_answer": _LIMIT},
            checks={"prompts": len(prompts), "same_answers": same},
            rows=[
                row(
                    timings,
                    f"{params.model.name}, {len(prompts)} prompts",
                    "generate, one by one",
                    ours="batched",
                    theirs="alone",
                    target=TARGET,
                )
            ],
        ),
        output_of(options),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
