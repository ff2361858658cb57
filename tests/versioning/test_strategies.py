"""Numbers and labels of versions, by each mode."""

from __future__ import annotations

import pytest

from tests.versioning.doubles import known
from truthstore import StoreConfigError
from truthstore.testing import Sample
from truthstore.versioning import (
    GitLikeStrategy,
    VersioningMode,
    VersionNotFoundError,
    get_strategy,
)
from truthstore.versioning.strategies import IncrementalStrategy, SemanticStrategy, TimestampStrategy


@pytest.mark.parametrize("mode", VersioningMode)
def test_numbers_grow_however_fast_the_saves(reopen, mode):
    store = reopen(mode=mode)
    for count in range(120):
        store.save(Sample("a", count=count))
    history = store.get_version_history("a")
    numbers = [info.version for info in history]
    assert numbers == sorted(set(numbers), reverse=True)
    assert len(numbers) == len({info.label for info in history}) == 120
    assert [store.get("a", version=n).count for n in reversed(numbers)] == list(range(120))
    store.save(Sample("b"))
    first = store.get_latest_version_info("b")
    if mode is VersioningMode.GIT_LIKE:
        assert first.label == first.checksum[:7]
    if mode is VersioningMode.SEMANTIC:
        assert first.label == "1.0.0"
        store.save(Sample("b"), metadata={"bump": "minor"})
        store.save(Sample("b"), metadata={"bump": "major"})
        store.save(Sample("b"))
        assert [info.label for info in known(store, "b")] == ["2.0.1", "2.0.0", "1.1.0", "1.0.0"]
        with pytest.raises(ValueError, match="bump"):
            store.save(Sample("b"), metadata={"bump": "giant"})


def test_strategies_by_themselves():
    assert [IncrementalStrategy().get_next_version("a", n) for n in (None, 1, 99)] == [1, 2, 100]
    assert IncrementalStrategy().parse_version("v5") == 5
    semantic = SemanticStrategy()
    assert semantic.get_next_version("a", None) == 10_000
    assert [semantic.get_next_version("a", 10_203, {"bump": b}) for b in ("patch", "minor", "major")] == [
        10_204,
        10_300,
        20_000,
    ]
    assert semantic.format_version(10_203) == "1.2.3"
    assert semantic.parse_version("1.2.3") == 10_203
    clock = iter([5.0, 4.0, 4.0])
    times = TimestampStrategy(lambda: next(clock))
    assert [times.get_next_version("a"), times.get_next_version("a", 5_000)] == [5_000, 5_001]
    assert times.parse_version(times.format_version(1_700_000_000_123)) == 1_700_000_000_123
    git = GitLikeStrategy(hash_length=9)
    assert git.get_next_version("a", None, {"content": {"x": 1}}) == 1
    assert git.parse_version(git.format_version(1)) == 1
    assert len(git.format_version(1)) == 9
    assert git.format_version(2) == "000000002"
    for mode in VersioningMode:
        for wrong in ("", "x", "1.2", "-1"):
            with pytest.raises(ValueError):
                get_strategy(mode).parse_version(wrong)
    with pytest.raises(StoreConfigError):
        get_strategy("unknown")


def test_a_checksum_is_named_by_four_characters_that_no_other_has(reopen):
    store = reopen(mode="git_like")
    store.save_many(Sample("a", count=count) for count in range(300))
    history = store.get_version_history("a")
    for info in history[:20]:
        assert store.get("a", version=info.checksum[:12]) == store.get("a", version=info.version)
    assert store.get("a", version="1").count == 0
    assert store.get("a", version="29").count == 28
    start = history[0].checksum[0]
    with pytest.raises(VersionNotFoundError):
        store.get("a", version=f"{start}zzz")
    store.rollback("a", version=history[7].checksum)
    assert store.get_version_history("a")[0].checksum == history[7].checksum
    assert store.get("a", version=history[7].checksum).count == history[7].version - 1


def test_a_beginning_that_several_checksums_share_names_none(reopen, monkeypatch):
    monkeypatch.setattr("truthstore.versioning.reader.SHORTEST_CHECKSUM", 1)
    store = reopen(mode="git_like")
    store.save_many(Sample("a", count=count) for count in range(40))
    letters = [info.checksum[0] for info in store.get_version_history("a")]
    shared = next(letter for letter in letters if letters.count(letter) > 1 and letter.isalpha())
    with pytest.raises(VersionNotFoundError, match="begin so"):
        store.get("a", version=shared)
