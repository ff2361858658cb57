"""Azure Blob Storage. A tag is an etag. What exists already is refused with 409, what has changed with 412.

Microsoft's client repeats requests that failed for a passing reason. A condition that fails in such a repetition may be
the work of the first attempt, and is reported as a write whose outcome is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload
from urllib.parse import quote

from truthstore.backends.cloud.azure_failures import OWN_ATTEMPT, TROUBLES, trouble_of, unanswered
from truthstore.backends.cloud.config import (
    Action,
    CloudConfig,
    PerProcess,
    ascending,
    cause,
    content_type,
    failure,
    is_index,
    needed,
    place_of,
)
from truthstore.backends.cloud.store import CloudStore
from truthstore.errors import StoreConfigError, StoreConflictError, StoreError, StoreNotFoundError
from truthstore.items.results import RESULTS
from truthstore.model.fields import check_id
from truthstore.model.record import ABSENT, ANY
from truthstore.store.config import configure
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from truthstore.items.results import ValidationResult
    from truthstore.model.collection import Collection
    from truthstore.storage.objects.blobs import BlobExpect, Tag

__all__ = ["AzureBlobConfig", "AzureBlobStore", "AzureBlobs"]

T = TypeVar("T")
R = TypeVar("R")

PAGE: Final = 5_000
CONNECT_SECONDS: Final = 10.0
NOT_FOUND: Final = 404
PRECONDITION_FAILED: Final = 412
TIERS: Final = ("Hot", "Cool", "Cold", "Archive")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureBlobConfig(CloudConfig):
    """Options of the Azure Blob store. Give a connection string, or an account's address or name with a key, a SAS, or none.

    Attributes:
        container: the container; it must exist.
        connection_string: as the portal shows it.
        account_url: ``https://{account_name}.blob.core.windows.net``.
        account_name: the account, from which the address follows.
        account_key: the account's key.
        sas_token: a shared access signature.
        credential: any credential of `azure.identity`; without one, key or SAS: ``DefaultAzureCredential()``.
        content_type: of the objects of items; by default it follows the format.
        access_tier: of the objects of items: ``Hot``, ``Cool`` or ``Cold``; by default as the account is set.
        metadata: labels of this store; written to every object too, percent-encoded where they are not ASCII.
    """

    container: str = ""
    connection_string: str | None = field(default=None, repr=False)
    account_url: str | None = None
    account_name: str | None = None
    account_key: str | None = field(default=None, repr=False)
    sas_token: str | None = field(default=None, repr=False)
    credential: Any = field(default=None, repr=False)
    content_type: str | None = None
    access_tier: str | None = None

    def __post_init__(self) -> None:
        CloudConfig.__post_init__(self)
        if self.single_writer:
            raise StoreConfigError("Azure has conditional writes: single_writer is not needed")
        if self.account_url and "?" in self.account_url:
            raise StoreConfigError("account_url holds a query: give the part after the question mark as sas_token=")
        given = [name for name in ("account_key", "sas_token", "credential") if getattr(self, name)]
        if len(given) > 1:
            raise StoreConfigError(f"give one of {' and '.join(given)}")
        if self.access_tier is not None:
            checked_tier(self.access_tier)
            if self.access_tier == "Archive":
                raise StoreConfigError(
                    "items in the archive tier cannot be read at once: move old ones with set_access_tier"
                )
        for name in self.metadata:
            if not _NAME.fullmatch(str(name)):
                raise StoreConfigError(f"metadata {name!r}: a name is letters, digits and underscores")

    @property
    def url(self) -> str:
        """The account's address, as far as the options tell."""
        if self.account_url:
            return self.account_url.rstrip("/")
        if self.account_name:
            return f"https://{self.account_name}.blob.core.windows.net"
        parts: dict[str, str] = {}
        for part in (self.connection_string or "").split(";"):
            name, _, value = part.partition("=")
            parts[name] = value
        return parts.get("BlobEndpoint", parts.get("AccountName", "")).rstrip("/")


def checked_tier(tier: str) -> str:
    """A name of an access tier.

    Raises:
        StoreConfigError: there is no such tier.
    """
    if tier not in TIERS:
        raise StoreConfigError(f"access_tier is one of {', '.join(TIERS)}, not {tier!r}")
    return tier


