"""The hashes of smoke's data stages. `python -m tests.pipeline.golden` writes them anew.

They depend on integers and text only, so they are the same on every machine. The base model (random
floating-point numbers) and what is trained from it are compared on one machine instead.
"""

import tempfile
from pathlib import Path

from minilingua.core.files import write_json
from tests.pipeline.workspace import checkout

GOLDEN = Path(__file__).parent / "golden_smoke.json"
DATA_STAGES = ("fetch", "mcqa", "curate", "tokenizer", "tokenize", "pack")


def write_golden() -> None:
    """Runs the data stages in a fresh checkout and writes their hashes."""
    with tempfile.TemporaryDirectory() as directory:
        workspace = checkout(Path(directory) / "checkout")
        workspace.repro("pack")
        write_json(GOLDEN, {stage: workspace.outputs(stage) for stage in DATA_STAGES})


if __name__ == "__main__":
    write_golden()
