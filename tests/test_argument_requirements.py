"""What an argument needs of the machine: packages, files, a login, processes."""

from __future__ import annotations

import importlib.util

import huggingface_hub
import pytest
from huggingface_hub import constants

from fastft.errors import ConfigurationError
from fastft.training.argument_requirements import check_requirements


def refused(name, **arguments):
    with pytest.raises(ConfigurationError, match=f"argument {name}: ") as caught:
        check_requirements(arguments)
    assert caught.value.fix
    return str(caught.value)


def test_nothing_is_needed_for_what_is_not_asked():
    check_requirements({})
    check_requirements(
        {"deepspeed": None, "use_liger_kernel": False, "fsdp": "", "fsdp_config": {}}
    )
    check_requirements({"report_to": "none"})
    check_requirements({"report_to": []})
    check_requirements({"report_to": ["all"]})
    check_requirements({"push_to_hub": False})


@pytest.mark.parametrize(
    ("name", "value", "package"),
    [("deepspeed", {}, "deepspeed"), ("use_liger_kernel", True, "liger_kernel")],
)
def test_a_package_that_is_not_installed(name, value, package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None)
    text = refused(name, **{name: value})
    assert f"no package {package}" in text
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: wanted == package or None)
    check_requirements({name: value})


@pytest.mark.parametrize("name", ["accelerator_config", "deepspeed", "fsdp_config"])
def test_a_configuration_file_that_cannot_be_read(name, tmp_path):
    assert "No such file" in refused(name, **{name: str(tmp_path / "no.json")})
    assert "directory" in refused(name, **{name: str(tmp_path)})
    path = tmp_path / "config.json"
    path.write_text("{broken")
    assert "line 1 column 2" in refused(name, **{name: str(path)})
    path.write_text("[1]")
    assert "JSON that is no object" in refused(name, **{name: str(path)})
    assert "line 1 column 2" in refused(name, **{name: "{broken"})


def test_a_configuration_file_that_can_be_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"split_batches": true}')
    check_requirements({"accelerator_config": str(path)})
    check_requirements({"accelerator_config": '{"split_batches": true}'})


def test_a_tracker_that_nobody_knows_is_answered_with_the_nearest():
    assert "did you mean 'wandb'?" in refused("report_to", report_to="wandbb")
    assert "did you mean 'none'?" in refused("report_to", report_to="non")
    assert "none alone" in refused("report_to", report_to=["none", "wandb"])


def test_a_tracker_that_is_not_installed(monkeypatch):
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: False)
    text = refused("report_to", report_to=["tensorboard"])
    assert "the tracker tensorboard cannot be used" in text


def test_a_tracker_that_is_installed(monkeypatch):
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: True)
    check_requirements({"report_to": "tensorboard"})


def test_fsdp_needs_a_launcher(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert "torchrun" in refused("fsdp", fsdp=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_requirements({"fsdp": True})


def test_the_hub_needs_a_connection_and_a_token(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "unset HF_HUB_OFFLINE" in refused("push_to_hub", push_to_hub=True, hub_token="hf_x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "hf auth login" in refused("push_to_hub", push_to_hub=True)
    check_requirements({"push_to_hub": True, "hub_token": "hf_x"})
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    check_requirements({"push_to_hub": True})


def test_a_compiler_that_torch_does_not_know():
    assert "did you mean 'inductor'?" in refused(
        "torch_compile_backend", torch_compile_backend="inducto"
    )
    text = refused("torch_compile_mode", torch_compile_mode="max-autotun")
    assert "did you mean 'max-autotune'?" in text
    check_requirements({"torch_compile_backend": "inductor", "torch_compile_mode": "default"})