def connect(config: AzureBlobConfig) -> Any:
    """A client of the container as the options say.

    Raises:
        StoreConfigError: they make no sense.
    """
    import requests
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.blob import ContainerClient, ExponentialRetry
    from requests.adapters import HTTPAdapter

    # The pool holds ten connections unless told otherwise.
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=config.concurrency))
    settings: dict[str, Any] = {
        "transport": RequestsTransport(session=session),
        "connection_timeout": min(CONNECT_SECONDS, config.timeout),
        "read_timeout": config.timeout,
        "retry_policy": ExponentialRetry(
            initial_backoff=1, increment_base=2, retry_total=config.retries, random_jitter_range=1
        ),
    }
    try:
        if config.connection_string:
            credential = config.account_key or config.sas_token or config.credential
            return ContainerClient.from_connection_string(
                config.connection_string, config.container, credential=credential, **settings
            )
        return ContainerClient(config.url, config.container, credential=_credential(config), **settings)
    except (ValueError, TypeError) as error:
        # The client repeats what it was given in some of its messages.
        raise StoreConfigError(
            "cannot make an Azure client: check connection_string, account_url and account_key", backend="azure"
        ) from (None if config.connection_string else cause(error))


def _credential(config: AzureBlobConfig) -> Any:
    if config.account_key:
        name = config.account_name or config.url.partition("//")[2].partition(".")[0]
        return {"account_name": name, "account_key": config.account_key}
    if config.sas_token:
        from azure.core.credentials import AzureSasCredential

        return AzureSasCredential(config.sas_token.lstrip("?"))
    if config.credential is not None:
        return config.credential
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise StoreConfigError(
            "without account_key and sas_token the Azure store needs azure.identity: pip install 'truthstore[azure]'",
            backend="azure",
        ) from error
    return DefaultAzureCredential()


class AzureBlobs:
    """The blobs of a container below a prefix.

    Args:
        config: the options.
        prefix: what the names of all blobs start with.
    """

    def __init__(self, config: AzureBlobConfig, prefix: str = "") -> None:
        needed(config.container, "container", "the Azure store")
        if not (config.connection_string or config.account_url or config.account_name):
            raise StoreConfigError("the Azure store needs connection_string=, account_url= or account_name=")
        self._config = config
        self._prefix = prefix
        self._metadata = {str(name): quote(str(value), safe=" /:,;+@") for name, value in config.metadata.items()}
        self._client = PerProcess[Any](lambda: connect(config), lambda client: client.close())

    def __repr__(self) -> str:
        return f"AzureBlobs({self._config.container!r}, {self._prefix!r})"

    def get(self, key: str) -> tuple[bytes, Tag]:
        """The bytes and their etag: one request up to 32 MB."""

        def read(settings: dict[str, Any]) -> tuple[bytes, Tag]:
            answer = self._client().download_blob(self._prefix + key, **settings)
            return answer.readall(), answer.properties.etag

        return self._call("read", key, read)

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Stores bytes: one request up to 64 MB."""
        from azure.storage.blob import ContentSettings, StandardBlobTier

        kind = content_type(key) if is_index(key) else self._config.content_type or content_type(key)
        arguments: dict[str, Any] = {
            "content_settings": ContentSettings(content_type=kind),
            "overwrite": expect is not ABSENT,
            **self._condition(expect),
        }
        if self._metadata:
            arguments["metadata"] = self._metadata
        if self._config.access_tier and not is_index(key):
            arguments["standard_blob_tier"] = StandardBlobTier(self._config.access_tier)

        def write(settings: dict[str, Any]) -> Tag:
            blob = self._client().get_blob_client(self._prefix + key)
            return str(blob.upload_blob(data, **arguments, **settings)["etag"])

        return self._call("write", key, write, expect)

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Removes a key: one request."""
        arguments = self._condition(expect)
        try:
            self._call(
                "remove",
                key,
                lambda settings: self._client().delete_blob(self._prefix + key, **arguments, **settings),
                expect,
            )
        except StoreNotFoundError:
            return False
        except StoreConflictError:
            # What is gone does not have that etag either.
            if self._call("remove", key, lambda _: self._client().get_blob_client(self._prefix + key).exists()):
                raise
            return False
        return True

    def _condition(self, expect: BlobExpect) -> dict[str, Any]:
        from azure.core import MatchConditions

        if expect is ANY or expect is ABSENT:
            return {}
        return {"etag": expect, "match_condition": MatchConditions.IfNotModified}

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """Keys in ascending order: a request for every 5,000, those before `after` included."""
        found = ascending(self._names(self._prefix + prefix), self._prefix + after if after else "", "azure")
        return (name[len(self._prefix) :] for name in found)

    def _names(self, prefix: str) -> Iterator[str]:
        token: str | None = None
        while True:

            def page(settings: dict[str, Any], token: str | None = token) -> tuple[list[str], str | None]:
                pages = (
                    self._client()
                    .list_blob_names(name_starts_with=prefix, results_per_page=PAGE, **settings)
                    .by_page(token)
                )
                return list(next(pages, ())), pages.continuation_token

            names, token = self._call("list", prefix, page)
            yield from names
            if not token:
                return

    def set_access_tier(self, key: str, tier: str) -> None:
        """Moves one blob to another tier.

        Raises:
            StoreNotFoundError: there is none.
            StoreConfigError: there is no such tier.
        """
        checked_tier(tier)
        self._call(
            "write",
            key,
            lambda settings: (
                self._client().get_blob_client(self._prefix + key).set_standard_blob_tier(tier, **settings)
            ),
        )

    def close(self) -> None:
        """Gives up connections."""
        self._client.close()

    def _call(self, action: Action, key: str, request: Callable[[dict[str, Any]], R], expect: BlobExpect = ANY) -> R:
        """Makes a request and reports its failure in this library's terms."""
        from azure.core.exceptions import AzureError

        repeated: list[object] = []

        def note(**facts: object) -> None:
            repeated.append(facts.get("retry_count"))

        try:
            return request({"retry_hook": note})
        except AzureError as error:
            raise self._refused(action, key, error, expect, repeated=bool(repeated)) from cause(error)

    def _name(self, key: str) -> str:
        name = key if key.startswith(self._prefix) else self._prefix + key
        return f"az://{self._config.container}/{name}"

    def _refused(self, action: Action, key: str, error: Any, expect: BlobExpect, *, repeated: bool) -> StoreError:
        from azure.core.exceptions import HttpResponseError

        if not isinstance(error, HttpResponseError) or error.status_code is None:
            return failure("azure", action, self._name(key), unanswered(error))
        code = getattr(error, "error_code", None)
        code = str(getattr(code, "value", code) or "")
        if code in TROUBLES:
            return failure("azure", action, self._name(key), TROUBLES[code], repeated=repeated)
        if error.status_code == NOT_FOUND and action != "list":
            if action == "write" and expect is not ANY:
                return conflict(key, expect, None, backend="azure", collection="object")
            return StoreNotFoundError("object", key, backend="azure")
        if error.status_code == PRECONDITION_FAILED or code == "BlobAlreadyExists":
            if repeated:
                return failure("azure", action, self._name(key), OWN_ATTEMPT)
            return conflict(key, expect, "another etag", backend="azure", collection="object")
        return failure("azure", action, self._name(key), trouble_of(error.status_code, error), repeated=repeated)


