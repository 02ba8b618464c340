"""lm-eval on one model: a unit's tasks ─► what lm-eval scored ─► figures with standard errors.

The figures are lm-eval's. Tasks that it splits by subject are pooled over their questions. Its own
standard errors of corpus metrics come from unseeded processes, so they are left out there and are
made here: of means in closed form, of BLEU, chrF and TER by a seeded bootstrap.
"""

import contextlib
import io
import logging
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from minilingua.core.errors import MissingInputError, ParamsError
from minilingua.core.seeding import derive_integer, generator
from minilingua.evaluation.model import load_model, reproducible_arithmetic
from minilingua.evaluation.prompts import PromptEncoder

_RESAMPLES = 1000
_CORPUS_METRICS = ("bleu", "chrf", "ter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a unit."""

    metric: str
    value: float
    stderr: float | None
    n: int
    """Questions or texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a model made of a unit."""

    figures: list[Figure]
    versions: dict[str, str]
    """Name of a task in lm-eval ─► its version."""
    items: dict[str, list[float]]
    """Metric that is a mean ─► its value of each row, in the order of the rows by task."""
    answers: list[str]
    """What was generated, in the order of the rows; empty for likelihoods."""
    truncated: int
    """Prompts of which the model has seen the end only, being longer than its positions."""


def check_installed() -> None:
    """Checks that lm-eval is there.

    Raises:
        MissingInputError: it is not; the message says what installs it.
    """
    missing = [name for name in ("lm_eval", "accelerate", "rouge_score") if not find_spec(name)]
    if missing:
        raise MissingInputError(
            f"the package {missing[0]!r} is not installed: `make lm-eval` adds lm-eval and what it "
            "needs (pip install 'minilingua[lm-eval]')"
        )


def installed_versions() -> dict[str, str]:
    """Returns package ─► version, of those whose release changes figures."""
    names = ("lm_eval", "sacrebleu", "rouge_score", "transformers", "torch")
    return {name: version(name) for name in names}


class Model:
    """A model and its tokenizer as lm-eval sees them."""

    def __init__(
        self, path: Path, tokenizer: Path, made_by: str, *, batch_size: int, device: str
    ) -> None:
        """Loads it.

        Args:
            path: directory in Hugging Face layout.
            tokenizer: that of its tokenizer.
            made_by: the command that makes the model, for messages.
            batch_size: prompts of one forward call.
            device: ``cpu`` (fp32, the same bytes again) or ``cuda`` (bfloat16).

        Raises:
            MissingInputError: a file is missing.
            CheckpointError: not a Llama model, or its weights cannot be used.
            DataError: the tokenizer has no chat template.
            ParamsError: there is no such device.
        """
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            raise ParamsError("--device cuda: torch sees no GPU here")
        encoder = PromptEncoder(tokenizer)
        model = load_model(path, made_by, encoder.vocab_size)
        if device == "cuda":
            model = model.to(device=device, dtype=torch.bfloat16)
        with quiet():
            from lm_eval.models.huggingface import HFLM

            self.lm: Any = HFLM(
                pretrained=model, tokenizer=encoder.tokenizer, batch_size=batch_size
            )
        self._is_exact = device == "cpu"

    def run(
        self, tasks: Sequence[Any], *, shots: int, limit: int | None, is_chat: bool, seed: int
    ) -> Outcome:
        """Runs lm-eval.

        Args:
            tasks: of ``load_tasks``.
            shots: worked examples in front of each question.
            limit: questions a task at most.
            is_chat: ask through the chat template.
            seed: root seed of resamples, and of examples where a task draws them.
        """
        from lm_eval.evaluator import evaluate

        for task in tasks:
            task.set_config(key="num_fewshot", value=shots)
            task.set_fewshot_seed(seed=derive_integer(seed, "lm-eval", task.task_name) % (1 << 32))
            self._check_room(task)
        arithmetic = reproducible_arithmetic() if self._is_exact else contextlib.nullcontext()
        with quiet(), arithmetic:
            found = evaluate(
                self.lm,
                {"tasks": {task.task_name: task for task in tasks}},
                limit=limit,
                bootstrap_iters=0,
                log_samples=True,
                apply_chat_template=is_chat,
                fewshot_as_multiturn=is_chat,
            )
        assert found is not None  # None is for the other ranks of a distributed run
        samples: Mapping[str, list[dict[str, Any]]] = found["samples"]
        items = _items(tasks, samples)
        figures = [_mean(metric, values) for metric, values in items.items()]
        figures += _corpus_figures(tasks, found["results"], samples, seed)
        return Outcome(
            figures=sorted(figures, key=lambda figure: figure.metric),
            items=items,
            versions={task.task_name: str(task.VERSION) for task in tasks},
            answers=[
                sample["filtered_resps"][0]
                for task in tasks
                if task.OUTPUT_TYPE == "generate_until"
                for sample in samples[task.task_name]
            ],
            truncated=sum(self._truncated(task, samples[task.task_name]) for task in tasks),
        )

    def _check_room(self, task: Any) -> None:
        tokens = _generated_tokens(self.lm, task)
        if tokens >= self.lm.max_length:
            raise ParamsError(
                f"{task.task_name} generates up to {tokens} tokens, but the model has "
                f"{self.lm.max_length} positions for prompt and answer together"
            )

    def _truncated(self, task: Any, samples: Sequence[Mapping[str, Any]]) -> int:
        """Returns how many prompts lm-eval has cut at their beginning."""
        room = self.lm.max_length - _generated_tokens(self.lm, task)
        cut = 0
        for sample in samples:
            context, continuation = sample["arguments"][0][:2]
            is_scored = isinstance(continuation, str)  # otherwise it says how to generate
            text = context + continuation if is_scored else context
            # The last token of a scored continuation is predicted, never read.
            cut += len(self.lm.tok_encode(text)) > room + is_scored
        return cut


def _generated_tokens(lm: Any, task: Any) -> int:
    if task.OUTPUT_TYPE != "generate_until":
        return 0
    tokens: int = task.config.generation_kwargs.get("max_gen_toks", lm.max_gen_toks)
    return tokens


def _items(
    tasks: Sequence[Any], samples: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[float]]:
    pooled: defaultdict[str, list[float]] = defaultdict(list)
    for task in tasks:
        of_task = sorted(samples[task.task_name], key=lambda sample: int(sample["doc_id"]))
        for metric in task.aggregation():
            if metric not in _CORPUS_METRICS:
                pooled[metric] += [float(sample[metric]) for sample in of_task]
        if task.OUTPUT_TYPE == "multiple_choice":
            pooled["chance"] += [1 / len(sample["arguments"]) for sample in of_task]
    return dict(pooled)


def _corpus_figures(
    tasks: Sequence[Any],
    results: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    seed: int,
) -> list[Figure]:
    figures = []
    for task in tasks:
        for metric in (name for name in task.aggregation() if name in _CORPUS_METRICS):
            pairs = [sample[metric] for sample in samples[task.task_name]]
            figures.append(
                Figure(
                    metric=metric,
                    value=float(results[task.task_name][f"{metric},none"]),
                    stderr=corpus_stderr(metric, pairs, seed),
                    n=len(pairs),
                )
            )
    return figures


def _mean(metric: str, values: Sequence[float]) -> Figure:
    from lm_eval.api.metrics import mean, mean_stderr

    has_error = metric != "chance" and len(values) > 1
    return Figure(
        metric=metric,
        value=float(mean(values)),
        stderr=float(mean_stderr(values)) if has_error else None,
        n=len(values),
    )


def corpus_stderr(metric: str, pairs: Sequence[tuple[str, str]], seed: int) -> float | None:
    """Returns the bootstrap standard error of BLEU, chrF or TER, or None of a single pair.

    sacrebleu's own bootstrap fails where some resamples score 0, so only its statistics are used:
    those of a corpus are the sum of those of its sentences.

    Args:
        metric: ``bleu``, ``chrf`` or ``ter``.
        pairs: reference and answer of each sentence, as lm-eval collects them.
        seed: root seed of the resamples; the same for every model.
    """
    import numpy as np
    from sacrebleu.metrics import BLEU, CHRF, TER

    if len(pairs) < 2:
        return None
    scorer = {"bleu": BLEU, "chrf": CHRF, "ter": TER}[metric]()
    references, answers = zip(*pairs, strict=True)
    statistics = np.array(
        scorer._extract_corpus_statistics(list(answers), [list(references)]), dtype=np.int64
    )
    draws = generator(seed, "lm-eval", "bootstrap", metric).multinomial(
        len(pairs), np.full(len(pairs), 1 / len(pairs)), size=_RESAMPLES
    )
    scores = [scorer._compute_score_from_stats(row).score for row in (draws @ statistics).tolist()]
    return float(np.std(scores, ddof=1))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Shows the libraries' own bars on a terminal only, and of their messages only errors."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "transformers", "sacrebleu")]
    levels = [logger.level for logger in loggers]
    stderr = (
        contextlib.nullcontext()
        if sys.stderr.isatty()
        else contextlib.redirect_stderr(io.StringIO())
    )
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with stderr:
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
