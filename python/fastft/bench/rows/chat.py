"""From conversations to a few training steps on the replies in them.

Made conversations, a small GPT-2 with random weights, a template that marks what the assistant
writes. Every way turns the conversations into tokens itself: ours by the task "chat", transformers
by `apply_chat_template` with its mask, TRL by its `SFTTrainer`. All cores, wall time.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fastft.bench import made
from fastft.bench.row import Case, Context, Row, Variant, absent, demand
from fastft.bench.rows import training
from fastft.bench.rows.training import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_LENGTH = 256
STOCK, TRL = "apply_chat_template + transformers", "TRL"
IGNORED = -100
MARKS = ("<|im_start|>", "<|im_end|>")
TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['role'] == 'assistant' %}
{%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}
{%- else %}
{{- message['content'] + '<|im_end|>' }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}"""


def rows() -> list[Row]:
    """One row: the replies of an assistant."""
    settings: dict[str, Any] = {
        "clock": "wall", "threads": None, "seconds": (0, 0), "repetitions": (3, 3),
    }  # fmt: skip
    title = "conversations to training steps, a small GPT-2"
    return [Row("train/chat", title, _chat, **settings)]


def _chat(
    context: Context, number: tuple[int, int] = (500, 10_000), steps: tuple[int, int] = (6, 100)
) -> Iterable[Case]:
    chats, few = conversations(context.pick(*number)), context.pick(*steps)
    job = job_of(context)

    def variant(name: str, work: Callable[..., Any]) -> Variant:
        run = partial(work, job, chats, few)
        return Variant(name, run, fresh=lambda: (job.model(),), note=training.note)

    own = variant("fastft", _own)
    own.role = "ours"
    case = Case([own, variant(STOCK, _stock)], partial(_check, job, chats), few * job.batch, "rows")
    reason = absent("trl", "TRL") or _failure(job, chats)
    if reason is None:
        case.variants.append(variant(TRL, _trl))
    else:
        case.absent[TRL] = reason
    yield case


def conversations(number: int) -> list[list[dict[str, str]]]:
    """Chats of one to three questions, each with an answer that is longer."""
    questions, answers = made.texts(3 * number, 8, seed=1), made.texts(3 * number, 25, seed=2)
    chats = []
    for row in range(number):
        turns = range(3 * row, 3 * row + 1 + row % 3)
        messages = [[("user", questions[turn]), ("assistant", answers[turn])] for turn in turns]
        chats.append([
            {"role": role, "content": text} for pair in messages for role, text in pair
        ])  # fmt: skip
    return chats


def job_of(context: Context) -> Job:
    """A small decoder, and a tokenizer with a template that marks replies."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = context.data.tokenizer("gpt2")
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    tokenizer.chat_template = TEMPLATE
    width = context.pick(64, 256)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=MAX_LENGTH, n_embd=width, n_layer=2, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip

    def make() -> Any:
        torch.manual_seed(0)
        return GPT2LMHeadModel(config)

    return Job(make, None, training.collators(tokenizer, "ForSeq2Seq"), tokenizer)


def tokens_own(job: Job, chats: Any) -> Any:
    """Tokens and labels by our task."""
    data = {"train": {"messages": chats}}
    return training.task_data("chat", data, job.tokenizer, MAX_LENGTH)["train"]


def tokens_stock(job: Job, chats: Any) -> list[dict[str, Any]]:
    """Tokens and labels by the template of transformers."""
    found = []
    for chat in chats:
        row = job.tokenizer.apply_chat_template(
            chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
            truncation=True, max_length=MAX_LENGTH,
        )  # fmt: skip
        ids, mask = row["input_ids"], row["assistant_masks"]
        labels = [token if is_reply else IGNORED for token, is_reply in zip(ids, mask, strict=True)]
        found.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    return found


def _own(job: Job, chats: Any, steps: int, model: Any) -> Any:
    data = tokens_own(job, chats)
    return training.train(job, data, own=True, max_steps=steps)(model)


def _stock(job: Job, chats: Any, steps: int, model: Any) -> Any:
    return training.train(job, tokens_stock(job, chats), own=False, max_steps=steps)(model)


def _trl(job: Job, chats: Any, steps: int, model: Any) -> Any:
    import datasets
    import transformers
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder, per_device_train_batch_size=job.batch, max_steps=steps,
            learning_rate=2e-4, logging_steps=1, save_strategy="no", report_to="none", seed=42,
            disable_tqdm=True, use_cpu=True, bf16=False, gradient_checkpointing=False,
            max_length=MAX_LENGTH, assistant_only_loss=True,
        )  # fmt: skip
        trainer = SFTTrainer(
            model=model, args=arguments, processing_class=job.tokenizer,
            train_dataset=datasets.Dataset.from_dict({"messages": chats}),
        )  # fmt: skip
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return trainer


def _failure(job: Job, chats: Any) -> str | None:
    """Why TRL cannot be a peer here: its API changes, and must not cost the row."""
    try:
        found = training.curve(_trl(job, chats[:64], 2, job.model()))
    except Exception as error:  # whatever it raises
        return f"{type(error).__name__}: {(str(error).splitlines() or ['it failed'])[0]}"
    expected = training.curve(_stock(job, chats[:64], 2, job.model()))
    worst = max(abs(a[1] - b[1]) / b[1] for a, b in zip(found, expected, strict=True))
    return f"its losses lie {worst:.1e} from those of transformers" if worst > 1e-3 else None


def _check(job: Job, chats: Any) -> str:
    own, stock = tokens_own(job, chats), tokens_stock(job, chats)
    demand(len(own) == len(stock), f"{len(own)} and {len(stock)} rows")
    for number, expected in enumerate(stock):
        for name in ("input_ids", "labels"):
            demand(list(own[number][name]) == expected[name], f"{name} of row {number} differ")
    text = training.check_losses(replace(job, dataset=own), stock)
    return f"tokens and labels of {len(own):,} rows equal, {text}"
