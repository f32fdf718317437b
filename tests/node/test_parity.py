from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.node import parity


@pytest.fixture(params=["integers", "arrays"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to add up, whatever the number of slices."""
    monkeypatch.setattr(parity, "_numpy", None)
    if request.param == "arrays":
        pytest.importorskip("numpy")
        monkeypatch.setattr(parity, "NUMPY_LEAST", 1)
        assert parity.load()
    return str(request.param)


def frame(slices: int, size: int, seed: int = 1) -> tuple[bytes, list[bytes]]:
    data = Random(seed).randbytes(slices * size)
    return data, [data[at : at + size] for at in range(0, len(data), size)]


def rotated(piece: bytes, places: int) -> list[int]:
    """A slice of one-byte symbols, as 53 of them, times x^places: written out plainly."""
    symbols = [*piece, 0]
    return [symbols[(at - places) % 53] for at in range(53)]


def test_a_parity_is_the_sum_of_rotated_slices(way: str) -> None:
    data, slices = frame(7, 52)
    for row, made in enumerate(parity.encode(data, 7, 5)):
        total = [0] * 53
        for place, piece in enumerate(slices):
            total = [a ^ b for a, b in zip(total, rotated(piece, place * row), strict=True)]
        assert made == bytes(symbol ^ total[52] for symbol in total[:52])


@pytest.mark.parametrize(("slices", "size"), [(1, 52), (2, 104), (8, 52), (45, 1456), (53, 1196)])
def test_lost_slices_come_back_whatever_else_is_lost(way: str, slices: int, size: int) -> None:
    random = Random(slices)
    data, pieces = frame(slices, size)
    made = parity.encode(data, slices, parity.MAX_PARITIES)
    for _ in range(20):
        kept = sorted(random.sample(range(len(made)), random.randint(1, len(made))))
        lost = random.sample(range(slices), random.randint(1, min(slices, len(kept))))
        here = [None if at in lost else piece for at, piece in enumerate(pieces)]
        found = parity.recover(here, {at: made[at] for at in kept})
        assert found == {at: pieces[at] for at in lost}


def test_two_ways_make_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numpy")
    monkeypatch.setattr(parity, "_numpy", None)
    data, _ = frame(45, 1456)
    plain = parity.encode(data, 45, 9)
    assert parity.load()
    assert parity.encode(data, 45, 9) == plain


def test_without_numpy_integers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    monkeypatch.setattr(parity, "_numpy", None)
    assert not parity.load()
    data, pieces = frame(8, 52)
    assert parity.recover([None, *pieces[1:]], dict(enumerate(parity.encode(data, 8, 1)))) == {
        0: pieces[0]
    }


def test_too_few_parities_bring_nothing_back() -> None:
    data, pieces = frame(8, 52)
    [first] = parity.encode(data, 8, 1)
    assert parity.recover([None, None, *pieces[2:]], {0: first}) is None
    assert parity.recover([None, *pieces[1:]], {}) is None


@given(lies=st.dictionaries(st.integers(0, 15), st.binary(min_size=104, max_size=104), min_size=1))
def test_parity_that_lies_makes_slices_of_the_right_size(lies: dict[int, bytes]) -> None:
    slices: list[bytes | None] = [None] * len(lies) + [bytes(104)] * 3
    found = parity.recover(slices, lies)
    assert found is None or [len(piece) for piece in found.values()] == [104] * len(lies)
