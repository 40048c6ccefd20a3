"""Chat templates by name, for models that bring none, and where a template is taken from.

Short forms of the published formats. A model that was not trained on one of them learns it in the
run, so the choice is free there; `alpaca` and `plain` need no special tokens.
"""

from __future__ import annotations

from pathlib import Path

from fastft.errors import ConfigurationError, nearest

_ROLES_ALTERNATE = """\
{%- set shift = 1 if messages[0]['role'] == 'system' else 0 %}
{%- for message in messages[shift:] %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must alternate: user, assistant, user, assistant, ...') }}
{%- endif %}
{%- endfor %}"""

_LLAMA_2 = (
    _ROLES_ALTERNATE
    + """
{%- for message in messages[shift:] %}
{%- if message['role'] == 'user' %}
{{- bos_token + '[INST] ' }}
{%- if loop.first and shift %}
{{- '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' }}
{%- endif %}
{{- message['content'] | trim + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}
{{- ' ' + message['content'] | trim + ' ' + eos_token }}
{%- else %}
{{- raise_exception('llama-2 has no place for the role ' + message['role']) }}
{%- endif %}
{%- endfor %}"""
)

_LLAMA_3 = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
{{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

_CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

_ALPACA = """\
{%- for message in messages %}
{%- if message['role'] == 'system' %}
{{- message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'user' %}
{{- '### Instruction:\\n' + message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'assistant' %}
{{- '### Response:\\n' + message['content'] + eos_token + '\\n\\n' }}
{%- else %}
{{- raise_exception('alpaca has no place for the role ' + message['role']) }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '### Response:\\n' }}
{%- endif %}"""

_PLAIN = """\
{%- for message in messages %}
{{- message['content'] + (eos_token if message['role'] == 'assistant' else '') + '\\n' }}
{%- endfor %}"""

TEMPLATES = {
    "alpaca": _ALPACA,
    "chatml": _CHATML,
    "llama-2": _LLAMA_2,
    "llama-3": _LLAMA_3,
    "plain": _PLAIN,
}


def read_template(given: str) -> tuple[str, str]:
    """Finds the template that the user means.

    Args:
        given: The name of a built-in template, the path of a file, or the text of a template.

    Returns:
        A name for messages, and the text of the template.

    Raises:
        ConfigurationError: It is none of the three.

    Example:
        >>> read_template("chatml")[0]
        'chatml'
    """
    if not isinstance(given, str) or not given.strip():
        raise _unknown_template(given)
    if given in TEMPLATES:
        return given, TEMPLATES[given]
    if "{{" in given or "{%" in given:
        return "the template given", given
    path = Path(given).expanduser()
    try:
        return str(path), path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        raise _unknown_template(given) from error


def _unknown_template(given: object) -> ConfigurationError:
    close = nearest(given.lower(), TEMPLATES, count=1) if isinstance(given, str) else []
    return ConfigurationError(
        "there is no such chat template",
        place="argument chat_template",
        found=repr(given),
        expected=f"{', '.join(TEMPLATES)}; the path of a file; or the text of a Jinja template",
        fix=f"did you mean {close[0]!r}?" if close else "pass one of these",
    )
