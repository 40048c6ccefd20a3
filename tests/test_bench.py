"""The benchmark suite without benchmarks: no test here measures time."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from itertools import count

import pytest

from fastft import _fastft
from fastft.bench import command, machine, runner
from fastft.bench.compare import compare
from fastft.bench.data import Data
from fastft.bench.figures import Spread, ratio, reaches, short, slope
from fastft.bench.machine import cpu_features
from fastft.bench.measure import Clocks, in_turn
from fastft.bench.registry import all_rows
from fastft.bench.results import Results, dumps, read_results
from fastft.bench.row import (
    GROUPS,
    Case,
    Context,
    Row,
    SkippedRow,
    UnequalError,
    Variant,
    absent,
    demand,
    limit,
    ours,
)
from fastft.bench.tables import report
from fastft.console import Console
from fastft.errors import (
    ArgumentError,
    ConfigurationError,
    DamagedFileError,
    DataNotFoundError,
    Error,
)


@pytest.fixture(scope="module", autouse=True)
def _small_heap():
    """Each repetition collects garbage; what other tests have loaded is left out of that."""
    gc.freeze()
    yield
    gc.unfreeze()


class Clock:
    """A clock that only moves when work is done."""

    def __init__(self):
        self.now = 0.0

    def work(self, seconds):
        def run(*_):
            self.now += next(seconds) if hasattr(seconds, "__next__") else seconds
            return self.now

        return run

    @property
    def clocks(self):
        return Clocks(lambda: self.now, lambda: 2 * self.now)


CONTEXT = Context(Data(), "quick")
HEADER = {
    "size": "quick", "data": "none", "machine": {"architecture": "x", "cores": 2},
    "versions": {"python": "3"}, "commit": None, "command": "fastft bench", "began": "today",
}  # fmt: skip


def row(name="tokens/one", make=None, **options):
    def case(_context):
        own, peer, bound = Clock(), Clock(), Clock()
        yield Case(
            [ours(own.work(1)), Variant("peer", peer.work(3)), limit("copy", bound.work(0.5))],
            lambda: "equal",
        )

    return Row(name, name, make or case, threads=None, seconds=(0, 0), **options)


def measured(clock, own, peer, bound=None, points=(None,), **options):
    """A row whose variants take what is said, on a clock of its own."""

    def make(_context):
        for at in points:
            scale = at or 1
            variants = [
                ours(clock.work(scale * own)),
                Variant("peer", clock.work(scale * scale * peer)),
            ]
            if bound:
                variants.append(limit("copy", clock.work(bound)))
            yield Case(variants, lambda: "equal", at=at)

    return row(make=make, **options)


def ran(*rows, path=None, clocks=None):
    results = Results.open(HEADER, path)
    lines = []
    sound = runner.run(rows, CONTEXT, results, lines.append, clocks=clocks)
    return results, lines, sound


def test_variants_take_turns_and_begin_in_another_order_each_time():
    seen = []
    variants = [Variant(name, lambda name=name: seen.append(name)) for name in "abc"]
    in_turn(variants, 3)
    assert "".join(seen) == "abc" + "abc" + "bca" + "cab"


def test_short_calls_are_repeated_and_their_mean_is_kept():
    clock = Clock()
    times = in_turn([ours(clock.work(0.25))], 2, 1.0, clocks=clock.clocks)["fastft"]
    assert (times.calls, times.wall, times.cpu) == (4, [0.25, 0.25], [0.5, 0.5])


def test_what_is_made_for_a_call_is_not_timed():
    clock = Clock()
    making = clock.work(100)
    variant = ours(clock.work(2), fresh=lambda: (making(),))
    times = in_turn([variant], 2, clocks=clock.clocks)["fastft"]
    assert times.wall == [2, 2]


def test_the_note_of_the_last_call_and_all_repetitions_are_kept():
    clock, numbers = Clock(), count()

    def make(_context):
        note = Variant("peer", lambda: next(numbers), note=lambda last: {"bins": last})
        yield Case([ours(clock.work(1)), note], lambda: "equal")

    results, _, sound = ran(row(make=make, repetitions=(3, 7)), clocks=clock.clocks)
    assert sound
    (point,) = results.rows[0]["points"]
    assert point["variants"]["peer"]["bins"] == 3  # one call warms up
    assert len(point["variants"]["fastft"]["wall"]) == 3


def test_the_clock_of_a_row_decides_and_ratios_are_of_one_repetition():
    clock = Clock()
    own, peer = iter([9, 1, 2, 4]), iter([9, 10, 10, 10])

    def make(_context):
        yield Case([ours(clock.work(own)), Variant("peer", clock.work(peer))], lambda: "")

    results, lines, _ = ran(row(make=make), clocks=clock.clocks)
    found = ratio(results.rows[0]["points"][0], "peer", "fastft", "cpu")
    assert found == Spread(5, 2.5, 10)
    assert "5.00 (2.50-10.0) times as long: peer" in lines[0]


@pytest.mark.parametrize(
    ("error", "state", "sound"),
    [
        (UnequalError("the ids differ"), "unequal", False),
        (SkippedRow("no such data"), "skipped", True),
        (RuntimeError("a peer fell over"), "failed", False),
    ],
)
def test_a_row_that_cannot_run_is_kept_with_its_reason_and_the_others_run(error, state, sound):
    def make(_context):
        raise error
        yield

    results, lines, was_sound = ran(row("tokens/bad", make), row("tokens/good"))
    assert [one["state"] for one in results.rows] == [state, "done"]
    assert str(error) in results.rows[0]["reason"]
    assert str(error) in lines[0]
    assert was_sound is sound


def test_nothing_is_timed_when_outputs_differ():
    worked = []

    def make(_context):
        yield Case([ours(lambda: worked.append(1))], lambda: demand([1] == [2], "ids differ"))

    results, _, _ = ran(row(make=make))
    assert results.rows[0]["state"] == "unequal"
    assert not worked


def test_an_absent_peer_costs_one_line():
    def make(_context):
        yield Case([ours(lambda: 1)], lambda: "", absent={"trl": absent("no_such", "no-such")})

    results, lines, sound = ran(row(make=make))
    assert sound
    assert lines[0].splitlines()[1:] == ["  trl: skipped, no-such is not installed"]
    assert "| trl | no-such is not installed | 1 |" in report(results.as_json())
    assert absent("json") is None
    assert absent("no_such.module") == "no_such.module is not installed"


def test_a_run_that_was_killed_goes_on_after_its_finished_rows(tmp_path):
    path, made = tmp_path / "deep" / "run.json", []

    def make(_context):
        made.append(1)
        if len(made) == 2:
            raise KeyboardInterrupt
        yield Case([ours(lambda: 1)], lambda: "")

    rows = [row("tokens/first", make), row("tokens/second", make), row("tokens/third", make)]
    with pytest.raises(KeyboardInterrupt):
        ran(*rows, path=path)
    assert [one["name"] for one in read_results(path)["rows"]] == ["tokens/first"]
    _, lines, sound = ran(*rows, path=path)
    assert sound
    assert lines[0] == "tokens/first: in the file already"
    assert len(made) == 4
    assert [one["name"][7:] for one in read_results(path)["rows"]] == ["first", "second", "third"]
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_row_is_run_again(tmp_path):
    path, tries = tmp_path / "run.json", []

    def make(_context):
        tries.append(1)
        if len(tries) == 1:
            raise OSError("disk")
        yield Case([ours(lambda: 1)], lambda: "")

    assert not ran(row(make=make), path=path)[2]
    results, _, sound = ran(row(make=make), path=path)
    assert sound
    assert [one["state"] for one in results.rows] == ["done"]


@pytest.mark.parametrize("name", ["machine", "versions", "size", "data"])
def test_a_file_of_another_run_is_refused(name, tmp_path):
    path = tmp_path / "run.json"
    ran(row(), path=path)
    with pytest.raises(ConfigurationError, match=f"another {name}"):
        Results.open({**HEADER, name: "other"}, path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rows": 1}', "\udcff"])
def test_what_is_no_result_file_is_refused(text, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DamagedFileError, match="this is no"):
        read_results(path)


def test_another_schema_and_a_missing_file_are_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"schema": 99, "rows": []}')
    with pytest.raises(ConfigurationError, match="schema"):
        read_results(path)
    with pytest.raises(DataNotFoundError, match="no such result file"):
        read_results(tmp_path / "none.json")


def test_the_file_is_json_and_gives_back_what_was_written():
    results, _, _ = ran(row(), row("tokens/two", lambda _: 1 / 0))
    text = dumps(results.as_json())
    assert json.loads(text) == json.loads(json.dumps(results.as_json()))
    assert max(map(len, text.splitlines())) < 5000


def test_growth_is_an_exponent():
    clock = Clock()
    grown = measured(clock, 1, 1, points=(1, 10, 100), axis="rows")
    results, _, _ = ran(grown, clocks=clock.clocks)
    assert slope(results.rows[0], "fastft", "cpu") == pytest.approx(1)
    assert slope(results.rows[0], "peer", "cpu") == pytest.approx(2)
    one, _, _ = ran(measured(clock, 1, 1), clocks=clock.clocks)
    assert slope(one.rows[0], "fastft", "cpu") is None
    text = report(results.as_json())
    assert "| tokens/one, by rows | peer | 2.00 | 2.00 s at 1.00 | 20,000 s at 100 |" in text


def test_what_was_asked_of_peers_is_a_least_and_of_limits_a_most():
    clock = Clock()
    asked = {"peer": 4, "copy": 2, "absent": 9}
    results, _, _ = ran(measured(clock, 1, 3, 0.5, asked=asked), clocks=clock.clocks)
    found = {reach.name: (reach.found, reach.ok) for reach in reaches(results.rows[0])}
    assert found == {"peer": (3, False), "copy": (2, True)}
    assert "4.00, not reached" in report(results.as_json())


def test_what_was_asked_is_asked_of_the_first_way_of_ours():
    clock = Clock()

    def make(_context):
        variants = [ours(clock.work(1)), ours(clock.work(2), "fastft, plain")]
        others = [Variant("peer", clock.work(3)), limit("copy", clock.work(1))]
        yield Case(variants + others, lambda: "equal")

    asked = {"peer": 4, "copy": 2}
    results, _, _ = ran(row(make=make, asked=asked), clocks=clock.clocks)
    text = report(results.as_json())
    assert (
        "| tokens/one (cpu) | peer | **3.00** | 4.00, not reached | 1.00 x copy (asked 2.00)"
        in text
    )
    assert "| tokens/one (cpu): fastft, plain | peer | **1.50** |  | 2.00 x copy |" in text


@pytest.mark.parametrize(
    ("level", "asked"), [("avx512", [15, 15]), ("avx2", [9, None]), ("scalar", [None, None])]
)
def test_the_kernel_is_asked_for_what_its_instructions_can_do(level, asked, monkeypatch):
    monkeypatch.setattr(_fastft, "simd_level", lambda: level)
    found = {one.name: one.asked.get("F.cross_entropy") for one in all_rows()}
    assert [found[f"loss/kernel/{name}"] for name in ("float32", "bfloat16")] == asked


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"flags": "fma fpu avx2"}, ["avx2", "fma"]),
        ({"Features": "fp bf16 asimd"}, ["asimd", "bf16"]),
        ({}, []),
    ],
)
def test_the_features_of_a_processor_are_read_on_both_architectures(facts, found, monkeypatch):
    monkeypatch.setattr("fastft.bench.machine._cpu_facts", lambda: facts)
    assert cpu_features() == found


@pytest.mark.parametrize(
    ("features", "runs"),
    [(["avx2"], False), (["avx2", "amx_bf16"], True), (["bf16"], True), ([], True)],
)
def test_products_in_bfloat16_run_where_the_processor_has_them(features, runs, monkeypatch):
    monkeypatch.setattr("fastft.bench.rows.loss.cpu_features", lambda: features)
    monkeypatch.setattr("fastft.bench.rows.loss.linear_case", lambda *_, **__: "a case")
    one = next(one for one in all_rows() if one.name == "loss/linear/bert-bf16")
    if runs:
        assert list(one.make(CONTEXT)) == ["a case"]
    else:
        with pytest.raises(SkippedRow, match="bfloat16"):
            list(one.make(CONTEXT))


def test_a_peer_that_wins_stays_in_the_table():
    clock = Clock()
    results, _, _ = ran(measured(clock, 4, 1), clocks=clock.clocks)
    assert "| tokens/one (cpu) | peer | **0.250** |" in report(results.as_json())


def results_of(own, peer=(3, 3, 3), bound=None, role="limit"):
    """A result with the times of each repetition."""
    variants = {
        "fastft": {"role": "ours", "cpu": list(own)}, "peer": {"role": "peer", "cpu": list(peer)},
    }  # fmt: skip
    if bound:
        variants["copy"] = {"role": role, "cpu": list(bound)}
    point = {"at": None, "amount": 1, "unit": "call", "variants": variants}
    one = {"name": "a", "state": "done", "clock": "cpu", "points": [point]}
    return {"schema": 1, "rows": [one]}


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((1.0, 1.0, 1.0), (1.2, 1.2, 1.2), "slower"),
        ((1.0, 1.0, 1.0), (1.09, 1.09, 1.09), "same"),  # below the floor
        ((0.8, 1.0, 1.2), (1.0, 1.2, 1.4), "same"),  # the repetitions vary as much
        ((0.8, 1.0, 1.2), (1.5, 1.5, 1.6), "slower"),
        ((1.0, 1.0, 1.0), (0.8, 0.8, 0.8), "faster"),
    ],
)
def test_only_what_is_beyond_the_noise_of_both_counts(before, after, verdict):
    found = compare(results_of(before), results_of(after))
    assert [change.verdict for change in found.changes] == [verdict]
    assert found.regressed is (verdict == "slower")


def test_a_busy_machine_is_no_regression_and_limits_come_before_peers():
    quiet = results_of((1, 1, 1), (3, 3, 3), (0.5, 0.5, 0.5))
    busy = results_of((2, 4, 2), (6, 12, 6), (1, 2, 1))
    assert compare(quiet, busy).changes[0].factor == 1
    # The peer became faster: that says nothing about us.
    other = results_of((1, 1, 1), (1, 1, 1), (0.5, 0.5, 0.5))
    assert compare(quiet, other).changes[0].factor == 1
    slower = results_of((2, 2, 2), (6, 6, 6), (0.5, 0.5, 0.5))
    assert compare(quiet, slower).regressed


def test_without_limit_and_peer_the_time_itself_is_compared():
    def alone(time):
        found = results_of((time,) * 3)
        del found["rows"][0]["points"][0]["variants"]["peer"]
        return found

    assert compare(alone(1), alone(2)).regressed


def test_a_row_that_is_unequal_now_is_a_regression_and_others_are_named():
    before, after = results_of((1, 1)), results_of((1, 1))
    after["rows"][0] = {"name": "a", "state": "unequal", "reason": "ids"}
    found = compare(before, after)
    assert found.regressed
    assert found.broken == ["a"]
    after["rows"][0] = {**results_of((1, 1))["rows"][0], "name": "b"}
    found = compare(before, after)
    assert not found.regressed
    assert (found.only_before, found.only_after) == (["a"], ["b"])


def test_more_memory_is_a_regression():
    before, after = results_of((1, 1)), results_of((1, 1))
    for found, peak in ((before, 100), (after, 150)):
        found["rows"][0]["points"][0]["variants"]["fastft"]["peak_mb"] = peak
    assert compare(before, after).regressed


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (1, "1.00"), (0.01234, "0.0123"), (99.94, "99.9"), (1234567, "1,234,567")],
)
def test_numbers_have_three_digits(number, text):
    assert short(number) == text


def test_every_row_has_a_name_of_its_own_and_a_group():
    rows = all_rows()
    names = [one.name for one in rows]
    assert len(set(names)) == len(names)
    assert {one.group for one in rows} == set(GROUPS)
    assert not [one.name for one in rows if one.axis and one.peak]


def test_rows_are_chosen_by_group_and_by_the_beginning_of_their_name():
    rows = [row("tokens/a/b"), row("tokens/ab"), row("loss/a")]

    def names(what):
        return [one.name for one in runner.chosen(rows, what)]

    assert names("all") == ["tokens/a/b", "tokens/ab", "loss/a"]
    assert names("tokens/a") == ["tokens/a/b"]
    assert names("loss") == ["loss/a"]
    with pytest.raises(ConfigurationError, match="did you mean tokens"):
        runner.chosen(rows, "token")


def test_compare_ends_with_1_for_a_regression(tmp_path):
    for name, own in (("a", (1, 1, 1)), ("b", (2, 2, 2))):
        (tmp_path / f"{name}.json").write_text(json.dumps(results_of(own)))
    paths = [str(tmp_path / f"{name}.json") for name in "ab"]
    shown = []

    def code(*words):
        return command.bench(list(words), show=shown.append, console=Console(quiet=True))

    assert code("compare", *paths) == 1
    assert code("compare", *reversed(paths)) == 0
    assert shown[0].startswith("slower  a: cpu of fastft / peer")
    with pytest.raises(ArgumentError, match="1 files are named"):
        code("compare", paths[0])
    with pytest.raises(ArgumentError, match="1 files are named"):
        code("tokens", "more")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tokns"], "there are no such rows"),
        (["compare", "no.json", "none.json"], "there is no such result file"),
        (["tokens"], "there are no data sets in this folder"),
    ],
)
def test_a_bad_word_is_an_error_that_says_what_is_expected(words, message, tmp_path):
    data = tmp_path if words == ["tokens"] else None
    with pytest.raises(Error, match=message):
        command.bench(words, data=data, show=print, console=Console(quiet=True))


def test_an_error_of_the_command_shows_no_traceback(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "fastft", "bench", "compare", "no.json", "none.json"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    assert "there is no such result file" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_page_holds_plots_and_loads_nothing(tmp_path):
    clock = Clock()

    def trains(_context):
        kept = {"curve": [[1, 2.5], [2, 0.5]]}
        yield Case([ours(clock.work(1), note=lambda _: kept)], lambda: "")

    rows = [
        measured(clock, 1, 3), row("train/<b>", trains),
        measured(clock, 1, 1, points=(1, 10), axis="rows", name="batches/grow"),
    ]  # fmt: skip
    results, _, _ = ran(*rows, clocks=clock.clocks, path=tmp_path / "run.json")
    words = ["report", str(tmp_path / "run.json")]
    assert command.bench(words, show=lambda _: None, console=Console(quiet=True)) == 0
    text = (tmp_path / "run.html").read_text()
    assert text.count("<svg") == 3
    assert "train/&lt;b&gt;" in text
    assert "<b>" not in text
    assert not [word for word in ("src=", "href=", "<script", "@import") if word in text]
    assert (tmp_path / "run.md").read_text() == report(results.as_json())


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("some/bin/fastft", "fastft bench loss"),
        ("some/fastft/__main__.py", "python -m fastft bench loss"),
    ],
)
def test_a_result_says_how_it_was_made(script: str, expected: str, monkeypatch):
    monkeypatch.setattr("sys.argv", [script, "bench", "loss"])
    assert machine.command() == expected
