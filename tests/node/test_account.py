from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.codec import encode
from meshd.node.account import (
    KINDS,
    MAX_CANDIDATES,
    MAX_TEXT,
    MAX_TRIED,
    MAX_VIEW,
    ORIGINS,
    STANDS,
    Candidate,
    Tried,
    View,
    decode_view,
)
from meshd.node.errors import RemoteError

TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
TRIED = st.builds(
    Tried,
    kind=st.sampled_from(KINDS),
    target=TEXTS,
    stands=st.sampled_from(STANDS),
    rtt=st.none() | st.integers(0, 10**9).map(lambda us: us / 1e6),
    heard=st.none() | st.integers(0, 10**9).map(lambda ms: ms / 1e3),
    sent=st.integers(0, 10**9),
    answered=st.integers(0, 10**9),
    asked=st.none() | st.integers(0, 10**9).map(lambda ms: ms / 1e3),
    error=TEXTS,
)
VIEWS = st.builds(
    View,
    reason=TEXTS,
    candidates=st.lists(
        st.builds(Candidate, endpoint=TEXTS, origin=st.sampled_from(ORIGINS)),
        max_size=MAX_CANDIDATES,
    ).map(tuple),
    tried=st.lists(TRIED, max_size=MAX_TRIED).map(tuple),
)
WAY: list[object] = [0, "192.0.2.1:443", 0, 1000, None, 3, 2, 1000, ""]


@given(VIEWS)
def test_a_view_comes_back_as_it_was(view: View) -> None:
    assert decode_view(view.encode()) == view


def test_a_view_of_too_much_is_cut_to_its_bound() -> None:
    way = Tried("direct", "x" * MAX_TEXT, "tried", None, None, 0, 0, None, "y" * 1000)
    view = View("z" * 1000, (Candidate("a", ORIGINS[0]),) * 99, (way,) * 99)
    cut = decode_view(view.encode())
    assert len(view.encode()) <= MAX_VIEW
    assert len(cut.reason) == MAX_TEXT
    assert len(cut.candidates) == MAX_CANDIDATES
    assert 0 < len(cut.tried) < MAX_TRIED


@pytest.mark.parametrize(
    "fields",
    [
        7,
        [],
        ["why", []],
        [b"why", [], []],
        ["why\x1b", [], []],
        ["w" * (MAX_TEXT + 1), [], []],
        ["why", [["a", len(ORIGINS)]], []],
        ["why", [["a", -1]], []],
        ["why", [["a", True]], []],
        ["why", ["a"], []],
        ["why", [["a", 0]] * (MAX_CANDIDATES + 1), []],
        ["why", [], [WAY] * (MAX_TRIED + 1)],
        ["why", [], [[*WAY, 0]]],
        ["why", [], [[len(KINDS), *WAY[1:]]]],
        ["why", [], [[*WAY[:2], len(STANDS), *WAY[3:]]]],
        ["why", [], [[*WAY[:3], -1, *WAY[4:]]]],
        ["why", [], [[*WAY[:3], 1 << 48, *WAY[4:]]]],
        ["why", [], [[*WAY[:3], "soon", *WAY[4:]]]],
        ["why", [], [[*WAY[:4], True, *WAY[5:]]]],
        ["why", [], [[*WAY[:5], None, *WAY[6:]]]],
        ["why", [], [[*WAY[:6], -1, *WAY[7:]]]],
        ["why", [], [[*WAY[:7], b"", ""]]],
        ["why", [], [[*WAY[:8], "\n"]]],
    ],
)
def test_anything_else_is_refused(fields: object) -> None:
    with pytest.raises(RemoteError, match="control"):
        decode_view(encode(fields))
