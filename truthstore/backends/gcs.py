"""Google Cloud Storage. A tag is an object's generation, and every condition is one on generations.

Google's client repeats requests that failed for a passing reason. A precondition that fails in such a repetition may be
the work of the first attempt, and is reported as a write whose outcome is unknown.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from truthstore.backends.cloud.config import CloudConfig
from truthstore.backends.cloud.driver import CloudBlobs, content_type
from truthstore.backends.cloud.failures import Action, Failure, cause, error_of, gcs_meaning
from truthstore.backends.cloud.store import CloudStore, T
from truthstore.errors import StoreConfigError, StoreError, StoreNotFoundError
from truthstore.items.results import RESULTS
from truthstore.model.record import ABSENT, ANY
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.storage.objects.blobs import BlobExpect, Tag

__all__ = ["GCSBlobs", "GCSConfig", "GCSStore"]

R = TypeVar("R")

PAGE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GCSConfig(CloudConfig):
    """Options of the GCS store.

    Attributes:
        bucket: the bucket; it must exist.
        project: the project that requests are billed to; by default the credentials' own.
        credentials_path: a service account's key file; by default the application default credentials. With
            ``STORAGE_EMULATOR_HOST`` set, there are none.
    """

    bucket: str = ""
    project: str | None = None
    credentials_path: str | os.PathLike[str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        CloudConfig.__post_init__(self)
        if self.single_writer:
            raise StoreConfigError("GCS has conditional writes: single_writer is not needed")


def connect(config: GCSConfig) -> Any:
    """Make a client of the options.

    Raises:
        StoreConfigError: the key file cannot be used.
        StoreConnectionError: there are no credentials.
    """
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage  # type: ignore[attr-defined, import-untyped, unused-ignore]
    from requests.adapters import HTTPAdapter

    try:
        if config.credentials_path is not None:
            client: Any = storage.Client.from_service_account_json(
                os.path.expanduser(config.credentials_path), **({"project": config.project} if config.project else {})
            )
        else:
            client = storage.Client(project=config.project)
    except (OSError, ValueError) as error:
        # ValueError: the content of the file is no key. Its text may hold a part of it.
        problem = error.strerror if isinstance(error, OSError) else "it is not the key file of a service account"
        raise StoreConfigError(f"cannot use credentials_path: {problem}", backend="gcs") from None
    except GoogleAuthError as error:
        meaning = gcs_meaning(error)
        assert isinstance(meaning, Failure)
        raise error_of("gcs", "reach", f"gs://{config.bucket}", meaning) from cause(error)
    # As Google's own guide does it: the pool holds ten connections by default.
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=config.concurrency))  # noqa: SLF001
    # Newer clients ask for the bucket's region in a thread of their own, to name it in traces; one that may only use
    # objects is refused that.
    if hasattr(client, "_bucket_metadata_cache"):
        client._bucket_metadata_cache = None  # noqa: SLF001
    return client


class _Repeating:
    """Google's own policy of what is safe to repeat, which remembers that it did so."""

    def __init__(self, policy: Any) -> None:
        self.repeated = False
        self._policy = policy

    def __call__(self, request: Callable[..., Any], on_error: object = None) -> Callable[..., Any]:
        wrapped: Callable[..., Any] = self._policy(request, on_error=self._note)
        return wrapped

    def _note(self, _: Exception) -> None:
        self.repeated = True


