"""The image's own test: imports what images are for, and trains two steps.

It runs the program `train` on the CPU, on a model of a few thousand weights and random tokens, in a
directory of its own. Nothing of the machine is needed, no network, and no write access outside
the directory for temporary files.
"""

import importlib
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MODULES = (
    "matplotlib",
    "safetensors.torch",
    "tokenizers",
    "transformers",
    "minilingua.conversion.stage",
    "minilingua.evaluation.stage",
    "minilingua.training.session",
)
STEPS = 2
LANGUAGE = "en"
VOCABULARY = 64
MODEL = {
    "name": "check",
    "hidden_size": 32,
    "ffn_hidden_size": 48,
    "layers": 2,
    "attention_heads": 4,
    "kv_groups": 2,
    "max_positions": 128,
}
STAGE = (
    "stages: {train: {deps: [data/tokens, data/plan, models/base], params: [seed, model, train]}}\n"
)


def main() -> int:
    """Runs the check; returns 0 if all is well, and says what is not."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "MPLCONFIGDIR": str(root / "matplotlib")}
        for name in MODULES:
            importlib.import_module(name)
        _write_inputs(root)
        command = ["/opt/minilingua/bin/train"]
        done = subprocess.run(  # noqa: S603 - our own program
            command, cwd=root, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            print(f"check-image: train: exit code {done.returncode}\n{done.stderr}")  # noqa: T201
            return 1
        events = (root / "reports/train/events.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [event["loss"] for event in map(json.loads, events) if event["kind"] == "step"]
    if len(losses) != STEPS or not all(map(math.isfinite, losses)):
        print(f"check-image: expected {STEPS} finite losses, found {losses}")  # noqa: T201
        return 1
    print(f"check-image: good; losses {', '.join(f'{loss:.4f}' for loss in losses)}")  # noqa: T201
    return 0


def _write_inputs(root: Path) -> None:
    import numpy as np
    from ruamel.yaml import YAML
    from safetensors.numpy import save_file

    from minilingua.core.plan import PackPlan, SplitPlan, pack_ref, write_plan
    from minilingua.core.tokens import TokenizedConversation, write_token_file
    from minilingua.llama_shapes import tensor_shapes
    from minilingua.params_file import load_params

    generator = np.random.default_rng(0)
    yaml = YAML()
    raw = yaml.load(HERE / "params.yaml")
    raw["model"].update(MODEL)
    raw["pack"].update(sequence_length=64, global_batch=128)
    raw["train"].update(precision="fp32", attention="auto", threads=1, warmup_steps=1)
    yaml.dump(raw, root / "params.yaml")
    (root / "dvc.yaml").write_text(STAGE, encoding="utf-8")

    rows = 4
    supervised = np.concatenate([np.zeros(24, np.uint8), np.ones(8, np.uint8)])
    for split in ("train", "validation"):
        conversations = [
            TokenizedConversation(
                id=f"{row:016x}",
                tokens=generator.integers(3, VOCABULARY, len(supervised)).astype(np.uint32),
                loss_mask=supervised,
            )
            for row in range(rows)
        ]
        path = root / "data/tokens" / split / LANGUAGE
        write_token_file(path, conversations, vocab_size=VOCABULARY, tokenizer_digest="check")
    # Two packs of two conversations: one pack a step in train, both at once in validation.
    packed = {
        split: SplitPlan(
            conversations=np.array([pack_ref(LANGUAGE, row) for row in range(rows)], np.uint64),
            pack_offsets=np.array([0, 2, 4], np.uint64),
            step_offsets=np.array(steps, np.uint64),
        )
        for split, steps in (("train", [0, 1, 2]), ("validation", [0, 2]))
    }
    write_plan(root / "data/plan", PackPlan(sequence_length=64, splits=packed, meta={}))

    model = load_params(root / "params.yaml").model
    tensors = {
        name: generator.normal(1.0 if len(shape) == 1 else 0.0, 0.02, shape).astype(np.float32)
        for name, shape in tensor_shapes(model, VOCABULARY).items()
    }
    base = root / "models/base"
    base.mkdir(parents=True)
    save_file(tensors, base / "model.safetensors")
    config = {"vocab_size": VOCABULARY, "rms_norm_eps": model.norm_epsilon}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
