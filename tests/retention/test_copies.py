"""Archived and quarantined items stay whole, whatever comes after them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.retention.doubles import NOW
from truthstore import RESULTS
from truthstore.backends.memory import MemoryStore
from truthstore.results import ResultStatus, ValidationResult
from truthstore.retention import CustomPolicy, RetentionAction, RetentionStore
from truthstore.testing.suite.case import at_once
from truthstore.versioning import VersionedStore

NOTHING_STAYS = CustomPolicy(lambda _: False, "nothing stays")


def result(id: str, n: int = 1) -> ValidationResult:
    return ValidationResult(
        run_id=id,
        run_time=NOW - timedelta(days=100),
        data_asset="orders",
        status=ResultStatus.SUCCESS,
        metadata={"n": n},
    )


def archiving(base: Any, archive: Any) -> RetentionStore[Any]:
    return RetentionStore(base, NOTHING_STAYS, default_action="archive", archive_store=archive, preserve_latest=False)


def quarantining(base: Any) -> RetentionStore[Any]:
    return RetentionStore(base, NOTHING_STAYS, default_action=RetentionAction.QUARANTINE, preserve_latest=False)


class Interfered(MemoryStore[Any]):
    """Lets another writer come before the next delete, once."""

    def __init__(self, meddle: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.meddle = meddle

    def delete_record(self, id: str, *, collection: Any, **options: Any) -> bool:
        meddle = self.meddle
        if meddle is not None and collection.is_users:
            self.meddle = None
            meddle()
        return super().delete_record(id, collection=collection, **options)


def test_the_archive_never_loses_what_it_held():
    archive, base = MemoryStore(), MemoryStore()
    store = archiving(base, archive)
    store.save(result("a", 1))
    assert store.run_cleanup().items_archived == 1
    store.save(result("a", 2))
    done = store.run_cleanup()
    assert (done.items_archived, done.items_changed, len(done.errors)) == (0, 0, 1)
    assert "another" in done.errors[0]
    assert archive.get("a") == result("a", 1)
    assert base.get("a") == result("a", 2)


def test_versions_in_the_archive_stay_too():
    archive: Any = MemoryStore()
    store = archiving(VersionedStore(MemoryStore()), archive)
    for n in (1, 2):
        store.save(result("a", n), message=f"first {n}")
    assert store.run_cleanup().items_archived == 1
    for n in (1, 2):
        store.save(result("a", n), message=f"second {n}")
    assert len(store.run_cleanup().errors) == 1
    assert [info.message for info in VersionedStore(archive).get_version_history("a")] == ["first 2", "first 1"]
    assert store.exists("a")


def test_a_versioned_archive_holds_both():
    archive: Any = VersionedStore(MemoryStore(), require_message=True)
    store = archiving(MemoryStore(), archive)
    for n in (1, 2):
        store.save(result("a", n))
        assert store.run_cleanup().items_archived == 1
    assert [archive.get("a", version=n) for n in (1, 2)] == [result("a", 1), result("a", 2)]


def test_history_that_comes_without_its_item_does_not_stay_in_the_archive():
    archive: Any = MemoryStore()
    archive.save(result("a", 9))
    store = archiving(VersionedStore(MemoryStore()), archive)
    for n in (1, 2):
        store.save(result("a", n))
    assert len(store.run_cleanup().errors) == 1
    assert VersionedStore(archive).count_versions("a") == 1


def test_what_is_set_aside_is_not_replaced():
    base = MemoryStore()
    store = quarantining(base)
    store.save(result("a", 1))
    store.run_cleanup()
    store.save(result("a", 2))
    done = store.run_cleanup()
    assert (done.items_quarantined, len(done.errors)) == (0, 1)
    assert store.get("a") == result("a", 2)
    store.delete("a")
    store.release("a")
    assert store.get("a") == result("a", 1)


@pytest.mark.parametrize("versioned", [False, True])
def test_a_copy_of_a_run_cut_short_will_do(versioned):
    base: Any = VersionedStore(MemoryStore()) if versioned else MemoryStore()
    archive = MemoryStore()
    store = archiving(base, archive)
    for n in (1, 2):
        store.save(result("a", n))

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    removing = base.delete_record
    base.delete_record = die
    with pytest.raises(KeyboardInterrupt):
        store.run_cleanup()
    base.delete_record = removing
    assert archive.exists("a")
    assert store.exists("a")
    done = store.run_cleanup()
    assert (done.items_archived, done.errors) == (1, ())
    assert archive.get("a") == result("a", 2)


@pytest.mark.parametrize("action", ["archive", "quarantine"])
def test_what_changes_while_it_is_copied_is_kept(action):
    base, archive = Interfered(), MemoryStore()
    store = archiving(base, archive) if action == "archive" else quarantining(base)
    store.save(result("a", 1))
    base.meddle = lambda: base.save(result("a", 2))
    done = store.run_cleanup()
    assert (done.items_changed, done.items_archived, done.items_quarantined) == (1, 0, 0)
    assert store.get("a") == result("a", 2)
    again = store.run_cleanup()
    assert (again.items_archived, again.items_quarantined, len(again.errors)) == (0, 0, 1)
    assert store.get("a") == result("a", 2), "the copy of the other one may be the only one"


@pytest.mark.parametrize("versioned", [False, True])
def test_a_copy_keeps_the_revision(versioned):
    base: Any = VersionedStore(MemoryStore()) if versioned else MemoryStore()
    archive = MemoryStore()
    store = archiving(base, archive)
    revisions = []
    for n in (1, 2):
        store.save(result("a", n))
        revisions.append(store.head("a").revision)
    store.run_cleanup()
    assert archive.head("a").revision == revisions[1]
    if versioned:
        history = archive.collection(VersionedStore.history_of(RESULTS))
        assert [head.revision for head in history.entries()] == revisions[:1]


def test_nothing_is_deleted_for_an_action_that_cannot_be_done():
    class Later(CustomPolicy):
        """Asks for an archive when it is too late to refuse that."""

        def prepare_batch(self, items: Any) -> None:
            self.action = RetentionAction.ARCHIVE

    store = RetentionStore(MemoryStore(), Later(lambda _: False), preserve_latest=False)
    store.save(result("a"))
    done = store.run_cleanup()
    assert "archive_store" in done.errors[0]
    assert store.exists("a")


def test_what_two_cleaners_archive_stays_there():
    """The slower one sees another item in the place of the one that it copied; the faster one relies on that copy."""
    base, archive = Interfered(), MemoryStore()
    slow, fast = archiving(base, archive), archiving(base, archive)
    slow.save(result("a", 1))

    def meddle() -> None:
        assert fast.run_cleanup().items_archived == 1
        base.save(result("a", 2))

    base.meddle = meddle
    assert slow.run_cleanup().items_changed == 1
    assert archive.get("a") == result("a", 1)
    assert base.get("a") == result("a", 2)


def test_what_is_gone_already_stays_in_the_archive():
    base, archive = Interfered(), MemoryStore()
    store = archiving(base, archive)
    store.save(result("a", 1))
    base.meddle = lambda: base.delete("a")
    assert store.run_cleanup().items_changed == 1
    # The other one cannot be known: it may have been this very call, its answer lost.
    assert archive.list_ids() == ["a"]


def test_release_says_why_where_a_reason_is_required():
    base: Any = VersionedStore(MemoryStore(), require_message=True)
    store = quarantining(base)
    store.save(result("a"), message="new")
    assert store.run_cleanup().items_quarantined == 1
    store.release("a")
    assert store.get("a") == result("a")
    assert [info.message for info in base.get_version_history("a")] == ["released from quarantine", "new"]


def test_many_cleaners_archive_every_item():
    base, archive = MemoryStore(), MemoryStore()
    base.save_many(result(f"r{n}") for n in range(40))
    stores = [archiving(base, archive) for _ in range(4)]
    done: Any = at_once(lambda n: stores[n].run_cleanup(), 4)
    assert not any(one.errors for one in done)
    assert sum(one.items_archived for one in done) == 40
    assert base.list_ids() == []
    assert len(archive.list_ids()) == 40
