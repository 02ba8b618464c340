"""How the items of units are grouped: by model, form and metric, then language."""

from minilingua.core.records import ModelName
from minilingua.lm_benchmarks.units import Unit

Form = tuple[str, str | None, str | None]
"""Task, answer format, language of the instruction."""
Items = dict[str, list[float]]
"""Language ─► value of each row."""
ItemsOf = dict[tuple[ModelName, Form, str], Items]
"""Model, form and metric ─► items."""


def forms_of(unit: Unit) -> list[Form]:
    """Returns the forms that a unit counts in; English instructions are native in English."""
    instructions = [unit.instruction_language]
    if unit.language == "en" and unit.instruction_language == "en":
        instructions.append("native")
    return [(unit.task.name, unit.answer_format, each) for each in instructions]
