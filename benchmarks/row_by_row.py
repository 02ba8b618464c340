"""Preparing conversations the usual ways: TRL's ``SFTTrainer``, and ``datasets.map`` by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minilingua.core.records import Conversation


def to_dataset(conversations: Sequence[Conversation]) -> Any:
    """Returns the conversations as a data set in memory, in the form that TRL takes."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_list(
        [
            {"messages": [{"role": item.role, "content": item.content} for item in one.messages]}
            for one in conversations
        ]
    )


def map_template(dataset: Any, tokenizer: Any, processes: int | None) -> Callable[[], Any]:
    """Returns work that maps ``apply_chat_template`` over the rows: ids and assistant mask."""

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        encoding = tokenizer.apply_chat_template(
            row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return {name: encoding[name] for name in ("input_ids", "assistant_masks")}

    return lambda: dataset.map(
        encode, num_proc=processes, remove_columns=["messages"], load_from_cache_file=False
    )


def prepare_with_trl(
    dataset: Any, tokenizer: Any, length: int, processes: int | None, directory: Path
) -> Callable[[], Any]:
    """Returns work that prepares rows as TRL's trainer does: tokenized, masked and packed.

    The trainer is made beforehand, with a model of no size on four rows: its other work is not
    measured.
    """
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        output_dir=str(directory),
        packing=True,
        assistant_only_loss=True,
        max_length=length,
        dataset_num_proc=processes,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
        )
    )
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=dataset.select(range(4)), processing_class=tokenizer
    )
    # The trainer prepares what it is given at construction; this is the method that it does it by.
    return lambda: trainer._prepare_dataset(
        dataset,
        tokenizer,
        config,
        True,  # noqa: FBT003 - packing, by position in its signature
        None,
        "train",
    )
