"""The duties of every store in an object storage service: counted requests, many processes, faults, and plain objects."""

from __future__ import annotations

import gc
import gzip
import json
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.crash.processes import at_once
from tests.services.proxy import Answer, Proxy, proxy
from truthstore import RESULTS, BaseStore, StoreQuery
from truthstore.errors import StoreBulkError, StoreConflictError, StoreConnectionError, StoreError
from truthstore.model.record import ABSENT
from truthstore.testing import SAMPLES, Sample
from truthstore.testing.suite.items import a_result

PROCESSES = 4
SAVES = 250 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 30


class CloudStoreCases:
    """Inherit it beside `DriverCases`, whose `location` and `remove_bucket` it shares, and say how a store is opened.

    Attributes:
        put: the method of the request that a put makes.
        expired: how the service answers when credentials have expired.
        denied: how it answers without permission.
    """

    put: ClassVar[str] = "PUT"
    expired: ClassVar[Answer]
    denied: ClassVar[Answer]

    def open_store(self, url: str | None, location: Any, **options: Any) -> BaseStore[Any]:
        """Opens the store, through a proxy if it is given."""
        raise NotImplementedError

    def remove_bucket(self, location: Any) -> None:
        """Removes the bucket of a location."""
        raise NotImplementedError

    def names(self, location: Any) -> list[str]:
        """Names of all objects of the bucket, by the vendor's own client."""
        raise NotImplementedError

    def read_object(self, location: Any, name: str) -> tuple[bytes, str | None]:
        """An object and its content encoding, by the vendor's own client."""
        raise NotImplementedError

    @pytest.fixture
    def faults(self, server: Any) -> Iterator[Proxy]:
        """A proxy before the server."""
        with proxy(server.port) as one:
            yield one

    @pytest.fixture
    def opener(self, location: Any, tmp_path: Path) -> Iterator[Callable[..., BaseStore[Any]]]:
        """Opens stores of samples, each with a cache folder of its own, as on a machine of its own."""
        opened: list[BaseStore[Any]] = []
        numbers = count()

        def opener(url: str | None = None, **options: Any) -> BaseStore[Any]:
            given = {"collection": SAMPLES, "cache_dir": tmp_path / str(next(numbers)), "timeout": 60.0, **options}
            opened.append(self.open_store(url, location, **given))
            return opened[-1]

        yield opener
        for store in opened:
            store.close()
        gc.collect()

    def test_requests(self, opener: Any, faults: Proxy):
        store = opener(faults.url)
        store.initialize()

        def requests(operation: Callable[[], object]) -> int:
            faults.reset()
            operation()
            return len(faults.requests)

        def check(new: str) -> None:
            assert requests(lambda: store.save(Sample(new))) == 2
            assert requests(lambda: store.get(new)) == 1
            assert requests(lambda: store.exists(new)) == 1
            assert requests(lambda: store.exists("missing")) == 1
            assert requests(lambda: store.save(Sample(new, count=2))) <= 4
            assert requests(lambda: store.delete(new)) <= 4
            store.list_ids()
            assert requests(store.list_ids) == 1
            assert requests(lambda: store.query(StoreQuery(limit=0))) <= 1

        check("first")
        store.save_many(Sample(f"filling-{i}") for i in range(300))
        check("later")
        assert requests(lambda: store.save_many(Sample(f"many-{i}") for i in range(100))) <= 102

    def test_processes_beside_a_compactor_lose_nothing(self, opener: Any):
        opener().initialize()

        def work(number: int) -> list[str]:
            store = opener()
            if number == PROCESSES:
                while store.count() < PROCESSES * SAVES:
                    store.maintain()
                return []
            return [store.save(Sample(f"{number}-{i:03d}", count=i)) for i in range(SAVES)]

        acknowledged = sorted(id for ids in at_once(work, PROCESSES + 1) for id in ids)
        assert len(acknowledged) == PROCESSES * SAVES
        reader = opener()
        assert sorted(reader.list_ids()) == acknowledged
        assert {sample.id: sample.count for sample in reader.query()} == {id: int(id[2:]) for id in acknowledged}

    def test_processes_race_for_one_id_and_one_wins(self, opener: Any):
        opener().initialize()

        def work(number: int) -> bool:
            try:
                opener().save(Sample("one", count=number), expect=ABSENT)
            except StoreConflictError:
                return False
            return True

        won = at_once(work, 4)
        assert won.count(True) == 1
        assert opener().get("one").count == won.index(True)

    def test_namespaces_neither_see_nor_steal(self, opener: Any):
        one, two = opener(namespace="one"), opener(namespace="two")
        one.save(Sample("same", count=1))
        two.save(Sample("same", count=2))
        two.save(Sample("other"))
        assert one.list_ids() == ["same"]
        assert two.delete("same")
        assert one.get("same").count == 1

    @pytest.mark.parametrize("fault", ["lost", "refused"])
    def test_a_save_without_an_answer_is_looked_up(self, fault: Any, opener: Any, faults: Proxy):
        store = opener(faults.url, retries=0)
        store.save(Sample("a", count=1))
        for at in range(2):
            faults.reset()
            faults.fail(self.put, *[fault] * (at + 1))
            sample = Sample(f"new-{at}", count=1)
            try:
                store.save(sample)
            except StoreError as error:
                assert error.retryable, error
                faults.reset()
                store.save(sample)
            faults.reset()
            assert store.get(sample.id).count == 1
            assert opener().list_ids().count(sample.id) == 1

    def test_a_bucket_that_is_gone_is_never_an_empty_answer(self, opener: Any, location: Any):
        store = opener()
        store.save(Sample("a"))
        assert store.list_ids() == ["a"]
        self.remove_bucket(location)
        for operation in (
            lambda: store.get("a"),
            lambda: store.exists("a"),
            store.list_ids,
            store.count,
            lambda: opener().list_ids(),
        ):
            with pytest.raises(StoreConnectionError, match="does not exist: check its name, or create it"):
                operation()
        for write in self.writes(store):
            with pytest.raises(StoreConnectionError, match="does not exist: check its name, or create it") as caught:
                write()
            assert not caught.value.retryable
            assert "may or may not" not in str(caught.value)
        with pytest.raises(StoreBulkError, match="does not exist") as bulk:
            store.save_many([Sample("b"), Sample("c")])
        assert bulk.value.failed.keys() == {"b", "c"}
        assert "may or may not" not in str(bulk.value)
        health = store.health_check()
        assert not health
        assert "does not exist" in health.message

    def writes(self, store: BaseStore[Any]) -> list[Callable[[], object]]:
        """Writes of new items and of an old one, which is "a"."""
        return [
            lambda: store.save(Sample("b")),
            lambda: store.save(Sample("b"), expect=ABSENT),
            lambda: store.save(Sample("a", count=2)),
            lambda: store.delete("a"),
        ]

    def test_a_write_that_was_refused_is_not_said_to_be_doubtful(self, opener: Any, faults: Proxy):
        store = opener(faults.url)
        store.save(Sample("a", count=1))
        for answer, words in ((self.expired, "expired|valid|wrong|no credentials"), (self.denied, "permission|allow")):
            for write in self.writes(store):
                faults.fail(self.put, *[answer] * 3)  # some clients refresh credentials and ask again
                with pytest.raises(StoreConnectionError, match=words) as caught:
                    write()
                assert not caught.value.retryable
                assert caught.value.identifier in {"a", "b"}
                assert "may or may not" not in str(caught.value)
                faults.reset()
        assert [sample.count for sample in store.query()] == [1]

    def test_health(self, opener: Any, faults: Proxy):
        store = opener(faults.url)
        health = store.health_check()
        assert health, health.message
        assert health.details["writable"]
        assert "open-sesame" not in repr((store, health, store.stats()))

    def test_objects_are_plain_gzip_files(self, opener: Any, location: Any):
        store = opener(collection=RESULTS)
        result = a_result("run_1")
        store.save(result)
        (name,) = [name for name in self.names(location) if name.endswith("/run_1.json.gz")]
        data, encoding = self.read_object(location, name)
        assert encoding is None
        document = json.loads(gzip.decompress(data))
        assert document["run_id"] == "run_1"
        assert document["_truthstore"]["collection"] == "results"
        assert store.get("run_1") == result
