"""Tokenizing with the loss mask, against what does less and against what does the same.

Three sides do less or the same work on the same conversations, and so bound ours from above and
below: ``encode_batch`` of tokenizers on the rendered text gives ids and no mask; TRL's preparation
(assistant-only loss, packing) and ``datasets.map`` over ``apply_chat_template`` give what ours
gives. Two corpora: the sample's own short conversations, and the same joined to the length of real
ones. Ids are compared before anything is timed.
"""

import contextlib
import io
import os
import sys
import time
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import FULL, JOINED, SHORT, STAGES, TOKENIZER, copy_corpus, read_corpus
from benchmarks.harness import CPU, WHOLE, Parts, Side, begin, cpu_seconds, interleave, timed
from benchmarks.line import compose, line
from benchmarks.options import output_of, parser, repetitions_of
from benchmarks.results import Result, Row, report, row
from benchmarks.row_by_row import map_template, prepare_with_trl, to_dataset
from minilingua.chat.encode import ConversationEncoder
from minilingua.chat.stream import encode_stream
from minilingua.core.processes import rare_garbage_collection
from minilingua.core.records import Conversation
from minilingua.core.tokenizer_files import TokenizerFiles, read_tokenizer_files
from minilingua.params import Params
from minilingua.params_file import load_params

RAW_TARGET = 0.85
TRL_TARGET = 4.0
"""Of TRL as it comes, which prepares in one process; told to use more, it is shown beside that."""
_TOKENIZE = "tokenize"
_OF_PROCESSORS = "time of the processors"
_NO_TRL = "TRL is not installed (pip install 'minilingua[bench]'): not compared with it."


def check(
    conversations: Sequence[Conversation], files: TokenizerFiles, encoder: ConversationEncoder
) -> dict[str, int]:
    """Compares our ids with those of the rendered text.

    They may differ only where a content spells a control token: it stays text with us.

    Raises:
        SystemExit: they differ elsewhere, and a comparison of speed means nothing.
    """
    controls = list(files.special_tokens())
    tokens = supervised = spelled = 0
    for batch in encode_stream(encoder, conversations):
        if batch.dropped:
            raise SystemExit(f"the comparison is void: not encoded: {batch.dropped[0]}")
        tokens += len(batch.tokens)
        supervised += int(batch.loss_mask.sum())
        each = np.split(batch.tokens, np.cumsum(batch.lengths)[:-1])
        for conversation, ours in zip(batch.kept, each, strict=True):
            text = encoder.template.render(conversation.messages)
            if ours.tolist() == files.tokenizer.encode(text, add_special_tokens=False).ids:
                continue
            if not any(
                token in message.content for message in conversation.messages for token in controls
            ):
                raise SystemExit(f"the comparison is void: other ids for {conversation.messages}")
            spelled += 1
    return {
        "conversations": len(conversations),
        "tokens": tokens,
        "supervised_tokens": supervised,
        "conversations_that_spell_control_tokens": spelled,
    }


def against_tokenizers(
    name: str,
    conversations: Sequence[Conversation],
    files: TokenizerFiles,
    encoder: ConversationEncoder,
    repetitions: int,
) -> list[Row]:
    """Measures tokenizing and masking in memory."""
    texts = [encoder.template.render(conversation.messages) for conversation in conversations]
    raw = files.tokenizer

    def ours() -> None:
        for _ in encode_stream(encoder, conversations):
            pass

    timings = interleave(
        {
            "ours": timed(ours),
            "encode_batch": timed(lambda: raw.encode_batch(texts, add_special_tokens=False)),
            "fast": timed(lambda: raw.encode_batch_fast(texts, add_special_tokens=False)),
        },
        repetitions=repetitions,
        label=f"{name}, tokenizers",
    )
    case = f"{name}: ids and mask, in memory"
    return [
        row(
            timings,
            case,
            "tokenizers, encode_batch (ids)",
            ours="ours",
            theirs="encode_batch",
            target=RAW_TARGET,
        ),
        row(
            timings,
            case,
            "tokenizers, encode_batch_fast (ids, no offsets)",
            ours="ours",
            theirs="fast",
        ),
        row(
            timings,
            f"{case}, {_OF_PROCESSORS}",
            "tokenizers, encode_batch (ids)",
            ours="ours",
            theirs="encode_batch",
            part=CPU,
        ),
    ]


