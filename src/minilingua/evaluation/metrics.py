"""Every metric of the evaluation: what it means, and which way is better."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric."""

    name: str
    label: str
    """For tables and plots."""
    better: Literal["higher", "lower"] | None
    """None: neither, such as chance."""
    is_per_token: bool = False
    """Its weight is a number of tokens: it compares nothing between two tokenizers."""


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        # Multiple choice. By likelihood: the mean log-likelihood per token decides.
        Metric(name="accuracy", label="accuracy", better="higher"),
        # The summed log-likelihood decides: long options are at a disadvantage.
        Metric(name="accuracy_unnormalized", label="accuracy, unnormalized", better="higher"),
        # What guessing would score: the mean of 1 / number of candidates.
        Metric(name="chance", label="chance", better=None),
        # Generated answers in which no candidate, or more than one, was found: counted as wrong.
        Metric(name="unparsable", label="unparsable answers", better="lower"),
        Metric(
            name="nats_per_supervised_token",
            label="loss (nats/token)",
            better="lower",
            is_per_token=True,
        ),
        # Comparable between models with other tokenizers.
        Metric(name="bits_per_byte", label="bits per byte", better="lower"),
        # Open answers: ended by the stop token before the limit.
        Metric(name="stop_rate", label="answers that stop", better="higher"),
        # Share of 4-grams of tokens that occurred before in the answer.
        Metric(name="repetition", label="repetition", better="lower"),
        # Of the answers whose language is clear, those in another than was asked in.
        Metric(name="wrong_language", label="wrong language", better="lower"),
        Metric(name="unclear_language", label="unclear language", better=None),
    )
}