class AzureBlobStore(CloudStore[T]):
    """Keeps items in a container of Azure Blob Storage. Any number of writers at once.

    Args:
        config: the options, or
        options: the same as keywords.
        collection: what the public operations act on.

    Raises:
        StoreConfigError: options that make no sense.
        TypeError: unknown options.
    """

    name: ClassVar[str] = "azure"

    @overload
    def __init__(
        self: AzureBlobStore[ValidationResult],
        config: AzureBlobConfig | None = ...,
        *,
        collection: Collection[ValidationResult] = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(self, config: AzureBlobConfig | None = ..., *, collection: Collection[T], **options: Any) -> None: ...
    def __init__(
        self, config: AzureBlobConfig | None = None, *, collection: Collection[Any] = RESULTS, **options: Any
    ) -> None:
        settings = configure(AzureBlobConfig, config, options, "AzureBlobStore")
        prefix = place_of(settings)
        blobs = AzureBlobs(settings, prefix)
        super().__init__(collection, settings, blobs, f"az://{settings.container}/{prefix}", settings.url)
        self._azure = blobs

    def set_access_tier(self, id: str, tier: str) -> None:
        """Moves one item to another tier. What is in the archive tier cannot be read until it is moved back.

        Args:
            id: the item's id.
            tier: ``Hot``, ``Cool``, ``Cold`` or ``Archive``.

        Raises:
            StoreNotFoundError: there is no such item.
            StoreConfigError: there is no such tier.
        """
        checked_tier(tier)
        self._ready(self._collection)
        try:
            self._azure.set_access_tier(self._key(self._collection, check_id(id)), tier)
        except StoreNotFoundError:
            raise StoreNotFoundError(self._collection.name, id, backend=self.name) from None
