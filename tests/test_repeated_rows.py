from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

from fastft.data.batch import flattened_batch
from fastft.training.loss_scale import total_count
from fastft.training.repeated_rows import first_rows, num_rows, num_valid_rows
from fastft.training.weightless import has_weight


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


def test_rows_that_stand_end_to_end_are_left_without_labels():
    tensors = {"input_ids": torch.arange(9)[None], "labels": torch.arange(9)[None]}
    batch = flattened_batch(tensors, None, lengths=np.array([2, 0, 4, 3]))
    assert num_rows(batch) == 4 and num_rows({"input_ids": torch.zeros(5, 2)}) == 5
    cut = first_rows(batch, 3, 4)
    assert torch.equal(cut["input_ids"], tensors["input_ids"])
    assert cut["labels"].tolist() == [[0, 1, 2, 3, 4, 5, -100, -100, -100]]
    assert batch["labels"].tolist() == [list(range(9))]
    assert not hasattr(cut, "loss_index")


def test_a_column_called_has_weight_is_no_mark():
    assert has_weight(transformers.BatchEncoding({"has_weight": torch.zeros(1)}))
    marked = transformers.BatchEncoding({"ids": torch.zeros(1)})
    marked.has_weight = False
    assert not has_weight(marked) and has_weight({"has_weight": False})


def test_counts_from_several_places_are_added_where_they_are_wanted():
    known, counted = torch.tensor(3), torch.tensor(4, device="meta")
    assert total_count([known, known], "cpu") == 6
    assert total_count([known, counted], "meta").device.type == "meta"
