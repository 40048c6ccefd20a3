"""Steps of the touched rows of an embedding: those of torch's AdamW on the whole of it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastft import _fastft
from fastft.errors import ConfigurationError, DataError
from fastft.training import row_updates
from fastft.training.row_updates import RowUpdates, clip_grad_norm, row_embeddings, why_not_adamw

ROWS, WIDTH = 300, 20


@pytest.fixture(autouse=True)
def _small_embeddings_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_updates, "MIN_ELEMENTS", 1)


class Pair:
    """An embedding stepped whole, and its twin stepped by rows."""

    def __init__(self, **options: Any) -> None:
        torch.manual_seed(0)
        self.whole = torch.nn.Embedding(ROWS, WIDTH, padding_idx=0)
        self.by_rows = copy.deepcopy(self.whole)
        self.optimizers = [
            torch.optim.AdamW(one.parameters(), **{"lr": 1e-2, **options})
            for one in (self.whole, self.by_rows)
        ]
        self.updates = RowUpdates(row_embeddings(self.by_rows), self.optimizers[1], 1)
        self.first = self.by_rows.weight.detach().clone()

    def step(self, ids: torch.Tensor, upstream: torch.Tensor) -> None:
        for one, optimizer in zip((self.whole, self.by_rows), self.optimizers, strict=True):
            one.zero_grad()
            (one(ids) * upstream).sum().backward()
            optimizer.step()

    def assert_equal(self) -> None:
        torch.testing.assert_close(self.by_rows.weight, self.whole.weight, rtol=1e-5, atol=2e-6)
        whole, by_rows = (
            optimizer.state[one.weight]
            for one, optimizer in zip((self.whole, self.by_rows), self.optimizers, strict=True)
        )
        assert list(whole) == list(by_rows)
        assert torch.equal(whole["step"], by_rows["step"])
        assert whole["step"].dtype == by_rows["step"].dtype
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(by_rows[name], whole[name], rtol=1e-5, atol=1e-7)


def drawn(seed: int, rows: int = ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, rows, (4, 10), generator=generator)
    return ids, torch.randn(4, 10, WIDTH, generator=generator)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sixty_steps_are_those_of_the_whole_weight(fused: bool, weight_decay: float) -> None:
    pair = Pair(fused=fused, weight_decay=weight_decay)
    for seed in range(60):
        for optimizer in pair.optimizers:
            optimizer.param_groups[0]["lr"] = 1e-2 * (60 - seed) / 60
        pair.step(*drawn(seed, ROWS // 2))
    pair.assert_equal()
    (live,) = pair.updates.num_live().values()
    assert 100 < live <= ROWS // 2


def test_rows_that_no_batch_touched_keep_every_bit() -> None:
    pair = Pair(weight_decay=0.0)
    for seed in range(5):
        pair.step(*drawn(seed, 50))
    assert torch.equal(pair.by_rows.weight[50:], pair.first[50:])
    assert torch.equal(pair.by_rows.weight[0], pair.first[0]), "the row of the padding"
    assert not torch.equal(pair.by_rows.weight[1:50], pair.first[1:50])


def test_a_row_seen_once_goes_on_until_its_moment_is_gone() -> None:
    pair = Pair(weight_decay=0.0)
    once = torch.tensor([[7]])
    pair.step(once, torch.full((1, 1, WIDTH), 1e-3))
    for seed in range(900):  # 0.9 ** 830 * 1e-4 is below the normal numbers
        pair.step(torch.tensor([[9]]), drawn(seed)[1][:1, :1])
    pair.assert_equal()
    moment = pair.optimizers[1].state[pair.by_rows.weight]["exp_avg"][7]
    assert torch.equal(moment, torch.zeros(WIDTH))
    assert not torch.equal(pair.by_rows.weight[7], pair.first[7])


@settings(max_examples=40)
@given(
    touched=st.lists(
        st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=12), min_size=1, max_size=8
    ),
    scale=st.sampled_from([0.0, 1e-20, 1.0, 1e10]),
    betas=st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.95, 0.98)]),
    eps=st.sampled_from([1e-8, 1e-3]),
)
def test_any_rows_in_any_order(
    touched: list[list[int]], scale: float, betas: tuple[float, float], eps: float
) -> None:
    pair = Pair(betas=betas, eps=eps, weight_decay=0.01)
    for seed, ids in enumerate(touched):
        generator = torch.Generator().manual_seed(seed)
        upstream = torch.randn(len(ids), WIDTH, generator=generator) * scale
        pair.step(torch.tensor(ids), upstream)
    torch.testing.assert_close(pair.by_rows.weight, pair.whole.weight, rtol=1e-4, atol=1e-5)


def test_a_gradient_of_all_rows_is_left_to_torch() -> None:
    pair = Pair()
    pair.step(*drawn(0, 40))
    ids, upstream = torch.arange(200, 290).repeat(3), torch.randn(270, WIDTH)
    pair.step(ids, upstream)
    assert not pair.by_rows.sparse
    for seed in range(1, 4):
        pair.step(*drawn(seed, 40))
        assert pair.by_rows.sparse
    pair.assert_equal()  # rows from 200 on went on by their moments


def test_gradients_of_several_batches_add_up() -> None:
    pair = Pair()
    for one, optimizer in zip((pair.whole, pair.by_rows), pair.optimizers, strict=True):
        for seed in range(4):
            ids, upstream = drawn(seed)
            (one(ids) * upstream).sum().backward()
        optimizer.step()
    assert pair.by_rows.weight.grad is None
    pair.assert_equal()


def test_several_batches_of_a_step_count_together() -> None:
    embedding = torch.nn.Embedding(ROWS, WIDTH)
    optimizer = torch.optim.AdamW(embedding.parameters())
    for num_batches, is_sparse in ((3, True), (4, False)):  # 50 tokens: 150 of 300 rows, then 200
        updates = RowUpdates(row_embeddings(embedding), optimizer, num_batches)
        embedding(torch.arange(50))
        assert embedding.sparse == is_sparse
        updates.detach()


def test_a_step_is_seen_by_what_saved_the_weight() -> None:
    pair = Pair()
    saved = (pair.by_rows.weight**2).sum()
    pair.step(*drawn(0))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.backward()


def test_a_weight_without_a_gradient_does_not_move() -> None:
    pair = Pair(weight_decay=0.5)
    pair.optimizers[1].step()
    assert torch.equal(pair.by_rows.weight, pair.first)
    assert not pair.optimizers[1].state


def test_moments_that_are_loaded_are_looked_at_anew() -> None:
    pair = Pair()
    for seed in range(3):
        pair.step(*drawn(seed, 50))
    kept = copy.deepcopy(pair.optimizers[0].state_dict())
    weight = pair.whole.weight.detach().clone()
    for seed in range(3, 6):
        pair.step(*drawn(seed, 250))
    for one, optimizer in zip((pair.whole, pair.by_rows), pair.optimizers, strict=True):
        optimizer.load_state_dict(copy.deepcopy(kept))
        with torch.no_grad():
            one.weight.copy_(weight)
    pair.step(*drawn(9, 10))
    pair.assert_equal()
    (live,) = pair.updates.num_live().values()
    assert live <= 50


def test_behind_it_everything_is_as_it_was() -> None:
    pair = Pair()
    pair.step(*drawn(0))
    assert pair.by_rows.sparse
    pair.updates.detach()
    assert not pair.by_rows.sparse
    for seed in range(1, 4):
        pair.step(*drawn(seed))
        assert pair.by_rows.weight.grad is not None and not pair.by_rows.weight.grad.is_sparse
    pair.assert_equal()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_embedding_has_gradients_of_all_rows(backend: str) -> None:
    pair = Pair()
    compiled = torch.compile(pair.by_rows, backend=backend)
    for seed in range(3):
        pair.step(*drawn(seed, 50))
    ids, upstream = drawn(3)
    (compiled(ids) * upstream).sum().backward()
    assert not pair.by_rows.weight.grad.is_sparse
    pair.optimizers[1].step()
    pair.whole.zero_grad()
    (pair.whole(ids) * upstream).sum().backward()
    pair.optimizers[0].step()
    pair.step(*drawn(4, 50))
    pair.assert_equal()


def test_a_copy_of_the_model_has_gradients_of_all_rows() -> None:
    pair = Pair()
    pair.step(*drawn(0))
    twin = copy.deepcopy(pair.by_rows)
    twin(drawn(1)[0]).sum().backward()
    assert not twin.weight.grad.is_sparse
    pair.step(*drawn(1))
    assert pair.by_rows.sparse
    pair.assert_equal()


# -- clipping ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e6, float("inf"), float("nan")])
@pytest.mark.parametrize("max_norm", [1.0, 0.01, float("inf")])
def test_gradients_are_clipped_as_torch_clips_them(scale: float, max_norm: float) -> None:
    pair = Pair()
    bias = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    norms, clipped = [], []
    for one, other, clip in zip(
        (pair.whole, pair.by_rows),
        bias,
        (torch.nn.utils.clip_grad_norm_, clip_grad_norm),
        strict=True,
    ):
        ids, upstream = drawn(0)
        ((one(ids) * upstream).sum() * scale + other.sum()).backward()
        norms.append(clip([one.weight, other, torch.nn.Parameter(torch.ones(1))], max_norm))
        gradient = one.weight.grad
        clipped.append((gradient.to_dense() if gradient.is_sparse else gradient, other.grad))
    torch.testing.assert_close(norms[1], norms[0], rtol=1e-6, atol=0, equal_nan=True)
    touched = torch.unique(drawn(0)[0])
    for by_rows, whole in zip(*reversed(clipped), strict=True):
        rows = touched if by_rows.dim() == 2 else slice(None)
        torch.testing.assert_close(by_rows[rows], whole[rows], rtol=1e-5, atol=0, equal_nan=True)


def test_small_gradients_keep_every_bit() -> None:
    weight = torch.nn.Parameter(torch.ones(4))
    weight.grad = torch.tensor([0.1, 0.2, 0.3, 0.4])
    before = weight.grad.clone()
    assert float(clip_grad_norm([weight], 1.0)) == pytest.approx(0.5477, abs=1e-4)
    assert torch.equal(weight.grad, before)


# -- which embeddings, which optimizers -----------------------------------------------------------


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(50, 8)
        self.head = torch.nn.Linear(8, 50)
        self.head.weight = self.words.weight


def changed(**attributes: Any) -> torch.nn.Embedding:
    embedding = torch.nn.Embedding(50, 8)
    for name, value in attributes.items():
        setattr(embedding, name, value)
    return embedding


def frozen() -> torch.nn.Embedding:
    return torch.nn.Embedding(50, 8).requires_grad_(False)


def hooked(kind: str) -> torch.nn.Embedding:
    embedding = torch.nn.Embedding(50, 8)
    getattr(embedding.weight, kind)(lambda _: None)
    return embedding


class Special(torch.nn.Embedding):
    """May do anything in its forward."""


@pytest.mark.parametrize(
    "model",
    [
        Tied(),
        frozen(),
        Special(50, 8),
        changed(max_norm=1.0),
        changed(scale_grad_by_freq=True),
        changed(sparse=True),
        torch.nn.Embedding(50, 8, dtype=torch.bfloat16),
        torch.nn.Embedding(50, 8, dtype=torch.float64),
        torch.nn.Embedding(50, 8, device="meta"),
        hooked("register_hook"),
        hooked("register_post_accumulate_grad_hook"),
        torch.nn.Linear(50, 8),
    ],
)
def test_weights_that_others_use_or_see_are_stepped_whole(model: torch.nn.Module) -> None:
    assert row_embeddings(torch.nn.Sequential(model)) == {}


def test_small_embeddings_are_stepped_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.ModuleDict({"a": torch.nn.Embedding(50, 8), "b": torch.nn.Embedding(60, 8)})
    assert list(row_embeddings(model)) == ["a", "b"]
    monkeypatch.setattr(row_updates, "MIN_ELEMENTS", 480)
    assert list(row_embeddings(model)) == ["b"]


def test_one_embedding_in_two_places_is_one() -> None:
    shared = torch.nn.Embedding(50, 8)
    model = torch.nn.ModuleDict({"encoder": shared, "decoder": shared})
    assert list(row_embeddings(model)) == ["encoder"]


def test_two_embeddings_of_one_weight_go_together() -> None:
    model = torch.nn.ModuleDict({"encoder": torch.nn.Embedding(50, 8), "decoder": changed()})
    model["decoder"].weight = model["encoder"].weight
    assert list(row_embeddings(model)) == ["encoder", "decoder"]
    model["decoder"].max_norm = 1.0
    assert row_embeddings(model) == {}


def test_only_plain_adamw_is_taken() -> None:
    weight = [torch.nn.Parameter(torch.ones(1))]
    assert why_not_adamw(torch.optim.AdamW(weight)) is None
    assert why_not_adamw(torch.optim.SGD(weight)) == "the optimizer is SGD, not torch's AdamW"
    assert "Adam," in str(why_not_adamw(torch.optim.Adam(weight)))
    for name in ("amsgrad", "maximize", "differentiable"):
        optimizer = torch.optim.AdamW(weight, **{name: True})
        assert why_not_adamw(optimizer) == f"AdamW runs with {name}=True"


# -- the kernel -----------------------------------------------------------------------------------


def arrays() -> list[Any]:
    return [
        *(np.zeros((4, 3), np.float32) for _ in range(3)),
        np.zeros(4, bool),
        np.array([1, 2]),
        np.ones((2, 3), np.float32),
    ]


OPTIONS = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "step": 1.0}


@pytest.mark.parametrize(
    ("place", "value", "error"),
    [
        (4, np.array([1, 4]), DataError),
        (4, np.array([-1, 2]), DataError),
        (4, np.array([2, 1]), DataError),
        (4, np.array([1, 1]), DataError),
        (4, np.array([1]), DataError),
        (4, np.array([1.0, 2.0]), TypeError),
        (1, np.zeros((3, 3), np.float32), DataError),
        (2, np.zeros((4, 2), np.float32), DataError),
        (3, np.zeros(5, bool), DataError),
        (5, np.ones((2, 4), np.float32), DataError),
        (5, np.ones((2, 3), np.float64), TypeError),
        (0, np.zeros((4, 6), np.float32)[:, ::2], Exception),
        (0, np.zeros((4, 0), np.float32), ConfigurationError),
    ],
)
def test_arrays_that_do_not_fit_are_refused(place: int, value: Any, error: Any) -> None:
    given = arrays()
    given[place] = value
    with pytest.raises(error):
        _fastft.adamw_rows(*given, **OPTIONS)
    assert not given[0].any()


def test_arrays_that_share_memory_are_refused() -> None:
    given = arrays()
    given[1] = given[0]
    with pytest.raises(Exception, match=r"borrow"):
        _fastft.adamw_rows(*given, **OPTIONS)
    assert not given[0].any()
