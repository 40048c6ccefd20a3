"""The table of the README: that of its result file, whatever the file holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastft.bench.readme import HEADLINES, main, readme_table, with_table
from fastft.bench.registry import all_rows
from fastft.bench.results import dumps, read_results
from fastft.errors import DamagedFileError, DataNotFoundError

ROOT = Path(__file__).parent.parent
NAME, PEER, WORK = HEADLINES[0]
TEXT = "before\n<!-- bench: a.json -->\nold\n<!-- end of bench -->\nbehind\n"


def result(**options):
    variants = {
        "fastft": {"role": "ours", "cpu": [1.0, 2.0, 1.0]},
        PEER: {"role": "peer", "cpu": [3.0, 4.0, 5.0]},
    }
    row = {
        "name": NAME, "state": "done", "clock": "cpu", "asked": {PEER: 4}, "load": 0.5,
        "points": [{"at": None, "variants": variants}], **options,
    }  # fmt: skip
    return {
        "schema": 1, "size": "quick", "data": "none", "began": "2026-11-29T01:02:03Z",
        "machine": {"architecture": "x", "cores": 2}, "rows": [row],
    }  # fmt: skip


def test_readme_and_result_file_agree():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_table(text, ROOT) == text, "run: make readme-table"


def test_the_headlines_are_rows_of_the_suite_with_a_line_each():
    names = {row.name for row in all_rows()}
    assert {name for name, _, _ in HEADLINES} <= names
    assert len({work for _, _, work in HEADLINES}) == len(HEADLINES)


def test_the_headlines_name_peers_as_their_rows_do():
    (names,) = re.findall(r"<!-- bench: (\S+) -->", (ROOT / "README.md").read_text("utf-8"))
    rows = {
        row["name"]: row for name in names.split(",") for row in read_results(ROOT / name)["rows"]
    }
    for headline, peer, _ in HEADLINES:
        if rows.get(headline, {}).get("state") == "done":
            row = rows[headline]
            assert peer in {**row["points"][-1]["variants"], **row["absent"]}


def test_a_line_shows_the_ratio_with_its_spread_and_what_was_asked():
    lines = readme_table(result()).splitlines()
    assert lines[2] == f"| {WORK} | {PEER} | 3.00 (2.00-5.00) | 4.00 |"
    assert lines[-1].startswith("2026-11-29, x, 2 cores, quick sizes, none. Load 0.5 at most.")
    assert lines[3].split("|")[3].strip() == "not in this run"


def test_of_several_files_the_last_one_counts_row_by_row(tmp_path):
    other = {**result(), "began": "2026-12-01T00:00:00Z"}
    other["rows"][0]["points"][0]["variants"][PEER]["cpu"] = [6.0, 8.0, 10.0]
    elsewhere = result(name=HEADLINES[1][0])
    elsewhere["rows"][0]["points"][0]["variants"][HEADLINES[1][1]] = {"role": "peer", "cpu": [9.0]}
    for name, one in (("a", result()), ("b", other), ("c", elsewhere)):
        (tmp_path / f"{name}.json").write_text(dumps(one))
    text = with_table(TEXT, tmp_path, "a.json,b.json,c.json")
    assert f"| {WORK} | {PEER} | 6.00 (4.00-10.0) | 4.00 |" in text
    assert text.count("2026-11-29, x, 2 cores") == 1 and "; 2026-12-01, x, 2 cores" in text
    assert with_table(text, tmp_path) == text


@pytest.mark.parametrize("state", ["skipped", "unequal", "failed"])
def test_a_row_without_figures_keeps_its_line(state):
    assert f"| {WORK} | {PEER} | {state} | 4.00 |" in readme_table(result(state=state, points=[]))


def test_a_peer_that_was_absent_keeps_its_line():
    found = result()
    del found["rows"][0]["points"][0]["variants"][PEER]
    assert f"| {WORK} | {PEER} | peer not installed | 4.00 |" in readme_table(found)


def test_only_what_stands_between_the_markers_changes_and_a_second_time_nothing(tmp_path):
    (tmp_path / "a.json").write_text(dumps(result()))
    text = with_table(TEXT, tmp_path)
    assert text.startswith("before\n<!-- bench: a.json -->\n| work |")
    assert text.endswith("<!-- end of bench -->\nbehind\n")
    assert "old" not in text
    assert with_table(text, tmp_path) == text


def test_another_file_goes_into_the_marker(tmp_path):
    (tmp_path / "b.json").write_text(dumps(result()))
    (tmp_path / "README.md").write_text(TEXT)
    main("b.json", str(tmp_path / "README.md"))
    assert "<!-- bench: b.json -->" in (tmp_path / "README.md").read_text()


def test_a_backslash_of_a_result_is_no_group_of_a_pattern(tmp_path):
    (tmp_path / "a.json").write_text(dumps({**result(), "data": r"C:\1\g<0>"}))
    assert r"C:\1\g<0>" in with_table(TEXT, tmp_path)


@pytest.mark.parametrize(
    "text", ["", "<!-- bench: a.json -->\nno end", 2 * TEXT], ids=["none", "no end", "two"]
)
def test_a_readme_without_one_place_is_refused(text, tmp_path):
    (tmp_path / "a.json").write_text(dumps(result()))
    with pytest.raises(DamagedFileError, match="the place of the table cannot be told"):
        with_table(text, tmp_path)


def test_a_missing_result_file_is_refused_and_nothing_is_written(tmp_path):
    (tmp_path / "README.md").write_text(TEXT)
    with pytest.raises(DataNotFoundError):
        main(None, str(tmp_path / "README.md"))
    assert (tmp_path / "README.md").read_text() == TEXT
