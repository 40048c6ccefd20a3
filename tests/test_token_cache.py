"""The cache finds what was made, and only that; damage is noticed and repaired; nobody collides."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fastft
from fastft import TokenDataset
from fastft.data import token_cache
from fastft.data.augmentation import AugmentingCollator
from fastft.data.collator import DataCollatorWithPadding
from fastft.data.token_cache import TokenCacheWarning
from fastft.data.token_shards import BLOCK_BYTES, HEADER_BYTES, open_shards
from fastft.data.tokenizer import Tokenizer
from fastft.training.packed_training import check_rows_apart
from tests.tiny import sentences, tiny_tokenizer
from tests.tiny_lm import tiny_gpt2

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = [text for text, _ in sentences(200)]


@pytest.fixture(scope="module")
def hf() -> Any:
    return tiny_tokenizer()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"{text},{i}\n" for i, text in enumerate(TEXTS)))
    settle(path)
    return path


def settle(path: Path) -> None:
    """Lets a file look as if it had been there for a while; ctime cannot be set."""
    while time.time() - path.stat().st_ctime < token_cache.SETTLED_SECONDS:
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def settled_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "SETTLED_SECONDS", 0.1)


def build(file: Path, hf: Any, **options: Any) -> TokenDataset:
    return TokenDataset.from_files(file, hf, columns={"labels": "label"}, **options)


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


class TestFinding:
    @pytest.fixture
    def encoded(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
        """The numbers of rows that were encoded."""
        calls: list[int] = []
        encode = Tokenizer.encode

        def counting(self: Tokenizer, texts: Any, *args: Any, **options: Any) -> Any:
            calls.append(len(texts))
            return encode(self, texts, *args, **options)

        monkeypatch.setattr(Tokenizer, "encode", counting)
        yield calls

    def test_the_second_run_encodes_nothing(
        self, file: Path, hf: Any, cache: Path, encoded: list[int]
    ) -> None:
        first = build(file, hf)
        assert encoded == [200]
        again = build(file, tiny_tokenizer())
        assert encoded == [200]
        assert again.folder == first.folder
        assert [again[i] for i in range(200)] == [first[i] for i in range(200)]

    def test_the_same_content_elsewhere(
        self, file: Path, hf: Any, cache: Path, encoded: list[int]
    ) -> None:
        first = build(file, hf)
        copy = Path(shutil.copy(file, file.with_name("copy.csv")))
        settle(copy)
        assert build(copy, hf).folder == first.folder
        assert len(entries(cache)) == 1
        build(copy, hf)
        assert encoded == [200, 200]  # read once under each stamp

    def test_what_changes_the_tokens_is_made_anew(
        self, file: Path, hf: Any, cache: Path, encoded: list[int]
    ) -> None:
        added = tiny_tokenizer()
        added.add_tokens(["book film"])
        left = tiny_tokenizer()
        left.truncation_side = "left"
        narrow = tiny_tokenizer()
        narrow.model_input_names = ["input_ids", "attention_mask"]
        made = [
            build(file, hf),
            build(file, hf, max_length=8),
            build(file, added),
            build(file, left, max_length=8),
            build(file, narrow),
            TokenDataset.from_files(file, hf, columns={"y": "label"}),
            TokenDataset.from_files(file, hf),
            TokenDataset.from_files(file, hf, text="label"),
        ]
        assert len({dataset.folder for dataset in made}) == len(made) == len(entries(cache))
        assert made[1][0] != made[3][0]
        assert list(made[4][0]) == ["input_ids", "attention_mask", "labels"]

    def test_an_edit_in_place_with_the_same_size_and_time(
        self, file: Path, hf: Any, cache: Path
    ) -> None:
        first, status = build(file, hf), file.stat()
        with file.open("r+b") as stream:
            stream.seek(file.read_bytes().index(b"film"))
            stream.write(b"book")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (file.stat().st_size, file.stat().st_mtime_ns) == (
            status.st_size,
            status.st_mtime_ns,
        )
        second = build(file, hf)
        assert not np.array_equal(second.ids, first.ids)

    def test_a_file_that_changed_just_now_is_not_remembered(
        self, file: Path, hf: Any, cache: Path, encoded: list[int]
    ) -> None:
        file.write_text(file.read_text())
        token_cache.SETTLED_SECONDS = 60.0
        build(file, hf)
        build(file, hf)
        assert encoded == [200, 200]
        assert len(entries(cache)) == 1


class TestDamage:
    def test_a_flipped_bit_anywhere_is_repaired(self, file: Path, hf: Any, cache: Path) -> None:
        """In the header of a file, which says nothing that we read, it does no harm."""
        sound = build(file, hf, max_length=20)
        expected = [sound[i] for i in range(200)]
        folder, draw = sound.folder, random.Random(0)
        assert folder is not None
        names = sorted(path.name for path in folder.iterdir())
        for _ in range(150):
            path = folder / draw.choice(names)
            content = bytearray(path.read_bytes())
            first = HEADER_BYTES if path.suffix == ".safetensors" else 0
            content[draw.randrange(first, len(content))] ^= 1 << draw.randrange(8)
            path.write_bytes(content)
            with pytest.warns(TokenCacheWarning, match="made again"):
                dataset = build(file, hf, max_length=20)
                assert [dataset[i] for i in range(200)] == expected
            assert sorted(path.name for path in folder.iterdir()) == names
        assert entries(cache) == [folder]

    @pytest.mark.parametrize("change", ["cut", "emptied", "longer", "missing", "another"])
    @pytest.mark.parametrize("name", ["ids", "row_offsets", "column.labels", "manifest"])
    def test_a_file_of_another_size(
        self, file: Path, hf: Any, cache: Path, change: str, name: str
    ) -> None:
        sound = build(file, hf)
        expected = sound[3]
        assert sound.folder is not None
        path = next(sound.folder.glob(f"{name}.*"))
        content = path.read_bytes()
        path.unlink()
        if change != "missing":
            changed = {"cut": content[:-1], "emptied": b"", "longer": content + b"x"}
            path.write_bytes(changed.get(change, b"[1, 2]"))
        with pytest.warns(TokenCacheWarning, match="made again"):
            assert build(file, hf)[3] == expected

    def test_the_collator_repairs_what_it_meets(self, file: Path, hf: Any, cache: Path) -> None:
        sound = build(file, hf)
        collate = DataCollatorWithPadding(hf)
        expected = collate(sound.__getitems__([5, 9]))
        damage_ids(sound)
        damaged = build(file, hf)
        with pytest.warns(TokenCacheWarning, match="made again"):
            batch = collate(damaged.__getitems__([5, 9]))
        assert all((batch[name] == expected[name]).all() for name in expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert damaged[0] == build(file, hf)[0]

    def test_a_source_that_is_gone_cannot_be_read_again(
        self, file: Path, hf: Any, cache: Path
    ) -> None:
        damage_ids(build(file, hf))
        damaged = build(file, hf)
        file.unlink()
        with pytest.warns(TokenCacheWarning), pytest.raises(fastft.Error, match="cannot be read"):
            damaged[0]

    def test_a_folder_loaded_by_its_path_stays(self, file: Path, hf: Any, cache: Path) -> None:
        sound = build(file, hf)
        folder = sound.folder
        assert folder is not None
        damage_ids(sound)
        loaded = TokenDataset.load(folder)
        with pytest.raises(fastft.Error, match="not what was written") as error:
            _ = loaded.ids
        assert error.value.place == str(folder / "ids.safetensors")
        assert folder.is_dir()

    def test_blocks_are_compared_when_first_read(
        self, hf: Any, tmp_path: Path, cache: Path
    ) -> None:
        path = tmp_path / "many.txt"
        path.write_text("good film\n" * (BLOCK_BYTES // 8 + 1000))
        sound = TokenDataset.from_files(path, hf)
        assert sound.folder is not None
        assert len(open_shards(sound.folder).ids_checksums) == 2
        damage_ids(sound)  # the last block
        loaded = TokenDataset.load(sound.folder)
        assert loaded[0] == sound[0]
        with pytest.raises(fastft.Error, match="block 1 of 256 KiB"):
            loaded[-1]

    def test_what_looks_at_the_first_rows_reads_no_more(
        self, hf: Any, tmp_path: Path, cache: Path
    ) -> None:
        path = tmp_path / "many.txt"
        path.write_text("good film\n" * (BLOCK_BYTES // 8 + 1000))
        sound = TokenDataset.from_files(path, hf)
        assert sound.folder is not None
        damage_ids(sound)  # the last block
        loaded = TokenDataset.load(sound.folder)
        arguments = fastft.TrainingArguments(str(tmp_path / "run"), use_cpu=True)
        assert check_rows_apart(tiny_gpt2(), loaded, arguments)
        AugmentingCollator(DataCollatorWithPadding(hf), {"delete": 0.5}, hf, 1)(
            loaded.__getitems__([0, 5])
        )
        with pytest.raises(fastft.Error, match="block 1 of 256 KiB"):
            loaded.ids  # noqa: B018


def damage_ids(dataset: TokenDataset) -> None:
    assert dataset.folder is not None
    path = dataset.folder / "ids.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x80
    content[HEADER_BYTES] ^= 0x80 if len(content) < BLOCK_BYTES else 0
    path.unlink()  # the dataset that wrote it keeps its own mapping
    path.write_bytes(content)


BUILDER = """
import os, sys, time
from fastft import TokenDataset
from fastft.data import table_stream
from tests.tiny import tiny_tokenizer
table_stream.PIECE_BYTES = 500
def progress(rows):
    print(rows, flush=True)
    if rows > 20 and sys.argv[2] == "wait":
        time.sleep(60)
    time.sleep(0.01)
