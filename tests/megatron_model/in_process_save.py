"""Megatron's checkpoint format, written by the calling process."""

from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

from minilingua.megatron_model.megatron import torch_strategy


class InProcessSave(torch_strategy.TorchDistSaveShardedStrategy):  # type: ignore[misc]  # untyped
    """Megatron's own strategy starts a manager and a writer process, which takes seconds."""

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    def save(self, sharded_state_dict: Any, checkpoint_dir: str) -> None:
        state, *_ = torch_strategy._replace_state_dict_keys_with_sharded_keys(
            sharded_state_dict, self.keep_only_main_replica
        )
        save(
            torch_strategy.mcore_to_pyt_state_dict(state, False),
            storage_writer=FileSystemWriter(checkpoint_dir, thread_count=1),
            planner=torch_strategy.MCoreSavePlanner(
                dedup_replicated_tensors=False, flatten_state_dict=False
            ),
        )
