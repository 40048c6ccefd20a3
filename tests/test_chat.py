"""Chat: what is trained on is what the assistant says, and the mark that ends its turn."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

import fastft
from fastft.data.sources import open_source
from fastft.data.tokenizer import Tokenizer
from fastft.errors import ColumnError, ConfigurationError, DataError
from fastft.tasks.built_in_templates import TEMPLATES
from fastft.tasks.chat import Chat
from fastft.tasks.chat_template import ChatTemplate
from fastft.tasks.chat_tokens import reply_tokens
from fastft.tasks.inference import Inference
from fastft.tasks.registry import task_class
from tests.chat_models import CHATML_MARKED, THINKING, TURN_ENDS, byte_tokenizer, tiny_llama

USER, REPLY = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
TWO_TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "two?"},
    {"role": "assistant", "content": "2\n"},
]


@cache
def fast_tokenizer(name: str) -> Tokenizer:
    return Tokenizer.from_hf(byte_tokenizer(name))


def task_of(data: Any, **options: Any) -> Chat:
    return Chat.from_source(open_source(data), {**Chat.options, **options})


def tokens_of(data: Any, hf: Any, max_length: int = 10_000, **options: Any) -> Any:
    split = open_source(data).splits["train"]
    return task_of(data, **options).data(split, Tokenizer.from_hf(hf), max_length)


def trained(dataset: Any, hf: Any, row: int = 0) -> list[str]:
    """The text of every run of labels in a row."""
    labels = np.array(dataset[row]["labels"])
    is_trained = np.concatenate([[0], labels != -100, [0]]).astype(int)
    starts, ends = (np.flatnonzero(np.diff(is_trained) == step) for step in (1, -1))
    return [hf.decode(labels[start:end]) for start, end in zip(starts, ends, strict=True)]


def text_of(dataset: Any, hf: Any, row: int = 0) -> str:
    return hf.decode(dataset[row]["input_ids"])


# -- columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({"messages": [USER, REPLY]}, {}),
        ({"dialog": [USER, REPLY]}, {"messages": "dialog"}),
        ({"prompt": "hi", "completion": "hello"}, {}),
        ({"prompt": [USER], "completion": [REPLY]}, {}),
        ({"instruction": "hi", "output": "hello", "input": ""}, {}),
        ({"instruction": "hi", "response": "hello"}, {}),
        ({"question": "hi", "answer": "hello"}, {"prompt": "question", "completion": "answer"}),
        (
            {
                "conversations": [
                    {"from": "human", "value": "hi"},
                    {"from": "gpt", "value": "hello"},
                ]
            },
            {},
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, REPLY]},
            None,
        ),
    ],
)
def test_every_layout_gives_the_same_conversation(row, options):
    if options is None:  # Arrow holds one type a column, so both contents are lists of parts
        parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
        row = {"messages": [row["messages"][0], {"role": "assistant", "content": parts}]}
    hf = byte_tokenizer("chatml")
    dataset = tokens_of([row], hf, **(options or {})).dataset
    assert text_of(dataset, hf) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n"
    )
    assert trained(dataset, hf) == ["hello<|im_end|>"]


def test_the_input_of_alpaca_follows_the_instruction():
    rows = [{"instruction": "Sum up.", "input": "1 2", "output": "3"}]
    hf = byte_tokenizer("alpaca")
    text = text_of(tokens_of(rows, hf).dataset, hf)
    assert text == "### Instruction:\nSum up.\n\n1 2\n\n### Response:\n3</s>\n\n"


def test_an_input_that_is_no_text_is_refused():
    rows = [{"instruction": "a", "output": "b", "input": ""}]
    split = open_source([{"instruction": "a", "input": 7}]).splits["train"]
    with pytest.raises(DataError, match="input of an instruction is not text"):
        task_of(rows).columns.prompts(split, 0, 1)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_messages_are_read_from_files(tmp_path, suffix):
    import pyarrow as pa
    import pyarrow.parquet

    rows = [{"messages": TWO_TURNS}, {"messages": [{**USER, "name": "x"}, REPLY]}]
    path = tmp_path / f"train.{suffix}"
    if suffix == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows)))
    hf = byte_tokenizer("chatml")
    data = tokens_of(path, hf)
    assert trained(data.dataset, hf, 1) == ["hello<|im_end|>"]
    (note,) = data.notes
    assert "'name' of messages is not written by the chat template" in note


def test_a_system_message_goes_in_front_where_none_is():
    hf = byte_tokenizer("chatml")
    rows = [{"messages": [USER, REPLY]}, {"messages": TWO_TURNS}]
    dataset = tokens_of(rows, hf, system="Be kind.").dataset
    assert text_of(dataset, hf).startswith("<|im_start|>system\nBe kind.<|im_end|>\n")
    assert "Be kind." not in text_of(dataset, hf, 1)


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"question": "a", "answer": "b"}, {}, 'prompt="question", completion="answer"'),
        ({"text": "a"}, {}, "no columns with conversations"),
        ({"messages": [USER, REPLY], "prompt": "a", "completion": "b"}, {}, "several columns"),
        ({"messages": [USER, REPLY]}, {"messages": "mesages"}, "did you mean messages='messages'"),
        ({"messages": [1, 2]}, {}, "holds no conversations"),
        (
            {"prompt": "a", "completion": "b"},
            {"prompt": "completion"},
            "both prompt and completion",
        ),
        ({"messages": [USER, REPLY]}, {"messages": "messages", "prompt": "x"}, "named twice"),
    ],
)
def test_columns_that_are_not_clear_are_refused(row, options, message):
    with pytest.raises(ColumnError, match="(?s).*".join(message.split("..."))):
        task_of([row], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_on": "all"}, "train_on names no part"),
        ({"system": ""}, "system is no message"),
        ({"chat_template": "chatlm"}, "did you mean 'chatml'"),
        ({"chat_template": "{% for m in messages %}{{ m.content }}"}, "not valid Jinja"),
        ({"chat_template": "{{ 'always the same' }}"}, "leaves out what the assistant says"),
        ({"text": "messages"}, "text= has no meaning"),
        ({}, "the tokenizer has no chat template"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        tokens_of([{"messages": [USER, REPLY]}], byte_tokenizer(), **options)


# -- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([USER], "no reply of the assistant"),
        ([REPLY, USER], "begins with a reply"),
        ([USER, {"role": "assistant", "content": "  "}], "message 2: the message of the assistant"),
        ([{"role": "user", "content": ""}, REPLY], "message 1: the message of the user is empty"),
        ([USER, {"role": "asistant", "content": "a"}], "did you mean 'assistant'"),
        ([USER, {"content": "a"}], "message 2: a message has no role"),
        ([], "there is no conversation here"),
        (None, "there is no conversation here"),
        ([{"from": "human", "value": "a"}, {"from": "function_call", "value": "{}"}], "tool_calls"),
        ([USER, {"role": "assistant", "tool_calls": [{"name": "f"}]}], "the calls would be lost"),
        ([USER, {"role": "user", "content": "a"}, REPLY], "roles must alternate"),
    ],
)
def test_a_wrong_row_is_named_and_what_is_wrong_with_it(messages, message):
    rows = [{"messages": [USER, REPLY]}, {"messages": messages}]
    with pytest.raises(DataError, match=message) as caught:
        tokens_of(rows, byte_tokenizer("llama-2"))
    assert str(caught.value).startswith("row 1 of the list given as data, column 'messages'")


def test_pictures_are_refused():
    parts = [{"type": "text", "text": "what is this?"}, {"type": "image", "url": "a.png"}]
    rows = [{"messages": [{"role": "user", "content": parts}]}]
    with pytest.raises(DataError, match="content of a message is not text"):
        tokens_of(rows, byte_tokenizer("chatml"))


def test_tool_calls_are_rendered_by_a_template_that_knows_them():
    template = (
        "{% for m in messages %}{{ m.role }}:{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.name }}{% endfor %};{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    calls = [USER, {"role": "assistant", "tool_calls": [{"name": "f"}]}]
    result = [{"role": "tool", "content": "7"}, REPLY]
    hf = byte_tokenizer(template)
    data = tokens_of([{"messages": [*calls, *result], "tools": "[]"}], hf)
    assert trained(data.dataset, hf) == ["f;", "hello;"]
    assert data.notes == ("column 'tools' is not shown to the chat template",)


def test_what_follows_the_last_reply_is_left_out_and_counted():
    hf = byte_tokenizer("chatml")
    data = tokens_of([{"messages": [USER, REPLY, USER]}, {"messages": [USER, REPLY]}], hf)
    assert text_of(data.dataset, hf).endswith("hello<|im_end|>\n")
    assert len(data.notes) == 1
    assert data.notes[0].startswith("train: in 1 of 2 rows what follows the last reply is left out")


def test_replies_that_are_cut_are_counted_and_those_cut_away_named():
    hf = byte_tokenizer("plain")
    rows = [{"prompt": "ab", "completion": "cd"}] * 198
    rows += [
        {"prompt": "ab", "completion": "cdefghijkl"},
        {"prompt": "abcdefghi", "completion": "k"},
    ]
    data = tokens_of(rows, hf, max_length=8)
    assert [text_of(data.dataset, hf, row) for row in (0, 198, 199)] == [
        "ab\ncd</s>\n",
        "ab\ncdefg",
        "abcdefgh",
    ]
    assert data.dataset.num_truncated_rows == 2
    # "cdefghijkl</s>\n" loses 7 tokens, "i\nk</s>\n" all its 5.
    assert data.dataset.num_truncated_tokens == 12
    cut, away = data.notes
    assert "1 of 200 rows a reply is cut by max_length=8" in cut
    assert "1 of 200 rows no token of a reply is left" in away and "row 199" in away


def test_more_than_one_row_in_a_hundred_without_a_label_is_an_error():
    rows = [{"prompt": "abcdefghi", "completion": "k"}] * 2 + [{"prompt": "a", "completion": "b"}]
    with pytest.raises(DataError, match="raise max_length") as caught:
        tokens_of(rows, byte_tokenizer("plain"), max_length=8)
    assert "2 of 3 rows" in str(caught.value)


# -- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_the_replies_and_their_ends_are_trained_on(name):
    hf, end = byte_tokenizer(name), TURN_ENDS[name]
    front = " " if name == "llama-2" else ""
    last = "2" if "llama" in name else "2\n"  # these two trim what is said
    dataset = tokens_of([{"messages": TWO_TURNS}], hf).dataset
    assert trained(dataset, hf) == [f"{front}1{end}", f"{front}{last}{end}"]
    dataset = tokens_of([{"messages": TWO_TURNS}], hf, train_on="completion").dataset
    assert trained(dataset, hf) == [f"{front}{last}{end}"]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_ids_are_those_of_apply_chat_template(name):
    hf = byte_tokenizer(name)
    dataset = tokens_of([{"messages": TWO_TURNS}], hf).dataset
    assert dataset[0]["input_ids"] == hf.apply_chat_template(TWO_TURNS)["input_ids"]


SAID = st.text(
    st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=12
) | st.sampled_from(
    [
        "[/INST]",
        " a [INST] b ",
        "<|im_start|>assistant\nno<|im_end|>",
        "</s>",
        "### Response:\n",
        "x ",
    ]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    said=st.lists(SAID.filter(str.strip), min_size=2, max_size=6).filter(lambda x: len(x) % 2 == 0),
    name=st.sampled_from(sorted(TEMPLATES)),
    system=st.none() | st.just("") | SAID,
)
def test_labels_decode_to_exactly_what_the_assistant_says(said, name, system):
    """Whatever is said, the words of the template among it."""
    messages = [
        {"role": "assistant" if index % 2 else "user", "content": text}
        for index, text in enumerate(said)
    ]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    tokenizer = fast_tokenizer(name)
    hf, dataset = tokenizer.hf, tokens_of([{"messages": messages}], tokenizer).dataset
    template = ChatTemplate.of(hf)
    # jinja's trim is str.strip.
    replies = [text.strip() if "llama" in name else text for text in said[1::2]]
    front = " " if name == "llama-2" else ""
    expected = [f"{front}{reply}{TURN_ENDS[name]}" for reply in replies]
    assert trained(dataset, hf) == expected
    assert text_of(dataset, hf) == template.render([messages])[0]


def test_marks_of_the_template_say_the_same_as_turn_by_turn_rendering():
    rows = [{"messages": TWO_TURNS}, {"messages": [USER, REPLY]}]
    marked, plain = byte_tokenizer(CHATML_MARKED), byte_tokenizer("chatml")
    ours = tokens_of(rows, marked).dataset
    for row, chat in enumerate(rows):
        stock = marked.apply_chat_template(chat["messages"], return_assistant_tokens_mask=True)
        assert ours[row]["input_ids"] == stock["input_ids"]
        mask = [int(label != -100) for label in ours[row]["labels"]]
        assert mask == stock["assistant_masks"]
    assert [ours[row] for row in (0, 1)] == [tokens_of(rows, plain).dataset[row] for row in (0, 1)]
    last = tokens_of(rows, marked, train_on="completion").dataset
    assert trained(last, marked) == ["2\n<|im_end|>"]


def test_a_template_that_drops_earlier_thoughts_trains_on_the_last_reply_alone():
    thinking = [USER, {**REPLY, "reasoning_content": "greet"}, USER, REPLY]
    hf = byte_tokenizer(THINKING)
    with pytest.raises(DataError, match="writes a turn differently") as caught:
        tokens_of([{"messages": [USER, REPLY]}, {"messages": thinking}], hf)
    assert "row 1 of" in str(caught.value) and "message 2" in str(caught.value)
    assert 'train_on="completion"' in caught.value.fix
    data = tokens_of([{"messages": thinking}], hf, train_on="completion")
    assert trained(data.dataset, hf) == ["<think>\n\n</think>\n\nhello<|im_end|>"]
    assert data.notes == ()


def test_a_template_whose_prompt_is_no_beginning_is_refused():
    template = "{{ 'p' if add_generation_prompt else 'c' }}{% for m in messages %}{{ m.content }}"
    with pytest.raises(DataError, match="before this message differently") as caught:
        tokens_of([{"messages": [USER, REPLY]}], byte_tokenizer(template + "{% endfor %}"))
    assert "generation" in caught.value.fix


def test_a_token_across_the_border_of_a_reply_is_trained_on_and_counted():
    """ ":h" is one token here: without it the model would never learn the first letter."""
    template = "{% for m in messages %}{{ m.role[0] + ':' + m.content }}{% endfor %}"
    template += "{% if add_generation_prompt %}a:{% endif %}"
    hf = byte_tokenizer(template, merges=((":", "h"),))
    data = tokens_of([{"messages": [USER, REPLY]}], hf)
    assert trained(data.dataset, hf) == [":hello"]
    assert "1 of 1 rows a token stands across the border" in data.notes[0]
    marked = template.replace(
        "{{ m.role[0] + ':' + m.content }}",
        "{{ m.role[0] + ':' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}",
    )
    stock = hf.apply_chat_template(
        [USER, REPLY], chat_template=marked, return_assistant_tokens_mask=True
    )
    assert stock["assistant_masks"] == [int(x != -100) for x in data.dataset[0]["labels"]]


def test_tokens_count_by_the_characters_they_share_with_a_reply():
    """The second token has no character of its own, as a mark for the begin of a word."""
    places = np.array([[0, 1], [1, 1], [1, 3], [3, 5]])
    trained_on, across = reply_tokens(places, [(1, 3)])
    assert trained_on.tolist() == [False, True, True, False]
    assert not across.any()
    trained_on, across = reply_tokens(places, [(2, 4)])
    assert trained_on.tolist() == across.tolist() == [False, False, True, True]


def test_pad_is_the_end_token_and_the_end_is_still_trained_on():
    hf = byte_tokenizer("plain")
    assert hf.pad_token_id == hf.eos_token_id
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "much longer"}]
    dataset = tokens_of(rows, hf).dataset
    batch = task_of(rows).collator(hf, None)(dataset.__getitems__([0, 1]))
    short = batch["labels"][0]
    assert short[2:4].tolist() == [hf.convert_tokens_to_ids("b"), hf.eos_token_id]
    assert (short[4:] == -100).all() and (short[:2] == -100).all()
    assert batch["labels"].shape == batch["input_ids"].shape


def test_a_byte_tokenizer_that_trims_places_does_not_move_the_border():
    """GPT-2 takes spaces out of a token's place afterwards; the space here is the prompt's."""
    from tokenizers import processors

    template = "{% for m in messages %}{{ m.role[0] + ': ' + m.content }}{% endfor %}"
    hf = byte_tokenizer(template + "{% if add_generation_prompt %}a: {% endif %}")
    hf.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    dataset = tokens_of([{"messages": [USER, REPLY]}], hf).dataset
    assert trained(dataset, hf) == ["hello"]


def test_the_bytes_of_one_character_share_its_label(shared_data):
    """Llama writes an emoji in four tokens of the same place; the stock mask keeps the first."""
    path = shared_data / "tokenizers" / "llama2" / "tokenizer.json"
    hf = PreTrainedTokenizerFast(tokenizer_file=str(path), bos_token="<s>", eos_token="</s>")
    hf.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    dataset = tokens_of([{"prompt": "a\n", "completion": "b😀"}], hf).dataset
    labels = np.array(dataset[0]["labels"])
    assert hf.decode(labels[labels != -100]) == "b😀"


def test_truncation_follows_the_side_of_the_tokenizer():
    hf = byte_tokenizer("plain")
    hf.truncation_side = "left"
    dataset = tokens_of([{"prompt": "abc", "completion": "de"}], hf, max_length=5).dataset
    assert text_of(dataset, hf) == "\nde</s>\n"
    assert trained(dataset, hf) == ["de</s>"]


def test_what_a_tokenizer_cuts_and_pads_by_itself_counts_for_nothing():
    hf = byte_tokenizer("plain")
    hf.backend_tokenizer.enable_truncation(4)
    hf.backend_tokenizer.enable_padding(length=64)
    dataset = tokens_of([{"prompt": "abc", "completion": "de"}], hf).dataset
    assert text_of(dataset, hf) == "abc\nde</s>\n"
    assert hf.backend_tokenizer.truncation["max_length"] == 4


def test_a_label_that_no_model_can_predict_is_none():
    """The end token alone is left in front, and nothing comes before it."""
    hf = byte_tokenizer("plain")
    hf.truncation_side = "left"
    data = tokens_of([{"prompt": "abc", "completion": "de"}], hf, max_length=2)
    assert trained(data.dataset, hf) == ["</s>"]
    assert any("no token of a reply is left" in note for note in data.notes)


def test_the_begin_token_is_written_once():
    from tokenizers import processors

    hf = byte_tokenizer()
    hf.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", hf.bos_token_id)]
    )
    for name in TEMPLATES:
        ids = tokens_of([{"messages": [USER, REPLY]}], hf, chat_template=name).dataset[0][
            "input_ids"
        ]
        assert ids[0] == hf.bos_token_id
        assert ids.count(hf.bos_token_id) == 1


def test_rows_are_the_same_in_slices(monkeypatch):
    import fastft.tasks.chat as chat

    rows = [{"prompt": f"q{row}", "completion": f"a{row}"} for row in range(10)]
    hf, done = byte_tokenizer("chatml"), []
    whole = tokens_of(rows, hf).dataset
    monkeypatch.setattr(chat, "ROWS_PER_SLICE", 3)
    split = open_source(rows).splits["train"]
    parts = task_of(rows).data(split, Tokenizer.from_hf(hf), 100, done.append).dataset
    assert [parts[row] for row in range(10)] == [whole[row] for row in range(10)]
    assert done == [3, 6, 9, 10]
    with pytest.raises(DataError, match="row 7 of"):
        tokens_of([*rows[:7], {"prompt": "", "completion": "a"}], hf)


def test_no_tokenizer_is_changed():
    hf = byte_tokenizer()
    before = hf.backend_tokenizer.to_str()
    task = task_of([{"messages": [USER, REPLY]}], chat_template="chatml")
    tokens_of([{"messages": [USER, REPLY]}], hf, chat_template="chatml")
    kept = task.prepared_tokenizer(hf)
    assert hf.chat_template is None and hf.backend_tokenizer.to_str() == before
    assert kept.chat_template == TEMPLATES["chatml"]
    assert task.prepared_tokenizer(kept) is kept


def test_a_named_template_takes_the_place_of_the_models_own():
    data = tokens_of(
        [{"messages": [USER, REPLY]}], byte_tokenizer("llama-3"), chat_template="chatml"
    )
    assert data.notes == ("chatml takes the place of the model's own chat template",)


def test_an_end_mark_that_is_no_token_is_named():
    template = "{% for m in messages %}{{ m.content + '<end>' }}{% endfor %}"
    data = tokens_of([{"messages": [USER, REPLY]}], byte_tokenizer(template))
    assert "'<end>', which ends a turn, takes 5 tokens" in data.notes[0]


def test_a_template_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(TEMPLATES["alpaca"])
    hf = byte_tokenizer()
    task = task_of([{"messages": [USER, REPLY]}], chat_template=str(path))
    path.unlink()  # the text travels, not the path
    again = Chat.from_state(json.loads(json.dumps(task.state())))
    assert again == task
    assert again.chat_template(hf).turn_end == "</s>\n\n"


# -- the rest of the task -----------------------------------------------------------------------


def test_the_registry_knows_the_task():
    assert task_class("chat") is Chat
    assert "'prompt' -> 'completion'" in task_of([{"prompt": "a", "completion": "b"}]).describe()


def test_conversations_that_begin_alike_stay_on_one_side():
    rows = [{"prompt": f"q{row % 20}", "completion": f"a{row}"} for row in range(100)]
    train, held = task_of(rows).hold_out(open_source(rows).splits["train"], fraction=0.2, seed=1)
    sides = [set(side.table.column("prompt").to_pylist()) for side in (train, held)]
    assert len(sides[1]) == 4 and not sides[0] & sides[1]
    assert train.table.num_rows + held.table.num_rows == 100


def test_conversations_that_all_begin_alike_cannot_be_cut():
    rows = [{"prompt": "q", "completion": f"a{row}"} for row in range(10)]
    with pytest.raises(DataError, match="same prompt"):
        task_of(rows).hold_out(open_source(rows).splits["train"], fraction=0.2, seed=1)


def test_perplexity_follows_from_the_loss():
    task = task_of([{"prompt": "a", "completion": "b"}])
    assert task.loss_metrics(2.0) == {"perplexity": pytest.approx(np.exp(2.0))}
    assert task.loss_metrics(1e4) == {"perplexity": np.inf}
    smoothed = {"metric_for_best_model": "eval_perplexity", "label_smoothing_factor": 0.1}
    with pytest.raises(ConfigurationError, match="no perplexity"):
        task.check_arguments(smoothed)
    task.check_arguments({**smoothed, "metric_for_best_model": "loss"})
    assert task.training_defaults({}) == {"prediction_loss_only": True}


# -- replies ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parrot():
    """A model that has learnt three answers by heart, in ChatML."""
    hf = byte_tokenizer("chatml")
    rows = [
        {"prompt": "a", "completion": "alpha one"},
        {"prompt": "what is b, please?", "completion": "beta"},
        {"prompt": "cc", "completion": "gamma ray"},
    ]
    model, dataset = tiny_llama(len(hf)), tokens_of(rows, hf).dataset
    batch = task_of(rows).collator(hf, model)(dataset.__getitems__([0, 1, 2]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return rows, model, hf


def answer(parrot, prompts: list[Any], **options: Any) -> list[str]:
    rows, model, hf = parrot
    batch_size = options.pop("batch_size", 32)
    inference = Inference(model, Tokenizer.from_hf(hf), 128, batch_size, options)
    split = open_source([{"prompt": prompt} for prompt in prompts]).splits["train"]
    return [reply["text"] for reply in task_of(rows).predict(split, inference)]


def test_replies_end_where_the_turn_ends(parrot):
    assert answer(parrot, ["a", "what is b, please?", "cc"]) == ["alpha one", "beta", "gamma ray"]


def test_a_reply_does_not_depend_on_the_rows_beside_it(parrot):
    prompts = ["a", "what is b, please?", "cc", "something else entirely"]
    together = answer(parrot, prompts)
    assert [answer(parrot, [prompt])[0] for prompt in prompts] == together
    assert answer(parrot, prompts, batch_size=2) == together


def test_messages_can_be_answered_and_the_length_be_set(parrot):
    assert answer(parrot, [[{"role": "user", "content": "cc"}]]) == ["gamma ray"]
    assert answer(parrot, ["cc"], max_new_tokens=5) == ["gamma"]


def test_the_model_is_told_where_a_reply_ends(parrot):
    rows, _, hf = parrot
    model = tiny_llama(len(hf))
    model.generation_config.eos_token_id = 7
    task = task_of(rows)
    task.prepare_model(model, hf, {})
    ends = [7, *hf.convert_tokens_to_ids(["</s>", "<|im_end|>"])]
    assert model.generation_config.eos_token_id == ends
    task.prepare_model(model, byte_tokenizer("plain"), {})  # whose end is </s>
    assert model.generation_config.eos_token_id == ends


def test_an_end_mark_of_several_tokens_ends_a_reply_too(parrot):
    """Under a template whose turns end with more, the model is stopped by that text."""
    rows, model, hf = parrot
    other = byte_tokenizer(
        TEMPLATES["chatml"].replace(
            "message['content'] +",
            "message['content'] + ('a ray' if message['role'] == 'assistant' else '') +",
        )
    )
    assert ChatTemplate.of(other).turn_end == "a ray<|im_end|>\n"
    assert answer((rows, model, other), ["cc"]) == ["gamm"]
    assert answer((rows, model, hf), ["cc"]) == ["gamma ray"]


def test_what_cannot_be_answered_is_refused(parrot):
    with pytest.raises(DataError, match="ends with a reply"):
        answer(parrot, [[USER, REPLY]])
    with pytest.raises(DataError, match="leaves no room for a reply"):
        answer(parrot, ["x" * 600])
    with pytest.raises(ConfigurationError, match="max_new_tokens"):
        answer(parrot, ["a"], max_new_tokens=0)


def test_a_reply_stops_at_the_last_position_of_the_model(parrot):
    nothing = [{"role": "user", "content": ""}]
    empty = parrot[2].apply_chat_template(nothing, add_generation_prompt=True)["input_ids"]
    prompt = "z" * (512 - len(empty) - 3)
    (text, other) = answer(parrot, [prompt, "cc"])
    assert len(text) <= 3 and other == "gamma ray"


# -- the whole way ------------------------------------------------------------------------------


def test_a_run_trains_answers_and_is_loaded_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hf = byte_tokenizer()
    tiny_llama(len(hf)).save_pretrained("model")
    hf.save_pretrained("model")
    rows = [{"prompt": f"say {row % 9}", "completion": f"{row % 9}!"} for row in range(40)]
    options = {"max_new_tokens": 4}
    result = fastft.finetune(
        "model", rows, chat_template="chatml", num_train_epochs=1, output_dir="run"
    )
    loss = result.metrics["eval_loss"]
    assert result.metrics["eval_perplexity"] == pytest.approx(np.exp(loss))
    asked = ["say 3", "say 4"]
    replies = result.predict(asked, **options)
    assert [set(reply) for reply in replies] == [{"text"}] * 2
    chats = [[{"role": "user", "content": text}] for text in asked]
    assert result.predict(chats, **options) == replies
    assert fastft.load("run").predict(asked, **options) == replies


@pytest.mark.slow
def test_the_example_is_short_and_runs(tmp_path):
    hf = byte_tokenizer()
    tiny_llama(len(hf)).save_pretrained(tmp_path / "model")
    hf.save_pretrained(tmp_path / "model")
    script = Path(__file__).parent.parent / "examples" / "chat.py"
    assert len(script.read_text().splitlines()) <= 15
    words = [sys.executable, str(script), "model"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "train 160 rows  validation 40 rows" in done.stderr
    assert done.stdout.rstrip().splitlines()[-1].startswith("[{'text': ")


def test_the_run_says_which_argument_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hf = byte_tokenizer()
    tiny_llama(len(hf)).save_pretrained("model")
    hf.save_pretrained("model")
    rows = [{"prompt": f"a{row}", "completion": "b"} for row in range(4)]
    with pytest.raises(ConfigurationError, match="chat_template"):
        fastft.finetune("model", rows, task="chat", output_dir="run")
    assert not (tmp_path / "run").exists()


def test_ids_beyond_the_model_are_refused(tmp_path, monkeypatch):
    """The marks of ChatML were added to the tokenizer and not to the model."""
    monkeypatch.chdir(tmp_path)
    hf = byte_tokenizer()
    tiny_llama(258).save_pretrained("model")
    hf.save_pretrained("model")
    rows = [{"prompt": f"a{row}", "completion": "b"} for row in range(40)]
    with pytest.raises(fastft.Error, match="258"):
        fastft.finetune("model", rows, task="chat", chat_template="chatml", output_dir="run")


# -- real data ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2(shared_data):
    from transformers import GPT2Tokenizer

    hf = GPT2Tokenizer.from_pretrained(shared_data / "tokenizers" / "gpt2")
    hf.pad_token = hf.eos_token
    return hf


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("gsm8k/test.jsonl", {"prompt": "question", "completion": "answer"}),
        ("alpaca_demo/alpaca_en_demo.json", {}),
        ("alpaca_demo/alpaca_zh_demo.json", {}),
        ("gpteacher/roleplay-simple-deduped-roleplay-instruct.json", {}),
    ],
)
def test_real_replies_are_labelled_whole(shared_data, gpt2, file, options):
    path = shared_data / "instruct" / file
    split = open_source(path).splits["train"]
    data = tokens_of(path, gpt2, chat_template="alpaca", **options)
    replies = split.table.column(task_of(path, **options).columns.completion).to_pylist()
    ids, labels = data.dataset.ids, data.dataset.columns["labels"]
    for row, reply in enumerate(replies):
        assert gpt2.decode(labels[row][labels[row] != -100]) == f"{reply}<|endoftext|>"
    assert data.dataset.num_truncated_rows == 0 and len(ids) == len(labels.values)


def test_calls_of_tools_in_sharegpt_are_refused_by_name(shared_data, gpt2):
    path = shared_data / "instruct" / "alpaca_demo" / "glaive_toolcall_en_demo.json"
    with pytest.raises(DataError, match="function_call") as caught:
        tokens_of(path, gpt2, chat_template="chatml")
    assert "tool_calls" in caught.value.fix and "line" in caught.value.place
    rows = [
        row
        for row in json.loads(path.read_text())
        if {turn["from"] for turn in row["conversations"]} == {"human", "gpt"}
    ]
    data = tokens_of(rows, gpt2, chat_template="chatml")
    assert len(data.dataset) == len(rows) == 147
    says = [turn["value"] for turn in rows[5]["conversations"] if turn["from"] == "gpt"]
    assert trained(data.dataset, gpt2, 5) == [f"{said}<|im_end|>" for said in says]
