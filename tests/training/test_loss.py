import torch

from minilingua.training.loss import sum_losses


def test_what_is_logged_is_a_copy_that_nobody_changes() -> None:
    losses = torch.tensor([[1.0, 2.0, 4.0]])
    total, count, logged = sum_losses(losses)
    assert (float(total), int(count)) == (7.0, 3)
    total.zero_()
    losses.zero_()
    assert logged["losses"].tolist() == [1.0, 2.0, 4.0]
