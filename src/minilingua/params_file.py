"""Reading params.yaml: every mistake is one line that names the key and the nearest allowed one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minilingua.core.errors import MissingInputError, ParamsError, did_you_mean
from minilingua.core.languages import LANGUAGES
from minilingua.params import Params

PARAMS_FILE = Path("params.yaml")


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Reads and validates params.yaml.

    Raises:
        MissingInputError: there is no such file.
        ParamsError: not YAML, or a key is unknown, missing, of the wrong type or out of range.
    """
    if not path.exists():
        raise MissingInputError(f"{path} is missing; `minilingua configure` writes it")
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ParamsError(f"{path}: expected sections such as 'train:', found {raw!r}")
    return validate_params(raw, str(path))


def validate_params(raw: dict[str, Any], where: str) -> Params:
    """Validates a nested mapping; messages begin with ``where``.

    Raises:
        ParamsError: as for ``load_params``.
    """
    try:
        # Through JSON: strict mode then takes lists for tuples but still no "1e-5" for a number.
        return Params.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise ParamsError("; ".join(_explanations(error, where))) from error
    except TypeError as error:  # a YAML date or set
        raise ParamsError(f"{where}: {error}") from error


def _explanations(error: ValidationError, where: str) -> Iterator[str]:
    """Yields a line for every mistake, and one for all keys of a file that was cut off."""
    items = error.errors()
    missing = [_key(item) for item in items if item["type"] == "missing"]
    if missing:
        told = f"key {missing[0]!r} is" if len(missing) == 1 else f"keys {', '.join(missing)} are"
        yield f"{where}: {told} missing; `minilingua configure` writes complete files"
    yield from (_explain(item, where) for item in items if item["type"] != "missing")


def _key(item: Any) -> str:
    return ".".join(str(part) for part in item["loc"])


def _explain(item: Any, where: str) -> str:
    key = _key(item)
    if item["type"] == "extra_forbidden":
        section: Any = Params
        for part in item["loc"][:-1]:
            section = section.model_fields[part].annotation
        allowed = list(section.model_fields)
        return f"{where}: unknown key {key!r}{did_you_mean(str(item['loc'][-1]), allowed)}"
    found = item["input"]
    shown = f", found {found!r}" if not isinstance(found, dict) else ""
    nearest = ""
    if item["type"] == "literal_error" and isinstance(found, str):
        nearest = did_you_mean(found, LANGUAGES if "languages" in key else ())
    message = item["msg"].removeprefix("Value error, ")
    return f"{where}: {key + ': ' if key else ''}{message}{shown}{nearest}"
