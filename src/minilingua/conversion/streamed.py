"""A safetensors file whose tensors are written one at a time, in whatever order they come.

    8 bytes: length of the header │ header: name ─► type, shape, place │ values, one after the other

Source: https://huggingface.co/docs/safetensors (format). The bytes are those of safetensors'
``save_file``, which wants all tensors of a file at once; this one needs their shapes only.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from minilingua.core.errors import OutputError

_TYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


class StreamedFile:
    """The file, until its last tensor is written."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype):
        """Writes the header.

        Args:
            path: of the file, in a staged directory.
            shapes: of all its tensors, by name.
            dtype: of all its tensors.

        Raises:
            OutputError: the file cannot be written.
        """
        self._path, self._shapes, self._dtype = path, shapes, dtype
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        self._places: dict[str, int] = {}  # of the tensors still to come
        end = 0
        for name in sorted(shapes):  # as safetensors sorts tensors of one type
            self._places[name], begin = end, end
            end += math.prod(shapes[name]) * dtype.itemsize
            header[name] = {
                "dtype": _TYPES[dtype],
                "shape": shapes[name],
                "data_offsets": [begin, end],
            }
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)  # so that values are aligned
        self._values = 8 + len(text)
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            # A full disk is told at once, and the file system need not look for room at each write.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, self._values + end)
            self._file.write(len(text).to_bytes(8, "little") + text)
        except OSError as error:
            self._file.close()
            raise self._unwritable(error) from error

    def write(self, name: str, tensor: Tensor) -> None:
        """Writes one tensor; once for every name of the file.

        Raises:
            KeyError: it has no place in the file, or was written before.
            ValueError: its type or shape is not the one that was announced.
            OutputError: the file cannot be written.
        """
        if tensor.dtype != self._dtype or tuple(tensor.shape) != tuple(self._shapes[name]):
            raise ValueError(f"{name}: {tensor.dtype} {tuple(tensor.shape)} was not announced")
        try:
            self._file.seek(self._values + self._places.pop(name))
            # NumPy has no bfloat16, but lends the bytes of any tensor without copying them.
            self._file.write(tensor.view(torch.uint8).numpy().data)
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def complete(self) -> bool:
        """Whether every tensor is written."""
        return not self._places

    def close(self) -> None:
        """Ends the file.

        Raises:
            OutputError: what was buffered cannot be written.
        """
        try:
            self._file.close()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path.name}: cannot be written: {error.strerror}")
