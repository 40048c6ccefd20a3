from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fastft.training.repeated_rows import first_rows, num_valid_rows


def ranks(num_processes=1, process_index=0, end=True, remainder=-1):
    state = SimpleNamespace(end_of_dataloader=end, remainder=remainder)
    return SimpleNamespace(
        num_processes=num_processes, process_index=process_index, gradient_state=state
    )


@pytest.mark.parametrize(
    ("accelerator", "valid"),
    [
        (ranks(), 8),
        (ranks(2, 0, end=False, remainder=5), 8),
        (ranks(2, 0, remainder=5), 5),
        (ranks(2, 1, remainder=5), 0),
        (ranks(2, 0, remainder=11), 8),
        (ranks(2, 1, remainder=11), 3),
        (ranks(2, 1, remainder=0), 8),
        (ranks(2, 1, remainder=-1), 8),
    ],
)
def test_rows_that_accelerate_repeats_are_not_counted(accelerator, valid):
    assert num_valid_rows(accelerator, 8) == valid


def test_only_tensors_of_the_batch_are_cut():
    inputs = {"ids": torch.zeros(4, 7), "scale": torch.tensor(2.0), "name": "x"}
    cut = first_rows(inputs, 3, 4)
    assert cut["ids"].shape == (3, 7)
    assert cut["scale"] == 2.0
    assert cut["name"] == "x"
