"""How large a training will be, told before there is any data: parameters, tokens, steps."""

from dataclasses import dataclass

from minilingua.llama_shapes import count_parameters
from minilingua.params import Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Totals of a data set before it is split."""

    conversations: int
    tokens: int


PUBLISHED = Corpus(conversations=1_367_005, tokens=216_805_767)
"""What the published training of MiniLingua-1b-Instruct was given, by its own token counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSize:
    """What a training amounts to."""

    parameters: int
    """Trained parameters."""
    tokens_per_step: int | None
    """Tokens of one optimizer step, prompts included; None: not known without the data."""
    steps: int | None
    """Optimizer steps of the whole schedule; None: not known without the data."""

    def explain(self) -> str:
        """Returns the size in a sentence."""
        parts = [f"{self.parameters:,} parameters"]
        if self.tokens_per_step is not None:
            parts.append(f"about {self.tokens_per_step:,} tokens a step")
        if self.steps is None:
            return f"{', '.join(parts)}; `dvc repro pack` tells the number of steps"
        return (
            f"{', '.join(parts)}, about {self.steps:,} steps if the data is as large as the "
            f"published run's ({PUBLISHED.conversations:,} conversations, "
            f"{PUBLISHED.tokens / 1e6:.1f} M tokens)"
        )


def estimate_run(params: Params) -> RunSize:
    """Returns the size of the training that ``params`` describe.

    The steps of real data are an estimate from the published run's totals: filters and newer
    revisions change them. Of generated data nothing is assumed.
    """
    parameters = count_parameters(params.model, params.tokenizer.vocab_size)
    pack, curate = params.pack, params.curate
    seen = pack.epochs * (1 - curate.validation - curate.test)
    is_real = params.sources.origin != "sample"
    if pack.global_batch_unit == "tokens":
        per_step = pack.global_batch // pack.sequence_length * pack.sequence_length
        steps = round(seen * PUBLISHED.tokens / per_step)
        return RunSize(
            parameters=parameters, tokens_per_step=per_step, steps=steps if is_real else None
        )
    if not is_real:
        return RunSize(parameters=parameters, tokens_per_step=None, steps=None)
    return RunSize(
        parameters=parameters,
        tokens_per_step=round(pack.global_batch * PUBLISHED.tokens / PUBLISHED.conversations),
        steps=round(seen * PUBLISHED.conversations / pack.global_batch),
    )
