"""Google Cloud Storage. A tag is an object's generation, and every condition is one on generations.

Google's client repeats requests that failed for a passing reason. A precondition that fails in such a repetition may be
the work of the first attempt, and is reported as a write whose outcome is unknown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

from truthstore.backends.cloud.config import (
    Action,
    CloudConfig,
    PerProcess,
    Trouble,
    ascending,
    cause,
    content_type,
    failure,
    needed,
    place_of,
)
from truthstore.backends.cloud.store import CloudStore
from truthstore.errors import StoreConfigError, StoreError, StoreNotFoundError
from truthstore.items.results import RESULTS
from truthstore.model.record import ABSENT, ANY
from truthstore.store.config import configure
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from truthstore.items.results import ValidationResult
    from truthstore.model.collection import Collection
    from truthstore.storage.objects.blobs import BlobExpect, Tag

__all__ = ["GCSBlobs", "GCSConfig", "GCSStore"]

T = TypeVar("T")
R = TypeVar("R")

PAGE: Final = 1_000
CONNECT_SECONDS: Final = 10.0
FORBIDDEN: Final = 403
SERVER_ERROR: Final = 500

_NO_BUCKET: Final = Trouble("the bucket does not exist: check its name, or create it")
_PERMISSION: Final = Trouble(
    "no permission: the account needs the role roles/storage.objectUser on the bucket (storage.objects.get, list, "
    "create and delete)"
)
_NOT_SIGNED_IN: Final = Trouble(
    "the credentials are not valid, or have expired: sign in anew, or check credentials_path"
)
_OWN_ATTEMPT: Final = Trouble(
    "an earlier attempt of the same request may have been the one that did it", retryable=True, kind="refused"
)


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
    """A client as the options say.

    Raises:
        StoreConfigError: the key file cannot be used.
        StoreConnectionError: there are no credentials.
    """
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage  # type: ignore[import-untyped]
    from requests.adapters import HTTPAdapter

    try:
        if config.credentials_path is not None:
            client: Any = storage.Client.from_service_account_json(
                os.fspath(config.credentials_path), **({"project": config.project} if config.project else {})
            )
        else:
            client = storage.Client(project=config.project)
    except (OSError, ValueError) as error:
        # ValueError: what is in the file is no key. Its text may hold a part of it.
        problem = error.strerror if isinstance(error, OSError) else "it is not the key file of a service account"
        raise StoreConfigError(f"cannot use credentials_path: {problem}", backend="gcs") from None
    except GoogleAuthError as error:
        raise failure("gcs", "reach", f"gs://{config.bucket}", _unanswered(error)) from cause(error)
    # As Google's own guide does it: the pool holds ten connections unless told otherwise.
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=config.concurrency))  # noqa: SLF001
    # Newer clients ask for the bucket's region in a thread of their own, to name it in traces; one that may only use
    # objects is refused that.
    if hasattr(client, "_bucket_metadata_cache"):
        client._bucket_metadata_cache = None  # noqa: SLF001
    return client


class _Repeating:
    """Google's own policy of what is safe to repeat, which remembers whether it did so."""

    def __init__(self, policy: Any) -> None:
        self.repeated = False
        self._policy = policy

    def __call__(self, request: Callable[..., Any], on_error: object = None) -> Callable[..., Any]:
        wrapped: Callable[..., Any] = self._policy(request, on_error=self._note)
        return wrapped

    def _note(self, _: Exception) -> None:
        self.repeated = True


