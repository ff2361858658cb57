"""The conformance suite of `Blobs`: inherit `BlobsSuite`, write `make_blobs`, and pytest does the rest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from truthstore.errors import StoreConflictError, StoreNotFoundError
from truthstore.model.record import ABSENT, ANY
from truthstore.storage.objects.blobs import Blobs
from truthstore.storage.objects.names import object_name
from truthstore.testing.strategies import NASTY_IDS
from truthstore.testing.suite.case import THREADS, at_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["BlobsSuite"]


class OpenBlobs(Protocol):
    """A function that opens blobs at the place of the test, and closes them when the test ends."""

    def __call__(self) -> Blobs:
        """Open new blobs at the place of the test."""
        ...


class BlobsSuite:
    """The duties of every driver of named bytes.

    A tag names a content: the tags of two contents of one key differ. Whether it also names the write, so that the same
    bytes written twice get two tags, is the driver's affair; a caller that needs that puts a write id into the bytes.
    No key is a folder of another: beside ``a/b`` there is no ``a``.

    Attributes:
        concurrent: two objects open at the same place at the same time see each other's writes.
    """

    concurrent: ClassVar[bool] = True

    def make_blobs(self, location: Any) -> Blobs:
        """Open the driver under test. The one method that must be written.

        Args:
            location: the place: the same object means the same place, a new one an empty place.
        """
        raise NotImplementedError("write make_blobs()")

    @pytest.fixture
    def location(self, tmp_path: Path) -> Any:
        """Return an empty place: a folder that does not exist yet. Override it if a place is something else."""
        return tmp_path / "blobs"

    @pytest.fixture
    def open_blobs(self, location: Any) -> Iterator[OpenBlobs]:
        """Open blobs at the place of the test."""
        with ExitStack() as opened:

            def open_blobs() -> Blobs:
                blobs = self.make_blobs(location)
                opened.callback(blobs.close)
                return blobs

            yield open_blobs

    @pytest.fixture
    def blobs(self, open_blobs: OpenBlobs) -> Blobs:
        """Open empty blobs."""
        return open_blobs()

    def test_it_is_blobs(self, blobs: Blobs):
        assert isinstance(blobs, Blobs)

    def test_what_is_put_is_what_one_gets(self, blobs: Blobs):
        tag = blobs.put("a", b"one")
        assert blobs.get("a") == (b"one", tag)

    @pytest.mark.parametrize(
        "data",
        [b"", b"\0", b"\r\n", bytes(range(256)), b"\x1f\x8b\x08", b"\xff" * 6_000_000],
        ids=["empty", "NUL", "line break", "all bytes", "gzip", "6 MB"],
    )
    def test_bytes_come_back_as_they_were(self, data: bytes, blobs: Blobs):
        tag = blobs.put("folder/a.json", data)
        assert blobs.get("folder/a.json") == (data, tag)

    def test_putting_again_overwrites(self, blobs: Blobs):
        first = blobs.put("a", b"a long first content")
        second = blobs.put("a", b"short")
        assert first != second
        assert blobs.get("a") == (b"short", second)
        assert list(blobs.list("")) == ["a"]

    def test_what_is_missing_is_not_found(self, blobs: Blobs):
        for key in ("a", "folder/a"):
            with pytest.raises(StoreNotFoundError):
                blobs.get(key)
            assert blobs.delete(key) is False
            assert blobs.delete(key, expect=ANY) is False
        assert list(blobs.list("")) == []
        assert list(blobs.list("nothing/")) == []
        blobs.put("folder/a", b"")
        with pytest.raises(StoreNotFoundError):
            blobs.get("folder")
        assert blobs.delete("folder") is False

    def test_delete(self, blobs: Blobs):
        blobs.put("a", b"1")
        blobs.put("ab", b"2")
        assert blobs.delete("a") is True
        assert blobs.delete("a") is False
        with pytest.raises(StoreNotFoundError):
            blobs.get("a")
        assert list(blobs.list("")) == ["ab"]
        blobs.put("a", b"3", expect=ABSENT)
        assert blobs.get("a")[0] == b"3"

    def test_absent_creates_and_never_overwrites(self, blobs: Blobs):
        tag = blobs.put("folder/a", b"1", expect=ABSENT)
        with pytest.raises(StoreConflictError):
            blobs.put("folder/a", b"2", expect=ABSENT)
        with pytest.raises(StoreConflictError):
            blobs.put("folder/a", b"1", expect=ABSENT)
        assert blobs.get("folder/a") == (b"1", tag)

    def test_a_tag_replaces_just_that(self, blobs: Blobs):
        first = blobs.put("a", b"1")
        second = blobs.put("a", b"2", expect=first)
        with pytest.raises(StoreConflictError):
            blobs.put("a", b"3", expect=first)
        assert blobs.get("a") == (b"2", second)
        third = blobs.put("a", b"3", expect=blobs.get("a")[1])
        assert blobs.get("a") == (b"3", third)

    def test_a_tag_of_what_is_gone_does_not_create(self, blobs: Blobs):
        tag = blobs.put("a", b"1")
        blobs.delete("a")
        with pytest.raises(StoreConflictError):
            blobs.put("a", b"2", expect=tag)
        assert list(blobs.list("")) == []

    def test_a_tag_of_another_key_does_not_hold(self, blobs: Blobs):
        blobs.put("a", b"1")
        other = blobs.put("b", b"2")
        with pytest.raises(StoreConflictError):
            blobs.put("a", b"3", expect=other)

    def test_delete_with_a_tag(self, blobs: Blobs):
        first = blobs.put("a", b"1")
        second = blobs.put("a", b"2")
        with pytest.raises(StoreConflictError):
            blobs.delete("a", expect=first)
        assert blobs.get("a")[0] == b"2"
        assert blobs.delete("a", expect=second) is True
        assert blobs.delete("a", expect=second) is False

    def test_lists_are_in_ascending_order(self, blobs: Blobs):
        keys = ["b", "a.json", "a-b", "a/b.json", "a/b/c.json", "a/b-c", "a0", "a/a", "_x/1", "_x/2", "%41", "~"]
        for key in keys:
            blobs.put(key, key.encode())
        assert list(blobs.list("")) == sorted(keys)

    @pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/b/", "_index/", "_index/0", "b", "nothing", "b/"])
    def test_lists_of_a_prefix(self, prefix: str, blobs: Blobs):
        keys = ["a.json", "a/b.x", "a/b/c", "a/bc", "ab/c", "_index/001", "_index/002", "_index/010", "b"]
        for key in keys:
            blobs.put(key, b"")
        expected = sorted(key for key in keys if key.startswith(prefix))
        assert list(blobs.list(prefix)) == expected
        for after in [*keys, "", "a/", "_index/0015", "zzz"]:
            assert list(blobs.list(prefix, after=after)) == [key for key in expected if key > after]

    def test_lists_longer_than_a_page(self, blobs: Blobs):
        keys = [f"many/{i:05d}" for i in range(1_234)]
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(lambda key: blobs.put(key, b"x"), keys):
                continue
        blobs.put("many.json", b"")
        blobs.put("more/0", b"")
        assert list(blobs.list("many/")) == keys
        assert list(blobs.list("many/", after=keys[1_000])) == keys[1_001:]

    def test_a_list_may_be_left_early_and_outlives_changes(self, blobs: Blobs):
        for i in range(10):
            blobs.put(f"k/{i}", b"")
        listing = blobs.list("k/")
        assert next(listing) == "k/0"
        blobs.delete("k/5")
        blobs.put("k/9", b"changed")
        blobs.put("k/99", b"")
        rest = list(listing)
        assert [key for key in rest if key not in {"k/5", "k/99"}] == [f"k/{i}" for i in range(1, 10) if i != 5]

    def test_names_of_every_id(self, blobs: Blobs):
        keys = {id: f"{object_name(id)}.json" for id in NASTY_IDS}
        for id, key in keys.items():
            blobs.put(key, id.encode(), expect=ABSENT)
        for id, key in keys.items():
            assert blobs.get(key)[0] == id.encode()
        assert list(blobs.list("")) == sorted(keys.values())

    @settings(suppress_health_check=[HealthCheck.differing_executors, HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["put", "absent", "tag", "stale", "delete", "delete tag"]),
                st.sampled_from(["run/a.x", "run/a/b.json", "run/b"]),
                st.binary(max_size=3),
            ),
            max_size=20,
        )
    )
    def test_any_order_of_calls(self, blobs: Blobs, calls: list[tuple[str, str, bytes]]):
        for key in list(blobs.list("run/")):
            blobs.delete(key)
        model: dict[str, bytes] = {}
        for how, key, data in calls:
            tag = blobs.get(key)[1] if key in model else "no such tag"
            if how == "put":
                blobs.put(key, data)
                model[key] = data
            elif how.startswith("delete"):
                expect: Any = tag if how == "delete tag" and key in model else ANY
                assert blobs.delete(key, expect=expect) is (key in model)
                model.pop(key, None)
            else:
                expect = ABSENT if how == "absent" else tag if how == "tag" else "no such tag"
                if (how == "absent") == (key not in model) and how != "stale":
                    blobs.put(key, data, expect=expect)
                    model[key] = data
                else:
                    with pytest.raises(StoreConflictError):
                        blobs.put(key, data, expect=expect)
            assert {key: blobs.get(key)[0] for key in blobs.list("run/")} == model

    def test_of_threads_that_create_one_key_one_wins(self, blobs: Blobs):
        for turn in range(5):
            winners = race(blobs, f"folder-{turn}/key", ABSENT)
            assert winners.count(True) == 1
            assert blobs.get(f"folder-{turn}/key")[0] == b"thread %d" % winners.index(True)

    def test_of_threads_that_replace_one_content_one_wins(self, blobs: Blobs):
        for _ in range(5):
            winners = race(blobs, "key", blobs.put("key", b"start"))
            assert winners.count(True) == 1
            assert blobs.get("key")[0] == b"thread %d" % winners.index(True)

    def test_compare_and_set_loses_no_increment(self, open_blobs: OpenBlobs):
        shared = [open_blobs() for _ in range(4 if self.concurrent else 1)]
        shared[0].put("counter", b"0")

        def work(number: int) -> bool:
            blobs = shared[number % len(shared)]
            for _ in range(5):
                while True:
                    data, tag = blobs.get("counter")
                    if won(blobs, "counter", str(int(data) + 1).encode(), tag):
                        break
            return True

        at_once(work)
        assert all(blobs.get("counter")[0] == str(5 * THREADS).encode() for blobs in shared)

    def test_readers_see_one_content_or_the_other(self, blobs: Blobs):
        contents = [bytes([65 + number]) * 300_000 for number in range(THREADS)]
        blobs.put("key", contents[0])

        def work(number: int) -> bool:
            for _ in range(10):
                if number % 2:
                    blobs.put("key", contents[number])
                else:
                    data, _ = blobs.get("key")
                    assert data in contents
                    assert list(blobs.list("")) == ["key"]
            return True

        at_once(work)

    def test_two_at_one_place_see_each_other_s_writes(self, open_blobs: OpenBlobs):
        if not self.concurrent:
            pytest.skip("one at a time")
        one, two = open_blobs(), open_blobs()
        tag = one.put("a", b"1")
        assert two.get("a") == (b"1", tag)
        two.put("a", b"2", expect=tag)
        with pytest.raises(StoreConflictError):
            one.put("a", b"3", expect=tag)
        assert one.delete("a") is True
        assert list(two.list("")) == []

    def test_closing_twice_is_harmless(self, location: Any):
        blobs = self.make_blobs(location)
        blobs.put("a", b"1")
        blobs.close()
        blobs.close()


def won(blobs: Blobs, key: str, data: bytes, expect: Any) -> bool:
    """Return whether a conditional put went through."""
    try:
        blobs.put(key, data, expect=expect)
    except StoreConflictError:
        return False
    return True


def race(blobs: Blobs, key: str, expect: Any) -> list[bool]:
    """Let several threads put their numbers with the same expectation, and return those that succeeded."""
    return at_once(lambda number: won(blobs, key, b"thread %d" % number, expect))
