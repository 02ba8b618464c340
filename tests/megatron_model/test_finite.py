import pytest
import torch

from minilingua.core.errors import CheckpointError
from minilingua.megatron_model.finite import check_finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_check_finite_names_the_tensor(value: float) -> None:
    check_finite("a", torch.tensor([3e38, 3e38]))  # finite, though their sum is not
    with pytest.raises(CheckpointError, match="b holds values that are not finite in float32"):
        check_finite("b", torch.tensor([1.0, value]))
