from __future__ import annotations

from types import SimpleNamespace

import torch

from fastft.training.evaluation_loss import EvaluationLoss


def ranks(num_processes=1, process_index=0, end=True, remainder=-1):
    state = SimpleNamespace(end_of_dataloader=end, remainder=remainder)
    return SimpleNamespace(
        num_processes=num_processes, process_index=process_index, gradient_state=state
    )


def test_batches_weigh_as_much_as_their_labels():
    loss = EvaluationLoss()
    loss.add(torch.tensor(2.0), torch.tensor(1))
    loss.add(torch.tensor(4.0), torch.tensor(3))
    assert loss.mean(ranks()) == 3.5


def test_a_batch_without_labels_has_no_weight_though_its_mean_is_nan():
    loss = EvaluationLoss()
    loss.add(torch.tensor(float("nan")), torch.tensor(0))
    loss.add(torch.tensor(4.0), torch.tensor(3))
    assert loss.mean(ranks()) == 4.0


def test_nothing_has_no_mean():
    assert EvaluationLoss().mean(ranks()) is None
