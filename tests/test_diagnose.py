"""Where a fault lies, in the words of whoever passed the data."""

from __future__ import annotations

import pytest

from fastft.data.diagnose import clip, row_places
from fastft.errors import DataError, TokenizerError


def test_a_bare_row_becomes_the_place_that_the_user_knows() -> None:
    with pytest.raises(TokenizerError) as caught, row_places(lambda row: f"a.csv, line {row + 2}"):
        raise TokenizerError("odd", place="row 3", found="x", expected="y", fix="z")
    error = caught.value
    assert (error.place, error.found, error.expected, error.fix) == ("a.csv, line 5", "x", "y", "z")
    assert str(error).startswith("a.csv, line 5: odd")


@pytest.mark.parametrize("place", ["column 'labels'", "row 3 of the list", None])
def test_other_places_stay(place: str | None) -> None:
    with pytest.raises(DataError) as caught, row_places(lambda row: "never"):
        raise DataError("odd", place=place)
    assert caught.value.place == place


def test_values_that_cannot_be_shown_are_clipped_all_the_same() -> None:
    assert "int object" in clip(10**5000)
