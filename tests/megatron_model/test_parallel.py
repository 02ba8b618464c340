import pytest
import torch
from torch import distributed

from minilingua.core.errors import EXIT_LOST_RANK, LostRankError
from minilingua.megatron_model.megatron import get_cuda_rng_tracker
from minilingua.megatron_model.parallel import lost_ranks_told, seed_random_states

GLOO = "[pair.cc:553] Connection closed by peer [127.0.0.1]:37277. This is typically caused by .."
NCCL = "NCCL error: ncclRemoteError: A call failed possibly due to a remote process exiting"


@pytest.mark.parametrize("said", [GLOO, NCCL, "Timed out waiting 600000ms for recv operation"])
def test_a_lost_rank_is_one_line(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    with pytest.raises(LostRankError, match="another rank has ended") as caught, lost_ranks_told():
        raise RuntimeError(said)
    assert caught.value.exit_code == EXIT_LOST_RANK
    with pytest.raises(RuntimeError, match="size mismatch"), lost_ranks_told():
        raise RuntimeError("size mismatch")  # a defect keeps its traceback


def test_a_rank_alone_has_lost_nobody() -> None:
    with pytest.raises(RuntimeError, match="Connection closed by peer"), lost_ranks_told():
        raise RuntimeError(GLOO)


def test_seeding_again_gives_the_same_numbers_from_the_same_tracker() -> None:
    """TransformerEngine's attention keeps the tracker that there was when it was built."""
    drawn = []
    trackers = []
    for _ in range(2):
        seed_random_states(5)
        trackers.append(get_cuda_rng_tracker())
        with trackers[0].fork():
            drawn.append(torch.rand(4))
    assert trackers[0] is trackers[1]
    assert torch.equal(*drawn)