def stages(params: Params) -> Side:
    """Returns the side that runs the stages ``tokenize`` and ``pack`` in the current directory."""
    from minilingua.chat import tokenize_stage
    from minilingua.packing import stage as pack_stage

    def side(_: int) -> Parts:
        with contextlib.redirect_stdout(io.StringIO()):
            cpu, began = cpu_seconds(), time.perf_counter()
            tokenize_stage.run(params)
            tokenized = time.perf_counter()
            pack_stage.run(params)
            packed = time.perf_counter()
        return {WHOLE: packed - began, CPU: cpu_seconds() - cpu, _TOKENIZE: tokenized - began}

    return side


def against_rows(
    name: str,
    conversations: Sequence[Conversation],
    params: Params,
    processes: int,
    repetitions: int,
) -> list[Row]:
    """Measures the stages, from files to files, against preparing rows in memory."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(TOKENIZER))
    dataset = to_dataset(conversations)
    length = params.pack.sequence_length
    workers: dict[str, int | None] = {"1 process": None}
    if processes > 1:
        workers[f"{processes} processes"] = processes
    sides: dict[str, Side] = {"ours": stages(params)}
    for title, count in workers.items():
        sides[f"map, {title}"] = _as_tokenize(timed(map_template(dataset, tokenizer, count)))
        if find_spec("trl"):
            work = prepare_with_trl(dataset, tokenizer, length, count, Path("trl"))
            sides[f"TRL, {title}"] = timed(work)
    timings = interleave(sides, repetitions=repetitions, label=f"{name}, rows")
    rows = []
    for title, count in workers.items():
        if find_spec("trl"):
            rows += [
                row(
                    timings,
                    f"{name}: stages tokenize and pack, files to files{suffix}",
                    f"TRL's SFTTrainer, {title}",
                    ours="ours",
                    theirs=f"TRL, {title}",
                    part=part,
                    target=TRL_TARGET if part == WHOLE and count is None else None,
                )
                for part, suffix in ((WHOLE, ""), (CPU, f", {_OF_PROCESSORS}"))
            ]
        rows.append(
            row(
                timings,
                f"{name}: stage tokenize, files to files",
                f"datasets.map of apply_chat_template, {title}",
                ours="ours",
                theirs=f"map, {title}",
                part=_TOKENIZE,
            )
        )
    return sorted(rows, key=lambda item: item.against.startswith("datasets"))


def _as_tokenize(side: Side) -> Side:
    return lambda repetition: {_TOKENIZE: side(repetition)[WHOLE]}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    options = parser("tokenization", __doc__, repetitions=15).parse_args(argv)
    settings = begin(options.threads)
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    warnings.filterwarnings("ignore", module="transformers|trl|datasets")
    repetitions = repetitions_of(options)
    composed = compose(SHORT if options.short else FULL)
    rows: list[Row] = []
    checks: dict[str, Any] = {}
    with line(composed, STAGES, ready=options.line) as data:
        params = load_params(data.path / "params.yaml")
        for name, joined in JOINED.items():
            place = data.scratch / name
            copy_corpus(data.path, place, joined=joined)
            with contextlib.chdir(place):
                conversations = read_corpus(place)
                files = read_tokenizer_files(TOKENIZER)
                encoder = ConversationEncoder(files)
                checks[name] = check(conversations, files, encoder)
                with rare_garbage_collection():  # for all sides, as the stage does
                    rows += against_tokenizers(name, conversations, files, encoder, repetitions)
                rows += against_rows(
                    name, conversations, params, settings["threads"], max(2, repetitions // 3)
                )
    report(
        Result(
            benchmark="tokenization",
            claim="Tokenizing with the loss mask.",
            settings={**settings, "sources": params.sources.sample.model_dump(mode="json")},
            checks=checks,
            rows=rows,
            notes=() if find_spec("trl") else (_NO_TRL,),
        ),
        output_of(options),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
