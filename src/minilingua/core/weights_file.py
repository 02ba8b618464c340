"""Writing weights as safetensors so that the same weights are the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from minilingua.core.errors import OutputError


def save_weights(path: Path, tensors: dict[str, Any], save_file: Callable[..., None]) -> None:
    """Writes full tensors.

    Args:
        path: a file that does not exist yet, in a staged directory.
        tensors: by name, in any order.
        save_file: safetensors' function for their kind (``safetensors.numpy``, ``.torch``).

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        # With a second metadata key the order of keys in the file would be random.
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OutputError(f"{path.name}: cannot be written: {error}") from error
    path.chmod(0o644)  # safetensors makes it readable by its owner only