class GCSBlobs:
    """The objects of a bucket below a prefix.

    Args:
        config: the options.
        prefix: what the names of all objects start with.
    """

    def __init__(self, config: GCSConfig, prefix: str = "") -> None:
        needed(config.bucket, "bucket", "the GCS store")
        self._bucket = config.bucket
        self._prefix = prefix
        self._retries = config.retries
        self._timeout = config.timeout
        self._client = PerProcess[Any](lambda: connect(config), lambda client: client.close())

    def __repr__(self) -> str:
        return f"GCSBlobs({self._bucket!r}, {self._prefix!r})"

    def _blob(self, key: str) -> Any:
        return self._client().bucket(self._bucket).blob(self._prefix + key)

    def get(self, key: str) -> tuple[bytes, Tag]:
        """The bytes as they are stored, and their generation: one request."""

        def read(settings: dict[str, Any]) -> tuple[bytes, Tag]:
            blob = self._blob(key)
            return blob.download_as_bytes(raw_download=True, **settings), str(blob.generation)

        return self._call("read", key, read)

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Stores bytes: one request up to 8 MB."""
        condition = self._condition(key, expect)

        def write(settings: dict[str, Any]) -> Tag:
            blob = self._blob(key)
            blob.upload_from_string(data, content_type=content_type(key), **condition, **settings)
            return str(blob.generation)

        return self._call("write", key, write, expect)

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Removes a key: one request."""
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

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """Keys in ascending order: a request for every thousand."""
        start = self._prefix + after if after else ""
        found = ascending(self._names(self._prefix + prefix, start), start, "gcs")
        return (name[len(self._prefix) :] for name in found)

    def _names(self, prefix: str, start: str) -> Iterator[str]:
        token: str | None = None
        while True:

            def page(settings: dict[str, Any], token: str | None = token) -> tuple[list[str], str | None]:
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

            names, token = self._call("list", prefix, page)
            yield from names
            if not token:
                return

    def close(self) -> None:
        """Gives up connections."""
        self._client.close()

    def _call(self, action: Action, key: str, request: Callable[[dict[str, Any]], R], expect: BlobExpect = ANY) -> R:
        """Makes a request and reports its failure in this library's terms."""
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse  # type: ignore[import-untyped]
        from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]
        from requests.exceptions import RequestException

        policy = DEFAULT_RETRY.with_delay(initial=0.2, maximum=5.0, multiplier=2.0).with_timeout(self._timeout)
        repeating = _Repeating(policy)
        settings = {
            "timeout": (min(CONNECT_SECONDS, self._timeout), self._timeout),
            "retry": repeating if self._retries else None,
        }
        try:
            return request(settings)
        except GoogleAPICallError as error:
            raise self._refused(action, key, error, expect, repeated=repeating.repeated) from cause(error)
        except (
            GoogleAuthError,
            RetryError,
            InvalidResponse,
            DataCorruption,
            RequestException,
            ConnectionError,
        ) as error:
            raise failure("gcs", action, self._name(key), _unanswered(error)) from cause(error)

    def _name(self, key: str) -> str:
        return f"gs://{self._bucket}/{key if key.startswith(self._prefix) else self._prefix + key}"

    def _refused(self, action: Action, key: str, error: Any, expect: BlobExpect, *, repeated: bool) -> StoreError:
        from google.api_core import exceptions

        if isinstance(error, exceptions.NotFound):
            if action == "list" or "bucket does not exist" in str(error):
                return failure("gcs", action, self._name(key), _NO_BUCKET, repeated=repeated)
            if action != "write":
                return StoreNotFoundError("object", key, backend="gcs")
            if expect is not ANY:
                return conflict(key, expect, None, backend="gcs", collection="object")
            return failure("gcs", action, self._name(key), _NO_BUCKET, repeated=repeated)
        if isinstance(error, exceptions.PreconditionFailed):
            if repeated:
                return failure("gcs", action, self._name(key), _OWN_ATTEMPT)
            return conflict(key, expect, "another generation", backend="gcs", collection="object")
        return failure("gcs", action, self._name(key), _trouble(error), repeated=repeated)


class GCSStore(CloudStore[T]):
    """Keeps items in a bucket of Google Cloud Storage. Any number of writers at once.

    Args:
        config: the options, or
        options: the same as keywords.
        collection: what the public operations act on.

    Raises:
        StoreConfigError: options that make no sense.
        TypeError: unknown options.
    """

    name: ClassVar[str] = "gcs"

    @overload
    def __init__(
        self: GCSStore[ValidationResult],
        config: GCSConfig | None = ...,
        *,
        collection: Collection[ValidationResult] = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(self, config: GCSConfig | None = ..., *, collection: Collection[T], **options: Any) -> None: ...
    def __init__(
        self, config: GCSConfig | None = None, *, collection: Collection[Any] = RESULTS, **options: Any
    ) -> None:
        settings = configure(GCSConfig, config, options, "GCSStore")
        prefix = place_of(settings)
        account = os.environ.get("STORAGE_EMULATOR_HOST", "")
        super().__init__(collection, settings, GCSBlobs(settings, prefix), f"gs://{settings.bucket}/{prefix}", account)


def _trouble(error: Any) -> Trouble:
    from google.api_core import exceptions

    if isinstance(error, exceptions.Unauthorized):
        return _NOT_SIGNED_IN
    if isinstance(error, exceptions.Forbidden):
        return _PERMISSION
    if isinstance(error, exceptions.TooManyRequests) or (error.code or 0) >= SERVER_ERROR:
        return Trouble("the service is busy or not available: repeat later", retryable=True)
    return Trouble(str(error.message or error), kind="refused")


def _unanswered(error: Exception) -> Trouble:
    """What an error means that the client raised before or instead of an answer."""
    from google.auth import exceptions

    if isinstance(error, exceptions.DefaultCredentialsError):
        return Trouble(
            "there are no credentials: give credentials_path, or run `gcloud auth application-default login`"
        )
    if isinstance(error, exceptions.GoogleAuthError) and not isinstance(error, exceptions.TransportError):
        return _NOT_SIGNED_IN
    return Trouble(f"the service did not answer ({type(error).__name__}): check network and endpoint", retryable=True)
