"""Which files of a directory are benchmarks: texts that must not be trained on.

A directory may be what `hf download --local-dir` left, with its hidden files and its README.
"""

from pathlib import Path

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import tree_files

ROWS = (".jsonl", ".parquet", ".tsv")
"""Files of rows with named columns."""
LINES = (".txt", ".dev", ".devtest")
"""Files of a text a line; the latter two are those of FLORES."""
_DOCUMENTS = (".md", ".rst", ".pdf")
_NAMES = ("LICENSE", "LICENCE", "README")


def benchmark_files(directory: Path) -> list[Path]:
    """Returns the files to read, sorted by path; documents and hidden files are left out.

    Raises:
        MissingInputError: the directory is missing or holds none.
        DataError: a file is of no kind that is read: what it holds would not be looked for.
    """
    if not directory.is_dir():
        raise MissingInputError(f"sources.benchmarks: {directory} is not a directory")
    files = [path for path in tree_files(directory) if not _is_document(path, directory)]
    if not files:
        raise MissingInputError(f"sources.benchmarks: {directory} is empty")
    for path in files:
        if path.suffix not in ROWS + LINES:
            raise DataError(f"{path}: benchmarks are {', '.join(ROWS + LINES)} files")
    return files


def _is_document(path: Path, directory: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
    return is_hidden or path.suffix in _DOCUMENTS or path.stem.upper() in _NAMES
