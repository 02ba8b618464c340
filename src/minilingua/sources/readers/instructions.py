"""Readers of instruction sources: which columns make the prompt and which the response."""

from typing import Any

from minilingua.sources.readers.rows import Exchange, RejectedRowError, lookup, text, texts


def instruction_input_output(values: dict[str, Any]) -> Exchange:
    """Reads Alpaca's columns; an input, if there is one, follows the instruction."""
    instruction, given = text(values, "instruction"), text(values, "input")
    return _exchange(
        "\n\n".join(part for part in (instruction, given) if part), text(values, "output"), "output"
    )


def instruction_response(values: dict[str, Any]) -> Exchange:
    """Reads ``instruction`` and ``response``."""
    return _exchange(text(values, "instruction"), text(values, "response"), "response")


def inputs_targets(values: dict[str, Any]) -> Exchange:
    """Reads Aya's ``inputs`` and ``targets``."""
    return _exchange(text(values, "inputs"), text(values, "targets"), "targets")


def input_target(values: dict[str, Any]) -> Exchange:
    """Reads PolyglotPrompt's ``input`` and ``target``; ``answers`` repeats the target."""
    return _exchange(text(values, "input"), text(values, "target"), "target")


def input_output(values: dict[str, Any]) -> Exchange:
    """Reads BUFFET's ``input`` and ``output``."""
    return _exchange(text(values, "input"), text(values, "output"), "output")


def alternating_turns(values: dict[str, Any]) -> Exchange:
    """Reads LIMA's ``conversations``: turns of user and assistant, the assistant's last."""
    turns = texts(lookup(values, "conversations"), "conversations")
    if not turns:
        raise RejectedRowError("empty_prompt", "conversations is empty")
    if len(turns) % 2:
        raise RejectedRowError(
            "unanswered_prompt", f"conversations has {len(turns)} turns, the last is the user's"
        )
    if not all(turns):
        position = turns.index("")
        raise RejectedRowError(
            "empty_answer" if position % 2 else "empty_prompt", f"turn {position + 1} is empty"
        )
    return Exchange(prompt=turns[0], response=turns[1], later=tuple(turns[2:]))


def _exchange(prompt: str, response: str, answer_column: str) -> Exchange:
    if not prompt:
        raise RejectedRowError("empty_prompt", "the prompt is empty")
    if not response:
        raise RejectedRowError("empty_answer", f"{answer_column} is empty")
    return Exchange(prompt=prompt, response=response)
