"""Training from the same start on the same batches, against the Trainer of transformers.

Encoders begin from MiniLM, decoders and T5 from random weights of small configurations. The stock
Trainer runs as it is, with its ways of drawing rows of like length, and with two workers; orders
differ there, so only the default order is held against ours. All cores, wall time.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fastft.bench.row import Case, Context, Row, SkippedRow, Variant, absent
from fastft.bench.rows import training
from fastft.bench.rows.training import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ALL = {name: {"train_sampling_strategy": name} for name in training.STRATEGIES}
WORKERS = {"2 workers": {"dataloader_num_workers": 2}}


def rows() -> list[Row]:
    """A row for each task, and for two ways of training less."""
    peers: dict[str, dict[str, Any]] = {"default": {}, **ALL, **WORKERS}
    plain: dict[str, dict[str, Any]] = {"default": {}}
    found: list[tuple[str, Callable[[Context], Job], dict[str, dict[str, Any]], str]] = [
        ("classification", classification, peers, "text classification, MiniLM"),
        ("question-answering", answering, plain, "question answering, MiniLM"),
        ("causal-lm", causal, plain, "causal language model, a small GPT-2"),
        ("seq2seq", translation, plain, "translation, a small T5"),
        ("head", partial(classification, part="head"), plain, "the head alone, MiniLM"),
        ("lora", partial(classification, part="lora"), plain, "LoRA, MiniLM"),
    ]
    settings: dict[str, Any] = {
        "clock": "wall", "threads": None, "seconds": (0, 0), "repetitions": (3, 3),
    }  # fmt: skip
    lines = [
        Row(f"train/{name}", title, partial(_train, make=make, peers=variants), **settings)
        for name, make, variants, title in found
    ]
    return lines


def _train(
    context: Context, *, make: Callable[[Context], Job], peers: dict[str, dict[str, Any]]
) -> Iterable[Case]:
    job = make(context)
    rows, steps = job.listed(), context.pick(12, 200)

    def variant(name: str, data: Any, *, own: bool, **options: Any) -> Variant:
        work = training.train(job, data, own=own, max_steps=steps, **options)
        role: Any = "ours" if own else "peer"
        return Variant(name, work, role, fresh=lambda: (job.model(),), note=training.note)

    variants = [variant("fastft", job.dataset, own=True)]
    variants += [
        variant(f"transformers, {name}", rows, own=False, **options)
        for name, options in peers.items()
    ]
    yield Case(variants, lambda: training.check_losses(job, rows), steps * training.BATCH, "rows")


def _minilm(context: Context, auto: str, **options: Any) -> Callable[[], Any]:
    import torch
    import transformers

    path = context.data.minilm()

    def make() -> Any:
        torch.manual_seed(0)
        return getattr(transformers, auto).from_pretrained(
            path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **options
        )

    return make


def classification(context: Context, part: str = "all") -> Job:
    """SST-2 or Banking77; `part` is what is trained: "all", "head" or "lora"."""
    data = context.data
    if part == "lora" and (reason := absent("peft")):
        raise SkippedRow(reason)
    tokenizer = data.tokenizer("bert_uncased")
    if data.folder is None:
        source = data.example("banking77")
    else:
        source = data.folder / "classification/sst2_glue/train.tsv"
    found = training.task_data("text-classification", source, tokenizer, 128)
    columns = found["train"].columns["labels"]
    make = _minilm(context, "AutoModelForSequenceClassification", num_labels=int(max(columns)) + 1)
    if part == "head":
        make = partial(_with_frozen_base, make)
    elif part == "lora":
        make = partial(_with_adapters, make)
    return Job(
        make, found["train"], training.collators(tokenizer), tokenizer, found.get("validation")
    )


def _with_frozen_base(make: Callable[[], Any]) -> Any:
    model = make()
    for parameter in model.base_model.parameters():
        parameter.requires_grad_(False)
    return model


def _with_adapters(make: Callable[[], Any]) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    model = make()
    torch.manual_seed(0)
    config = LoraConfig(
        r=8, lora_alpha=16, target_modules=["query", "value"], task_type="SEQ_CLS",
        modules_to_save=["classifier"],
    )  # fmt: skip
    return get_peft_model(model, config)


def answering(context: Context) -> Job:
    """XQuAD, the English part."""
    data, tokenizer = context.data, context.data.tokenizer("bert_uncased")
    source = (
        data.example("xquad") if data.folder is None else data.folder / "qa/xquad/xquad.en.json"
    )
    found = training.task_data("question-answering", source, tokenizer, context.pick(128, 384))
    make = _minilm(context, "AutoModelForQuestionAnswering")
    return Job(make, found["train"], training.collators(tokenizer), tokenizer)


def causal(context: Context) -> Job:
    """A novel, in blocks; the stock loss of GPT-2 counts a label a row that is never predicted."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer, length = context.data.tokenizer("gpt2"), context.pick(64, 256)
    found = training.task_data(
        "causal-lm", {"train": {"text": context.data.corpus("long")}}, tokenizer, length
    )
    width = context.pick(64, 256)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=length, n_embd=width, n_layer=2, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip

    def make() -> Any:
        torch.manual_seed(0)
        return GPT2LMHeadModel(config)

    collators = training.collators(tokenizer, "ForLanguageModeling", mlm=False)
    return Job(make, found["train"], collators, tokenizer, tolerance=1.5 / length)


def translation(context: Context) -> Job:
    """Tanaka's sentences, English to Japanese."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    data, tokenizer = context.data, context.data.tokenizer("t5")
    folder = data.example("tanaka")
    columns = {
        language: (folder / f"train.{language}").read_text("utf-8").split("\n")[:-1]
        for language in ("en", "ja")
    }
    found = training.task_data(
        "translation", {"train": columns}, tokenizer, 64, source="en", target="ja", prefix=""
    )
    width = context.pick(64, 256)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=width // 4, d_ff=2 * width, num_layers=2,
        num_heads=4, dropout_rate=0.0, decoder_start_token_id=0,
    )  # fmt: skip

    def make() -> Any:
        torch.manual_seed(0)
        return T5ForConditionalGeneration(config)

    collators = training.collators(tokenizer, "ForSeq2Seq", model=make())
    return Job(make, found["train"], collators, tokenizer, seq2seq=True)
