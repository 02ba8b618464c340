"""The figures that tell the most of two sides, as tables show them."""

from collections.abc import Sequence

from minilingua.evaluation.comparison import Comparison
from minilingua.evaluation.scores import ALL

_TOTALS: tuple[tuple[str, str, str, str | None], ...] = (  # label, task, metric, format
    ("text, all questions", "mcqa", "accuracy", "text"),
    ("text, facts seen in training", "mcqa_seen_facts", "accuracy", "text"),
    ("text, facts never seen", "mcqa_unseen_facts", "accuracy", "text"),
    ("text, without contaminated", "mcqa_uncontaminated", "accuracy", "text"),
    ("letter, all questions", "mcqa", "accuracy", "letter"),
    ("number, all questions", "mcqa", "accuracy", "number"),
    ("generated, text", "mcqa_generated", "accuracy", "text"),
    ("generated, letter", "mcqa_generated", "accuracy", "letter"),
    ("generated, number", "mcqa_generated", "accuracy", "number"),
    ("generated, unparsable", "mcqa_generated", "unparsable", ALL),
    ("loss", "loss", "nats_per_supervised_token", None),
    ("loss, prompts shuffled", "loss_shuffled_prompts", "nats_per_supervised_token", None),
    ("loss, unigram baseline", "unigram_loss", "nats_per_supervised_token", None),
    ("bits per byte", "loss", "bits_per_byte", None),
    ("open answers that stop", "answers", "stop_rate", None),
    ("open answers, repetition", "answers", "repetition", None),
    ("open answers, wrong language", "answers", "wrong_language", None),
)


def totals(comparisons: Sequence[Comparison]) -> list[tuple[str, Comparison]]:
    """Returns label and comparison of the figures over all languages, those that there are.

    Args:
        comparisons: of ``compare``.
    """
    index = {(c.task, c.metric, c.answer_format): c for c in comparisons if c.language == ALL}
    return [(label, index[key]) for label, *rest in _TOTALS if (key := tuple(rest)) in index]


def told_interval(found: Comparison) -> str:
    """Returns the interval of a difference for people; empty where there is none."""
    return "" if found.low is None else f"{found.low:+.3f}..{found.high:+.3f}"


def told_p(p: float) -> str:
    """Returns a p-value for people: never 0, which none is."""
    return "<0.001" if p < 0.0005 else f"{p:.3f}"  # what rounds to 0.000
