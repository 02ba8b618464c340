"""Writes native files so that the same rows give the same bytes, and notes which fact is where."""

import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilingua.core.files import write_bytes, write_json
from minilingua.sources.read import FACTS_FILE

Rows = Sequence[tuple[dict[str, Any], str | None]]
"""Native rows, each with the id of its fact."""


class SourceWriter:
    """Writes the files of one source below its directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._facts: dict[str, str] = {}

    def parquet(self, relative: str, schema: Any, rows: Rows) -> None:
        """Writes one parquet file with a pyarrow schema."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist([values for values, _ in rows], schema=schema)
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="snappy", version="2.6", use_dictionary=False)
        self._write(relative, sink.getvalue(), rows)

    def json_lines(self, relative: str, rows: Rows) -> None:
        """Writes one JSON object a line, gzipped where the name ends so."""
        text = "".join(json.dumps(values, ensure_ascii=False) + "\n" for values, _ in rows)
        self._write(relative, text.encode(), rows)

    def json_array(self, relative: str, rows: Rows) -> None:
        """Writes one JSON array of objects."""
        text = json.dumps([values for values, _ in rows], ensure_ascii=False, indent=1)
        self._write(relative, text.encode() + b"\n", rows)

    def tab_separated(self, relative: str, rows: Rows) -> None:
        """Writes values separated by tabs, without a header line; they hold no tabs themselves."""
        text = "".join("\t".join(map(str, values.values())) + "\n" for values, _ in rows)
        self._write(relative, text.encode(), rows)

    def finish(self) -> None:
        """Writes the file that says which row is about which fact."""
        write_json(self._directory / FACTS_FILE, self._facts)

    def _write(self, relative: str, data: bytes, rows: Rows) -> None:
        if relative.endswith(".gz"):
            sink = io.BytesIO()
            # Name and time would otherwise be part of the bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=sink, mtime=0) as stream:
                stream.write(data)
            data = sink.getvalue()
        write_bytes(self._directory / relative, data)
        for number, (_, fact) in enumerate(rows, start=1):
            if fact is not None:
                self._facts[f"{relative}:{number}"] = fact
