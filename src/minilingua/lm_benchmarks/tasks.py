"""Units of work as tasks of lm-eval.

belebele, global_mmlu   lm-eval's own tasks; only where the rows come from is replaced
mmlux                   lm-eval's own ``mmlu_<subject>``, on the translated rows
sib200, flores          ours: lm-eval has SIB-200 for African languages only, and FLORES for few
                        of our pairs, whose definition (prompt, metrics) is the one used here
<name>_chat             ours: asked through the chat template, answers read as everywhere here
"""

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError, did_you_mean
from minilingua.core.languages import LANGUAGES
from minilingua.core.records import AnswerFormat
from minilingua.evaluation.answers import extract
from minilingua.lm_benchmarks.benchmarks import TOPICS, Splits
from minilingua.lm_benchmarks.mirror import Row, names_of
from minilingua.lm_benchmarks.prompts import chat_rows
from minilingua.lm_benchmarks.units import Unit
from minilingua.mcqa.render import LABELS

_ANSWER_TOKENS = 48
_TRANSLATION_TOKENS = 200
_SUMMARY_TOKENS = 256


def load_tasks(unit: Unit, splits: Splits) -> list[Any]:
    """Returns the tasks of lm-eval that a unit consists of: one, or one a subject.

    Args:
        unit: what to build.
        splits: the rows, as ``Benchmark.load`` returns them.

    Raises:
        DataError: rows name a subject that lm-eval's task does not know.
    """
    if unit.task.is_chat:
        return [_built(_chat_config(unit, splits))]
    names = names_of(unit.language)
    match unit.task.name:
        case "belebele":
            name = f"belebele_{names['flores']}"
            return _overridden("belebele", [{"task": name, "custom_dataset": _dataset(splits)}])
        case "global_mmlu":
            group = f"global_mmlu_full_{names['code']}"
            folder = f"global_mmlu/full/{names['code']}"
            return _of_subjects(folder, f"{group}_", splits)
        case "mmlux":
            return _of_subjects("mmlu/default", "mmlu_", splits)
        case "sib200":
            return [_built(_sib200_config(unit, splits))]
        case "flores":
            return [_built(_flores_config(unit, splits))]
    raise AssertionError(unit.task.name)


def _of_subjects(folder: str, prefix: str, splits: Splits) -> list[Any]:
    known = {name.removeprefix(prefix) for name in _manager(folder).all_subtasks}
    subjects = sorted({row["subject"] for row in splits["test"]})
    for subject in subjects:
        if subject not in known:
            raise DataError(
                f"subject {subject!r} is none of lm-eval's {prefix}*{did_you_mean(subject, known)}"
            )
    members = []
    for subject in subjects:
        rows = {
            split: [row for row in rows if row["subject"] == subject]
            for split, rows in splits.items()
        }
        members.append({"task": f"{prefix}{subject}", "custom_dataset": _dataset(rows)})
    return _overridden(folder, members)


def _overridden(folder: str, members: Sequence[dict[str, Any]]) -> list[Any]:
    """Returns lm-eval's own tasks, with what ``members`` says replaced."""
    loaded = _manager(folder).load({"group": "minilingua", "task": list(members)})
    return list(loaded["tasks"].values())


@functools.cache
def _manager(folder: str) -> Any:
    """Returns an index of one folder of lm-eval's tasks; that of all takes ten seconds."""
    import lm_eval.tasks

    root = Path(lm_eval.tasks.__file__).parent
    return lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(root / folder))


def _built(config: dict[str, Any]) -> Any:
    from lm_eval.api.task import ConfigurableTask

    return ConfigurableTask(config=config)


def _dataset(splits: Splits) -> Callable[..., Any]:
    """Returns what lm-eval calls for the rows in place of ``datasets.load_dataset``."""

    def load(**_: Any) -> Any:
        from datasets import Dataset, DatasetDict

        return DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()})

    return load


