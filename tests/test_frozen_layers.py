"""Training on kept states of frozen layers is training with those layers run in every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fastft
from tests.frozen_trainers import Recorded, reference, trainer
from tests.tiny_seq2seq import save_tiny_t5, shouts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTFT_CACHE", str(tmp_path / "cache"))


def trained(one: Recorded) -> Recorded:
    one.train()
    return one


def assert_same_run(kept: Recorded, plain: Recorded) -> None:
    assert all(kept.carried) and not any(plain.carried), kept.explain_frozen()
    np.testing.assert_allclose(kept.losses, plain.losses, rtol=1e-5)
    expected = plain.model.state_dict()
    for name, value in kept.model.state_dict().items():
        pair = [_seen_by_the_loss(name, one.numpy()) for one in (value, expected[name])]
        np.testing.assert_allclose(*pair, rtol=1e-3, atol=2e-4, err_msg=name)


def _seen_by_the_loss(name: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Leaves the bias of keys out.

    It adds the same to all scores of a query, which a softmax does not see: its gradient is
    rounding alone, and AdamW makes steps of that as large as any other.
    """
    if name.endswith((".key.bias", ".k_lin.bias", ".k_proj.bias")):
        return weight[:0]
    if name.endswith(".c_attn.bias"):
        query, _, value = np.split(weight, 3)
        return np.concatenate([query, value])
    return weight


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "train"),
    [
        ("bert", "head"),
        ("t5", "last:1"),
        pytest.param("bert", "last:1", marks=SLOW),
        pytest.param("gpt2-lm", "last:1", marks=SLOW),
    ],
)
def test_fifty_steps(name: str, train: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"num_train_epochs": 5}
    kept = trained(trainer(tmp_path, name, train, **options))
    assert_same_run(kept, trained(reference(tmp_path, name, train, **options)))
    assert len(kept.losses) == 50
    # A head that reads one vector gets rows of one token.
    assert set(kept.widths) == {1} if train == "head" else kept.widths != {1}
    # What is left above the border takes no padding, from kept states either.
    assert train == "head" or "was padding" in kept.explain_padding(), kept.explain_padding()


@pytest.mark.parametrize("train", ["last:1", pytest.param("head", marks=SLOW)])
def test_memory_disk_and_another_run_agree_to_the_bit(train: str, tmp_path: Path) -> None:
    runs = [
        trained(trainer(tmp_path, "bert", train, cache)) for cache in ("memory", "disk", "disk")
    ]
    for other in runs[1:]:
        assert other.losses == runs[0].losses and all(other.carried)
    assert "kept on the disk" in runs[1].explain_frozen()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "train", "width"),
    [
        ("roberta", "head", 1),
        ("electra", "head", 1),
        ("distilbert", "head", 1),
        ("modernbert", "head", 1),
        ("modernbert-mean", "head", None),
        ("gpt2", "head", 1),
        ("llama", "head", 1),
        ("bert-tokens", "head", None),
        ("llama-lm", "head", None),
        ("roberta", "last:2", None),
        ("distilbert", "last:1", None),
        ("modernbert", "last:1", None),
        ("gpt2", "last:1", None),
        ("gpt2-lm", "last:1", None),
        ("llama-lm", "last:2", None),
        ("t5", "last:1", None),
        ("t5", "last:3", None),
        ("bart", "last:1", None),
    ],
)
def test_every_loss_is_that_of_layers_run_in_every_step(
    name: str, train: str, width: int | None, tmp_path: Path
) -> None:
    # Made and trained one after the other: both draw their dropout from the seed.
    kept = trained(trainer(tmp_path, name, train))
    plain = trained(reference(tmp_path, name, train))
    assert_same_run(kept, plain)
    # A head that reads one vector gets rows of one token.
    assert set(kept.widths) == {1} if width else kept.widths == plain.widths


def test_a_weight_under_the_border_is_found(tmp_path: Path) -> None:
    one = trained(trainer(tmp_path, "bart-whole", "last:1"))
    assert "the gradient of model.decoder.layernorm_embedding" in one.explain_frozen()
    assert not any(one.carried)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # newer versions have another name for it
@pytest.mark.parametrize("name", ["bert", "t5"])
def test_gradient_checkpointing_runs_on_kept_states(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    }
    kept = trained(trainer(tmp_path, name, "last:1", **options))
    assert_same_run(kept, trained(reference(tmp_path, name, "last:1", **options)))


@pytest.mark.slow
def test_texts_are_generated_by_the_whole_model(tmp_path: Path) -> None:
    """Between two steps the model is the ordinary one, so an evaluation may generate."""
    runs = []
    for choice in ("auto", "off"):
        result = fastft.finetune(
            save_tiny_t5(tmp_path / "t5"),
            [{"source": text, "target": other} for text, other in shouts(40)],
            "seq2seq",
            train="last:1",
            frozen_cache=choice,
            eval_strategy="epoch",
            num_train_epochs=2,
            predict_with_generate=True,
            output_dir=tmp_path / choice,
            quiet=True,
            use_cpu=True,
        )
        runs.append(result)
    assert "and 1 of 2 layers of decoder.block run once" in runs[0].trainer.explain_frozen()
    for name, value in runs[1].metrics.items():
        if not name.endswith(("runtime", "per_second")):
            assert runs[0].metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama-lm", "t5"])
def test_the_head_may_be_fused_too(name: str, tmp_path: Path) -> None:
    kept = trained(trainer(tmp_path, name, "last:1", fuse_head=True))
    plain = trained(reference(tmp_path, name, "last:1", fuse_head=True))
    assert_same_run(kept, plain)
    assert kept.explain_head().startswith("head: fused\n  losses without logits: 2")


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["memory", "disk"])
def test_half_precision_is_kept_as_it_is(choice: str, tmp_path: Path) -> None:
    kept = trainer(tmp_path, "llama-lm", "last:1", choice, bf16=True)
    trained(kept)
    assert all(kept.carried), kept.explain_frozen()
    plain = trained(reference(tmp_path, "llama-lm", "last:1", bf16=True))
    np.testing.assert_allclose(kept.losses, plain.losses, rtol=2e-2)
    first = list(kept.losses)
    kept.train()  # the model is wrapped by accelerate now
    assert all(kept.carried) and len(kept.losses) == 2 * len(first), kept.explain_frozen()
