"""The tasks that can be asked for, and the units of work that they come to."""

from collections.abc import Sequence
from dataclasses import dataclass

from minilingua.core.errors import ParamsError, did_you_mean
from minilingua.core.records import AnswerFormat
from minilingua.lm_benchmarks.benchmarks import languages_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What ``--task`` names."""

    name: str
    benchmark: str
    summary: str
    shots: int
    """Worked examples in front of a question, unless ``--shots`` says otherwise."""
    is_chat: bool = False
    answer_formats: tuple[AnswerFormat | None, ...] = (None,)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(name="belebele", benchmark="belebele", shots=0, answer_formats=("letter",),
             summary="reading, by likelihood of the letters (lm-eval's belebele)"),
        Task(name="sib200", benchmark="sib200", shots=0, answer_formats=("letter",),
             summary="topic of a sentence, by likelihood of the letters"),
        Task(name="mmlux", benchmark="mmlux", shots=3, answer_formats=("letter",),
             summary="knowledge, by likelihood of the letters (lm-eval's mmlu on MMLU-X)"),
        Task(name="global_mmlu", benchmark="global_mmlu", shots=3, answer_formats=("letter",),
             summary="knowledge, by likelihood of the letters (lm-eval's global_mmlu_full)"),
        Task(name="flores", benchmark="flores", shots=0,
             summary="translation from English, as continuation (lm-eval's flores)"),
        Task(name="belebele_chat", benchmark="belebele", shots=0, is_chat=True,
             answer_formats=("letter", "number"), summary="reading, answered in words"),
        Task(name="sib200_chat", benchmark="sib200", shots=0, is_chat=True,
             answer_formats=("letter", "number"), summary="topic, answered in words"),
        Task(name="mmlux_chat", benchmark="mmlux", shots=0, is_chat=True,
             answer_formats=("letter", "number"), summary="knowledge, answered in words"),
        Task(name="flores_chat", benchmark="flores", shots=0, is_chat=True,
             summary="translation from English, as asked"),
        Task(name="massivesum_chat", benchmark="massivesum", shots=0, is_chat=True,
             summary="summaries of news, ROUGE-2"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One task in one language and form: what is computed, and kept, as a whole."""

    task: Task
    language: str
    answer_format: AnswerFormat | None
    instruction_language: str | None
    """``en`` or ``native`` through the chat template, None without one."""

    @property
    def label(self) -> str:
        """For people."""
        parts = (self.task.name, self.language, self.answer_format, self.instruction_language)
        return " ".join(part for part in parts if part)


def find_task(name: str) -> Task:
    """Returns a task by its name.

    Raises:
        ParamsError: there is none of that name.
    """
    if name not in TASKS:
        raise ParamsError(
            f"unknown task {name!r}{did_you_mean(name, TASKS)}; known: {', '.join(TASKS)}"
        )
    return TASKS[name]


def units_of(tasks: Sequence[Task], languages: Sequence[str]) -> list[Unit]:
    """Returns all there is to do; a task is left out of languages that its benchmark lacks."""
    return [
        Unit(
            task=task,
            language=language,
            answer_format=answer_format,
            instruction_language=instruction,
        )
        for task in tasks
        for language in languages_of(task.benchmark, languages)
        for answer_format in task.answer_formats
        for instruction in (("en", "native") if task.is_chat else (None,))
        # English instructions are the native ones of English, and are asked once.
        if not (instruction == "native" and language == "en")
    ]
