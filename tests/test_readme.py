"""What the README says is run: its Python, its commands' names, its length, its links."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

from tests.tiny import sentences

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    for name, seed in (("train", 0), ("validation", 1)):
        lines = [json.dumps({"text": t, "label": n}) for t, n in sentences(60, seed=seed)]
        (tmp_path / "data" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_python_block_runs(block, data, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "block.py"
    script.write_text(block.replace("bert-base-uncased", str(tiny_bert)))
    runpy.run_path(str(script))


def test_the_readme_is_short_and_starts_with_code():
    lines = README.splitlines()
    assert len(lines) < 230
    assert any(line.startswith("```python") for line in lines[:20])


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    for document in DOCUMENTS:
        for target in re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (document.name, target)


@pytest.mark.parametrize("document", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_every_link_to_a_file_leads_to_one(document):
    for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), link


def test_files_that_the_documents_name_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`((?:data|tasks|modeling|training)/[a-z_]+\.py)`", text))
    assert names
    for name in names:
        assert (ROOT / "python" / "fastft" / name).exists(), name
