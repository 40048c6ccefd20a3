from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastft.training.loss_scale import count_labels, loss_share, predicts_next_token
from tests.tiny import tiny_model


def test_ignored_labels_do_not_count():
    batch = {"labels": torch.tensor([[1, -100, 2], [-100, -100, 3]])}
    assert count_labels(batch, ["labels"], shifted=False) == 3


def test_a_next_token_loss_never_counts_the_first_label_of_a_row():
    batch = {"labels": torch.tensor([[1, -100, 2], [5, 6, 3]])}
    assert count_labels(batch, ["labels"], shifted=True) == 3


def test_labels_that_are_shifted_already_count_as_they_are():
    batch = {"labels": torch.zeros(1, 3), "shift_labels": torch.tensor([[1, 2, -100]])}
    assert count_labels(batch, ["labels"], shifted=True) == 2


def test_scores_count_one_each():
    assert count_labels({"labels": torch.zeros(4, 3)}, ["labels"], shifted=False) == 12


def test_a_batch_without_labels_has_no_count():
    assert count_labels({"input_ids": torch.zeros(1)}, ["labels"], shifted=False) is None


@given(counts=st.lists(st.integers(1, 500), min_size=1, max_size=8))
def test_shares_of_a_step_weigh_micro_means_into_the_mean(counts):
    step_count = torch.tensor(sum(counts))
    losses = [torch.rand(count, dtype=torch.float64) for count in counts]
    parts = [loss.mean() * loss_share(torch.tensor(len(loss)), step_count, 1) for loss in losses]
    assert float(sum(parts)) == pytest.approx(float(torch.cat(losses).mean()), rel=1e-6)


def test_a_whole_step_has_the_share_one_exactly():
    count = torch.tensor(17)
    assert float(loss_share(count, count, 1)) == 1.0


def test_a_step_without_a_label_has_no_share_and_no_nan():
    assert float(loss_share(torch.tensor(0), torch.tensor(0), 1)) == 0.0


def test_next_token_losses_are_known_by_the_class_of_the_model():
    from transformers import GPT2Config, GPT2LMHeadModel

    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1, n_positions=8))
    assert predicts_next_token(gpt2)
    assert not predicts_next_token(tiny_model())
