"""A Hugging Face Llama model and the one thing evaluation asks of it: log-likelihoods, in batches.

    request = prefix + branches                     (prompt and candidates, or prompt and answer)
         └─► one row a distinct prefix: prefix | branch 1 | branch 2 | ..
                └─► batches of rows of similar length ─► log-likelihood of every branch token

A branch sees the prefix and itself, so a prompt is computed once for all its continuations, also
where several requests share it. The last token of a branch is predicted but never read, so
letters and numbers cost nothing beyond their prompt. The vocabulary projection is computed at
predicting positions only. ``tests/evaluation/test_model.py`` holds all this equal to scoring every
branch alone.

Shape legend: b rows of a batch, t tokens of the longest row, h hidden size, V vocabulary,
m predicted tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from minilingua.core.errors import CheckpointError
from minilingua.core.files import read_json, require
from minilingua.evaluation.result_log import ResultLog

THREADS = 2
"""Constant, whatever the machine has: another number of threads changes the last bits."""

_LOGITS_AT_ONCE = 1 << 24
"""Elements of the largest logits tensor: 64 MiB in fp32."""

_LONGEST_REASON = 200
"""Characters of another library's message."""

_PADDING = -1
"""Branch number of padding; 0 is the prefix, branches count from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Continuations of one prefix, each to be scored as if it alone followed."""

    prefix: tuple[int, ...]
    """Token ids, at least one."""
    branches: tuple[tuple[int, ...], ...]
    """Token ids of each continuation, at least one each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A prefix and all its branches as one sequence."""

    tokens: npt.NDArray[np.int64]
    """[n] prefix, then every branch without its last token."""
    positions: npt.NDArray[np.int64]
    """[n] distance from the begin of the prefix, along the token's own branch."""
    branch: npt.NDArray[np.int64]
    """[n] 0: prefix, k: branch k."""
    sources: npt.NDArray[np.int64]
    """[m] index of the token whose hidden state predicts."""
    targets: npt.NDArray[np.int64]
    """[m] token id that is predicted."""
    cuts: list[int]
    """Where the branches part in ``targets``."""

    @property
    def forks(self) -> bool:
        """Whether two branches stand in it, so that attention needs more than the causal mask."""
        return len(np.unique(self.branch)) > 2


@contextmanager
def reproducible_arithmetic() -> Iterator[None]:
    """Fixes what changes the last bits, and restores it afterwards."""
    threads = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=strict)
        torch.set_num_threads(threads)


def load_model(path: Path, made_by: str, vocab_size: int) -> Any:
    """Returns a ``LlamaForCausalLM`` in fp32 on the CPU, ready to score.

    Args:
        path: directory in Hugging Face layout.
        made_by: the command that makes it, for messages.
        vocab_size: number of token ids that will be asked of it.

    Raises:
        MissingInputError: no config.json or weights.
        DataError: config.json is no JSON.
        CheckpointError: not a Llama model, too small a vocabulary, tensors missing, unknown or of
            another shape, a damaged file, or weights that are not finite.
    """
    kind = read_json(path / "config.json", made_by).get("model_type")
    if not any((path / name).exists() for name in _WEIGHT_FILES):
        require(path / _WEIGHT_FILES[0], made_by)
    # The model module, not the package's Auto classes: they import every architecture.
    from transformers.models.llama import LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    disable_progress_bar()  # a bar of milliseconds between our own
    set_verbosity_error()  # what it finds is told below, in a line
    if kind != "llama":
        raise CheckpointError(
            f"{path / 'config.json'}: model_type is {kind!r}; only 'llama' is scored"
        )
    try:
        model, loading = LlamaForCausalLM.from_pretrained(
            path,
            dtype=torch.float32,
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told of below
        )
    except Exception as error:  # a configuration can be wrong in any way, a file damaged
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        raise CheckpointError(f"{path}: transformers cannot load it: {reason}") from error
    if mismatched := sorted(loading.get("mismatched_keys") or ()):
        name, found, expected = mismatched[0]
        raise CheckpointError(
            f"{path}: {name} has shape {list(found)}, config.json implies {list(expected)}"
        )
    for problem in ("missing_keys", "unexpected_keys"):
        if names := sorted(map(str, loading.get(problem) or ())):
            raise CheckpointError(f"{path}: {problem.replace('_', ' ')} in the weights: {names[0]}")
    if model.config.vocab_size < vocab_size:
        raise CheckpointError(
            f"{path}: vocab_size is {model.config.vocab_size}, but the tokenizer has "
            f"{vocab_size} token ids"
        )
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
    return model.eval()


_WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


