"""Units as tasks of lm-eval: what is kept of its own definitions, and how answers are scored."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minilingua.core.errors import DataError, ParamsError
from minilingua.lm_benchmarks.benchmarks import BENCHMARKS
from minilingua.lm_benchmarks.tasks import load_tasks
from minilingua.lm_benchmarks.units import TASKS, Unit, find_task, units_of

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed here: `make lm-eval`")

from lm_eval.api.model import LM  # noqa: E402 - it may be missing
from lm_eval.tasks import TaskManager  # noqa: E402 - as above

from minilingua.lm_benchmarks.harness import Model, corpus_stderr, quiet  # noqa: E402 - as above

LM_EVAL_TASKS = Path(lm_eval.__file__).parent / "tasks"


def _unit(task: str, language: str, **changes: Any) -> Unit:
    (unit, *_) = [
        unit
        for unit in units_of([TASKS[task]], [language])
        if all(getattr(unit, name) == value for name, value in changes.items())
    ]
    return unit


def _tasks(unit: Unit, mirror: Path) -> list[Any]:
    with quiet():
        return load_tasks(unit, BENCHMARKS[unit.task.benchmark].load(mirror, unit.language))


def test_the_units_of_a_run() -> None:
    labels = [
        unit.label for unit in units_of([TASKS["belebele"], TASKS["mmlux_chat"]], ["en", "fi"])
    ]
    assert labels == [
        "belebele en letter",
        "belebele fi letter",
        "mmlux_chat fi letter en",
        "mmlux_chat fi letter native",
        "mmlux_chat fi number en",
        "mmlux_chat fi number native",
    ]
    english = units_of([TASKS["sib200_chat"]], ["en"])
    assert [unit.instruction_language for unit in english] == ["en", "en"]


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ParamsError, match=r"'belebel' \(did you mean 'belebele'\?\); known: bel"):
        find_task("belebel")


def test_belebele_is_that_of_lm_eval_with_other_rows(mirror: Path) -> None:
    (ours,) = _tasks(_unit("belebele", "fi"), mirror)
    index = TaskManager(include_defaults=False, include_path=str(LM_EVAL_TASKS / "belebele"))
    path = index.task_index["belebele_fin_Latn"].yaml_path
    assert path is not None
    assert path.name == "belebele_fin_Latn.yaml"
    template = (path.parent / "_default_template_yaml").read_text()
    assert f"doc_to_text: {_quoted(ours.config.doc_to_text)}" in template
    assert [metric["metric"] for metric in ours.config.metric_list] == ["acc", "acc_norm"]
    doc = ours.eval_docs[2]
    assert ours.doc_to_text(doc) == (
        "P: The ferry number 2 leaves the harbour at noon.\nQ: When does ferry 2 leave?\n"
        "A: at dawn\nB: at noon\nC: at dusk\nD: at night\nAnswer:"
    )
    assert ours.doc_to_target(doc) == 2


def _quoted(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


def test_mmlu_is_that_of_lm_eval_by_subject(mirror: Path) -> None:
    tasks = _tasks(_unit("mmlux", "fi"), mirror)
    assert [task.task_name for task in tasks] == ["mmlu_anatomy", "mmlu_philosophy"]
    assert tasks[0].config.description.strip() == (
        "The following are multiple choice questions (with answers) about anatomy."
    )
    assert {doc["subject"] for doc in tasks[1].eval_docs} == {"philosophy"}
    (german,) = _tasks(_unit("global_mmlu", "de"), mirror)
    assert german.task_name == "global_mmlu_full_de_anatomy"
    assert len(list(german.eval_docs)) == 5


def test_an_unknown_subject_is_named(mirror: Path) -> None:
    splits = BENCHMARKS["mmlux"].load(mirror, "fi")
    splits["test"][0]["subject"] = "anatomi"
    with pytest.raises(DataError, match=r"'anatomi' is none of lm-eval's mmlu_\*.*'anatomy'"):
        load_tasks(_unit("mmlux", "fi"), splits)


def test_flores_is_defined_as_lm_eval_defines_its_pairs() -> None:
    rows = [{"sentence_eng_Latn": "Boats.", "sentence_spa_Latn": "Barcos."}]
    with quiet():
        (ours,) = load_tasks(_unit("flores", "es"), {"dev": rows, "devtest": rows})
        folder = LM_EVAL_TASKS / "spanish_bench/flores_es"
        index = TaskManager(include_defaults=False, include_path=str(folder))
        name = "spanish_bench_flores_en-es"
        given = {"task": name, "custom_dataset": ours.config.custom_dataset}
        theirs = index.load({"group": "pair", "task": [given]})["tasks"][name]
    for task in (ours, theirs):
        assert task.doc_to_text(rows[0]) == "English sentence: Boats.\nSpanish sentence:"
        assert task.doc_to_target(rows[0]) == "Barcos."
    for field in ("generation_kwargs", "metric_list", "target_delimiter", "test_split"):
        assert getattr(ours.config, field) == getattr(theirs.config, field)


class Knowing(LM):  # type: ignore[misc]  # lm-eval is untyped
    """Reads the passage's number out of the prompt, and answers with the label that stands there.

    The right option of question n of the mirror is n modulo 4; every fourth answer is "perhaps".
    """

    max_length, max_gen_toks, tokenizer_name = 1000, 256, "none"

    def __init__(self, *, letters: bool) -> None:
        super().__init__()
        self.labels = "ABCD" if letters else "1234"

    def generate_until(self, requests: Sequence[Any], **_: Any) -> list[str]:
        numbers = [int(re.findall(r"ferry (\d+)", request.args[0])[0]) for request in requests]
        return ["perhaps" if n == 3 else f"({self.labels[n % 4]})." for n in numbers]

    def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> str:
        assert add_generation_prompt
        (turn,) = chat_history
        assert turn["role"] == "user"
        content: str = turn["content"]
        return content

    def tok_encode(self, text: str) -> list[str]:
        return list(text)[:1001]

    loglikelihood = loglikelihood_rolling = generate_until


@pytest.mark.parametrize("answer_format", ["letter", "number"])
@pytest.mark.parametrize("instruction", ["en", "native"])
def test_answers_through_the_chat_template(
    mirror: Path, answer_format: str, instruction: str
) -> None:
    unit = _unit(
        "belebele_chat", "fi", answer_format=answer_format, instruction_language=instruction
    )
    model = object.__new__(Model)
    model.lm = Knowing(letters=answer_format == "letter")
    model._is_exact = True
    outcome = model.run(_tasks(unit, mirror), shots=0, limit=None, is_chat=True, seed=1)
    figures = {figure.metric: (figure.value, figure.n) for figure in outcome.figures}
    assert figures == {"acc": (6 / 7, 7), "unparsable": (1 / 7, 7), "chance": (0.25, 7)}
    errors = {figure.metric: figure.stderr for figure in outcome.figures}
    assert errors["acc"] == pytest.approx(1 / 7)  # sqrt(6/7 * 1/7 * 7/6 / 7)
    assert errors["chance"] is None
    assert outcome.truncated == 0


def test_summaries_are_scored_in_every_script() -> None:
    rows = {
        "test": [{"language": "bul", "text": "Лодките плават.", "summary": "Лодките плават днес."}]
    }
    with quiet():
        (task,) = load_tasks(_unit("massivesum_chat", "bg"), rows)
    doc = task.eval_docs[0]
    assert task.process_results(doc, ["лодките плават днес"]) == {
        "rouge2": 1.0,
        "rouge2_ascii": 0.0,
    }
    half = task.process_results(doc, ["Лодките плават утре."])["rouge2"]
    assert half == pytest.approx(0.5)


@pytest.mark.parametrize("metric", ["bleu", "chrf", "ter"])
def test_errors_of_corpus_metrics_are_those_of_resampled_corpora(metric: str) -> None:
    import sacrebleu

    words = ["boat", "harbour", "noon", "ferry", "island", "wind", "sail", "rope"]
    rng = np.random.default_rng(7)
    # One answer is right: resamples without it share no word with the references.
    references = [" ".join(rng.choice(words, 6)) for _ in range(4)]
    pairs = [(text, text if n < 1 else "nothing of it") for n, text in enumerate(references)]
    function = {
        "bleu": sacrebleu.corpus_bleu,
        "chrf": sacrebleu.corpus_chrf,
        "ter": sacrebleu.corpus_ter,
    }[metric]
    scores = []
    for _ in range(300):
        drawn = [pairs[n] for n in rng.integers(0, 4, 4)]
        scores.append(function([pair[1] for pair in drawn], [[pair[0] for pair in drawn]]).score)
    found = corpus_stderr(metric, pairs, seed=1)
    assert found == pytest.approx(float(np.std(scores)), rel=0.2)
    assert corpus_stderr(metric, pairs, seed=1) == found
    assert corpus_stderr(metric, pairs[:1], seed=1) is None