class GCSBlobs(CloudBlobs):
    """The objects of a bucket below a prefix."""

    backend = "gcs"
    scheme = "gs"
    needs = "google-cloud-storage"

    def __init__(self, config: GCSConfig, prefix: str = "") -> None:
        super().__init__(config.bucket, prefix)
        self._config = config

    @property
    def account(self) -> str:
        """The address of an emulator; at Google the names of buckets are unique."""
        endpoint = str(self._client().api_endpoint)
        return "" if endpoint.endswith(".googleapis.com") else endpoint

    def _connect(self) -> Any:
        return connect(self._config)

    def _blob(self, key: str) -> Any:
        return self._client().bucket(self._bucket).blob(self._prefix + key)

    def get(self, key: str) -> tuple[bytes, Tag]:
        """Return the bytes as they are stored, and their generation: one request."""

        def read(settings: dict[str, Any]) -> tuple[bytes, Tag]:
            blob = self._blob(key)
            return blob.download_as_bytes(raw_download=True, **settings), str(blob.generation)

        return self._call("read", key, read)

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes: one request up to 8 MB."""
        return self._put(key, data, expect, len(data))

    def put_in_parts(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes in the way of larger ones."""
        return self._put(key, data, expect, None)

    def _put(self, key: str, data: bytes, expect: BlobExpect, size: int | None) -> Tag:
        condition = self._condition(key, expect)

        def write(settings: dict[str, Any]) -> Tag:
            blob = self._blob(key)
            blob.upload_from_file(BytesIO(data), size=size, content_type=content_type(key), **condition, **settings)
            return str(blob.generation)

        return self._call("write", key, write, expect)

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Remove a key: one request."""
        condition = self._condition(key, expect)
        try:
            self._call("remove", key, lambda settings: self._blob(key).delete(**condition, **settings), expect)
        except StoreNotFoundError:
            return False
        return True

    def _condition(self, key: str, expect: BlobExpect) -> dict[str, int]:
        if expect is ANY:
            return {}
        if expect is ABSENT:
            return {"if_generation_match": 0}
        if not str(expect).isdecimal():
            raise conflict(key, expect, "another generation", backend="gcs", collection="object")
        return {"if_generation_match": int(str(expect))}

    def _page(self, prefix: str, start: str, token: Any) -> tuple[list[str], Any]:
        def page(settings: dict[str, Any]) -> tuple[list[str], Any]:
            found = self._client().list_blobs(
                self._bucket,
                prefix=prefix,
                start_offset=start or None,
                page_token=token,
                page_size=PAGE,
                fields="items(name),nextPageToken",
                **settings,
            )
            names = [blob.name for blob in next(found.pages, ())]
            return names, found.next_page_token

        return self._call("list", prefix[len(self._prefix) :], page)

    def _call(self, action: Action, key: str, request: Callable[[dict[str, Any]], R], expect: BlobExpect = ANY) -> R:
        """Make a request and report its failure in this library's terms."""
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse  # type: ignore[attr-defined, import-untyped, unused-ignore]
        from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[attr-defined, import-untyped, unused-ignore]
        from requests.exceptions import RequestException

        timeout = self._config.timeout
        repeating = _Repeating(DEFAULT_RETRY.with_delay(initial=0.2, maximum=5.0, multiplier=2.0).with_timeout(timeout))
        settings = {
            "timeout": (self._config.connect_timeout, timeout),
            "retry": repeating if self._config.retries else None,
        }
        try:
            return request(settings)
        except StoreError:  # one is a ConnectionError
            raise
        except GoogleAPICallError as error:
            raise self._error(action, key, gcs_meaning(error), expect, repeated=repeating.repeated) from cause(error)
        except (
            GoogleAuthError,
            RetryError,
            InvalidResponse,
            DataCorruption,
            RequestException,
            ConnectionError,
        ) as error:
            raise self._error(action, key, gcs_meaning(error), expect, repeated=False) from cause(error)


class GCSStore(CloudStore[T]):
    """Keeps items in a bucket of Google Cloud Storage. Any number of writers at once.

    The options are those of `GCSConfig`, which may be handed over whole as `config`.
    """

    name: ClassVar[str] = "gcs"
    config_type = GCSConfig
    driver_type = GCSBlobs

    def __init__(
        self,
        config: GCSConfig | None = None,
        *,
        collection: Collection[T] = RESULTS,  # type: ignore[assignment]
        **options: Any,
    ) -> None:
        super().__init__(config, collection=collection, **options)