@torch.inference_mode()
def log_likelihoods(
    model: Any, requests: Sequence[Request], batch_tokens: int, describe: str, log: ResultLog
) -> list[list[npt.NDArray[np.float64]]]:
    """Returns the log-likelihood (nats) of every token of every branch of every request.

    Args:
        model: a ``LlamaForCausalLM``.
        requests: what to score, in any order.
        batch_tokens: tokens of one forward call, padding included; a longer row goes alone.
        describe: label of the progress bar.
        log: what is in it is not computed again.

    Returns:
        In the order of ``requests``, one array per branch, as long as the branch.
    """
    branches: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    places: list[tuple[tuple[int, ...], int]] = []  # of each request: prefix, its first branch
    for request in requests:
        of_prefix = branches.setdefault(request.prefix, [])
        places.append((request.prefix, len(of_prefix)))
        of_prefix += request.branches
    rows = [_layout(prefix, parts) for prefix, parts in branches.items()]
    values = dict(zip(branches, _score_rows(model, rows, batch_tokens, describe, log), strict=True))
    return [
        values[prefix][first : first + len(request.branches)]
        for request, (prefix, first) in zip(requests, places, strict=True)
    ]


def _score_rows(
    model: Any, rows: Sequence[_Row], batch_tokens: int, describe: str, log: ResultLog
) -> list[list[npt.NDArray[np.float64]]]:
    """Returns [rows][branches][tokens] log-likelihoods."""
    results: list[list[npt.NDArray[np.float64]]] = [[] for _ in rows]
    with tqdm(total=len(rows), desc=describe, unit=" prompts", disable=None, leave=False) as bar:
        for index, batch in enumerate(_batches(rows, batch_tokens)):
            if index not in log.done:
                scored = _score(model, [rows[number] for number in batch])
                log.add(index, [values.tolist() for values in scored])
            for number, values in zip(batch, log.done[index], strict=True):
                results[number] = np.split(np.array(values), rows[number].cuts)
            bar.update(len(batch))
    return results


def _layout(prefix_ids: Sequence[int], branches: Sequence[Sequence[int]]) -> _Row:
    prefix = len(prefix_ids)
    tokens, positions, branch = list(prefix_ids), list(range(prefix)), [0] * prefix
    sources: list[int] = []
    for number, candidate in enumerate(branches, start=1):
        sources += [prefix - 1, *range(len(tokens), len(tokens) + len(candidate) - 1)]
        tokens += candidate[:-1]
        positions += range(prefix, prefix + len(candidate) - 1)
        branch += [number] * (len(candidate) - 1)
    return _Row(
        tokens=np.array(tokens, dtype=np.int64),
        positions=np.array(positions, dtype=np.int64),
        branch=np.array(branch, dtype=np.int64),
        sources=np.array(sources, dtype=np.int64),
        targets=np.array([token for part in branches for token in part], dtype=np.int64),
        cuts=np.cumsum([len(part) for part in branches])[:-1].tolist(),
    )


def _batches(rows: Sequence[_Row], batch_tokens: int) -> Iterator[list[int]]:
    """Yields row numbers: forked rows apart from plain ones, each by length, longest first.

    Longest first: what does not fit into memory fails at once, not after an hour.
    """
    order = sorted(
        range(len(rows)), key=lambda number: (rows[number].forks, -len(rows[number].tokens), number)
    )
    batch: list[int] = []
    for number in order:
        if batch:
            longest = len(rows[batch[0]].tokens)
            same_kind = rows[batch[0]].forks == rows[number].forks
            if not same_kind or (len(batch) + 1) * longest > batch_tokens:
                yield batch
                batch = []
        batch.append(number)
    if batch:
        yield batch


def _score(model: Any, rows: Sequence[_Row]) -> list[npt.NDArray[np.float64]]:
    """Returns the log-likelihoods [m] of each row's targets."""
    tokens = _padded([row.tokens for row in rows], 0)  # [b, t]; what pads it is never attended to
    mask: Tensor | None = None  # causal attention never looks at padding on the right
    positions: Tensor | None = None
    if rows[0].forks:  # a batch holds rows of one kind
        mask = _fork_mask(_padded([row.branch for row in rows], _PADDING))
        positions = _padded([row.positions for row in rows], 0)
    hidden = model.model(
        input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state  # [b, t, h]
    row_numbers = np.repeat(np.arange(len(rows)), [len(row.sources) for row in rows])
    sources = np.concatenate([row.sources for row in rows])
    picked = hidden[torch.from_numpy(row_numbers), torch.from_numpy(sources)]  # [m, h]
    targets = torch.from_numpy(np.concatenate([row.targets for row in rows]))
    step = max(1, _LOGITS_AT_ONCE // model.config.vocab_size)
    parts = []
    for begin in range(0, len(targets), step):
        logits = model.lm_head(picked[begin : begin + step])  # [<= step, V]
        chosen = logits.gather(1, targets[begin : begin + step, None])[:, 0]
        parts.append((chosen - torch.logsumexp(logits, dim=1)).double())
    values = torch.cat(parts).numpy()
    ends = np.cumsum([len(row.sources) for row in rows])[:-1]
    return list(np.split(values, ends))


def _padded(arrays: Sequence[npt.NDArray[np.int64]], value: int) -> Tensor:
    """Returns [b, t] with ``value`` to the right of shorter arrays."""
    width = max(len(array) for array in arrays)
    padded = np.full((len(arrays), width), value, dtype=np.int64)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(padded)


def _fork_mask(branch: Tensor) -> Tensor:
    """[b, t] branch numbers ─► [b, 1, t, t], True where a token (row) may see another (column)."""
    width = branch.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    seen = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    return (causal & seen)[:, None]