options = {"columns": {"labels": "label"}, "progress": progress}
dataset = TokenDataset.from_files(sys.argv[1], tiny_tokenizer(), **options)
print("done", int(dataset.ids.astype(int).sum()), flush=True)
"""


def start_builder(file: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(file), mode],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


class TestProcesses:
    @pytest.mark.slow
    def test_one_builds_and_the_others_wait(self, file: Path, hf: Any, cache: Path) -> None:
        builders = [start_builder(file, "go") for _ in range(2)]
        outputs = [builder.communicate()[0].split("\n") for builder in builders]
        assert {output[-2] for output in outputs} == {
            f"done {build(file, hf).ids.astype(int).sum()}"
        }
        # The one that waited saw no part go by.
        assert sorted(len(output) > 2 for output in outputs) == [False, True]
        assert len(entries(cache)) == 1

    @pytest.mark.slow
    def test_a_killed_builder_leaves_nothing_in_the_way(
        self, file: Path, hf: Any, cache: Path
    ) -> None:
        builder = start_builder(file, "wait")
        assert builder.stdout is not None
        builder.stdout.readline()
        builder.stdout.readline()
        builder.send_signal(signal.SIGKILL)
        builder.communicate()
        assert list(cache.glob(".*")), "it was killed too early or too late"
        assert len(build(file, hf)) == 200
        assert not list(cache.glob(".*"))

    def test_one_thread_builds_and_the_other_waits(self, file: Path, hf: Any, cache: Path) -> None:
        """The lock is that of an open file, so it stands between threads as between processes."""
        seen: list[int] = []
        others: list[int] = []
        options = {"progress": others.append}
        second = threading.Thread(target=build, args=(file, hf), kwargs=options)

        def progress(rows: int) -> None:
            seen.append(rows)
            if len(seen) == 1:
                second.start()
                second.join(0.3)

        build(file, hf, progress=progress)
        second.join()
        assert seen and not others
        assert len(entries(cache)) == 1

    def test_what_a_dead_builder_left_behind_is_swept_away(
        self, file: Path, hf: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(rows: int) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(shutil, "rmtree", lambda *_, **__: None)
            build(file, hf, progress=die)
        assert list(cache.glob(".*"))
        assert len(build(file, hf)) == 200
        assert not list(cache.glob(".*"))

    def test_an_interrupted_build_leaves_nothing(self, file: Path, hf: Any, cache: Path) -> None:
        def interrupt(rows: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(file, hf, progress=interrupt)
        assert [path.suffix for path in cache.iterdir()] == [".lock"]

    def test_it_is_pickled_as_a_path(self, file: Path, hf: Any, cache: Path) -> None:
        dataset = build(file, hf)
        text = pickle.dumps(dataset)
        assert len(text) < 1000
        assert pickle.loads(text)[7] == dataset[7]
        assert dataset.folder is not None
        shutil.rmtree(dataset.folder)
        assert pickle.loads(pickle.dumps(dataset))[7] == dataset[7]


class TestFolders:
    def test_where_it_is(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert token_cache.cache_root("~/x") == Path.home() / "x"
        monkeypatch.setenv("FASTFT_CACHE", str(tmp_path))
        assert token_cache.cache_root() == tmp_path
        monkeypatch.delenv("FASTFT_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", "/y")
        assert token_cache.cache_root() == Path("/y/fastft")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert token_cache.cache_root() == Path.home() / ".cache/fastft"

    def test_it_is_the_users_alone(self, file: Path, hf: Any, cache: Path) -> None:
        build(file, hf)
        assert cache.stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("kind", ["file", "open to all", "another user's"])
    def test_a_folder_that_cannot_be_used(
        self, file: Path, hf: Any, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = tmp_path / "root"
        if kind == "file":
            root.write_text("")
        else:
            root.mkdir()
            root.chmod(0o777 if kind == "open to all" else 0o700)
        if kind == "another user's":
            monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.warns(TokenCacheWarning, match="cannot be used"):
            dataset = build(file, hf, cache_dir=root)
        assert len(dataset) == 200
        assert dataset[4]["labels"] == 4
        assert dataset.folder is not None
        assert not dataset.folder.exists()
        assert pickle.loads(pickle.dumps(dataset))[4] == dataset[4]