def _sib200_config(unit: Unit, splits: Splits) -> dict[str, Any]:
    letters = list(LABELS["letter"][: len(TOPICS)])
    options = "\n".join(f"{letter}. {topic}" for letter, topic in zip(letters, TOPICS, strict=True))
    rows = {
        split: [{"text": row["text"], "answer": TOPICS.index(row["category"])} for row in of_split]
        for split, of_split in splits.items()
    }
    return {
        "task": f"sib200_{names_of(unit.language)['flores']}",
        "custom_dataset": _dataset(rows),
        "test_split": "test",
        "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"},
        "output_type": "multiple_choice",
        "doc_to_text": f"Text: {{{{text}}}}\nTopics:\n{options}\nAnswer:",
        "doc_to_choice": letters,
        "doc_to_target": "answer",
        "metric_list": [_metric("acc", "mean")],
        "metadata": {"version": 1.0},
    }


def _flores_config(unit: Unit, splits: Splits) -> dict[str, Any]:
    target = names_of(unit.language)["flores"]
    return {
        "task": f"flores_en-{unit.language}",
        "custom_dataset": _dataset(splits),
        "test_split": "devtest",
        "fewshot_split": "dev",
        "output_type": "generate_until",
        "doc_to_text": "English sentence: {{sentence_eng_Latn}}\n"
        f"{LANGUAGES[unit.language].english_name} sentence:",
        "doc_to_target": f"{{{{sentence_{target}}}}}",
        "target_delimiter": "",
        "generation_kwargs": {"until": ["\n"]},
        "metric_list": _TRANSLATION_METRICS,
        "metadata": {"version": 1.0},
    }


def _metric(name: str, aggregation: str, *, higher_is_better: bool = True) -> dict[str, Any]:
    return {"metric": name, "aggregation": aggregation, "higher_is_better": higher_is_better}


_TRANSLATION_METRICS = [
    _metric("bleu", "bleu"),
    _metric("ter", "ter", higher_is_better=False),
    _metric("chrf", "chrf"),
]


def _chat_config(unit: Unit, splits: Splits) -> dict[str, Any]:
    instruction = "en" if unit.instruction_language == "en" else unit.language
    benchmark = unit.task.benchmark
    rows = splits["dev" if benchmark == "flores" else "test"]  # as the reference chose
    asked = chat_rows(benchmark, rows, unit.language, unit.answer_format, instruction)
    config: dict[str, Any] = {
        "task": unit.label.replace(" ", "_"),
        "custom_dataset": _dataset({"test": asked}),
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "reference",
        "metadata": {"version": 1.0},
    }
    if unit.answer_format is not None:
        names = (("acc", True), ("unparsable", False), ("chance", True))
        config |= {
            "doc_to_target": "answer",
            "process_results": functools.partial(_read_answer, unit.answer_format),
            "metric_list": [_metric(name, "mean", higher_is_better=up) for name, up in names],
            "generation_kwargs": _greedy(_ANSWER_TOKENS),
        }
    elif benchmark == "flores":
        config |= {
            "metric_list": _TRANSLATION_METRICS,
            "generation_kwargs": _greedy(_TRANSLATION_TOKENS),
        }
    else:
        config |= {
            "process_results": _score_summary,
            "metric_list": [_metric(name, "mean") for name in ("rouge2", "rouge2_ascii")],
            "generation_kwargs": _greedy(_SUMMARY_TOKENS),
        }
    return config


def _greedy(tokens: int) -> dict[str, Any]:
    return {"until": [], "do_sample": False, "max_gen_toks": tokens}


def _read_answer(answer_format: AnswerFormat, row: Row, answers: Sequence[str]) -> dict[str, float]:
    found = extract(answer_format, answers[0], row["candidates"], row["options"])
    return {
        "acc": float(found == row["answer"]),
        "unparsable": float(found is None),
        "chance": 1 / len(row["options"]),
    }


def _score_summary(row: Row, answers: Sequence[str]) -> dict[str, float]:
    """ROUGE-2 (F1) over words, and as the package rouge_score splits words: a-z and 0-9 only.

    Published figures are of the second kind, which is 0 for texts in Greek or Cyrillic letters.
    """
    pair = (row["reference"], answers[0])
    return {
        "rouge2": _rouge(words=True).score(*pair)["rouge2"].fmeasure,
        "rouge2_ascii": _rouge(words=False).score(*pair)["rouge2"].fmeasure,
    }


@functools.cache
def _rouge(*, words: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge2"], tokenizer=_Words() if words else None)


class _Words:
    """Words of any script in lower case, for ``RougeScorer``."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", text.casefold())
