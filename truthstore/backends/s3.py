"""Amazon S3, and whatever speaks its protocol and honours conditional writes: MinIO, R2, Wasabi, Spaces, LocalStack.

A put with a condition is one request. 412 means that the condition did not hold; 409 that another request for the same
key was under way, so it is repeated; a 412 that answers a *repeated* request may be the work of its own first attempt,
and is reported as a write whose outcome is unknown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar
from urllib.parse import urlencode, urlsplit

import tenacity

from truthstore.backends.cloud.config import CloudConfig, check_address
from truthstore.backends.cloud.driver import CloudBlobs, content_type, is_index
from truthstore.backends.cloud.failures import Action, cause, error_of, is_s3_collision, s3_failure, s3_meaning
from truthstore.backends.cloud.store import CloudStore, T
from truthstore.errors import StoreConfigError, StoreConflictError, StoreNotFoundError, echoed, nearest, one_of
from truthstore.items.results import RESULTS
from truthstore.model.record import ABSENT, ANY

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.storage.objects.blobs import BlobExpect, Tag

__all__ = ["S3Blobs", "S3Config", "S3Store"]

R = TypeVar("R")

MAX_TAGS: Final = 10
DISCARDED: Final = 1_000
SMALL: Final = 1_000_000
AMAZON: Final = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu")
ENCRYPTIONS: Final = ("AES256", "aws:kms", "aws:kms:dsse")
SLOW_CLASSES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Config(CloudConfig):
    """Options of the S3 store.

    Attributes:
        bucket: the bucket; it must exist.
        region: the bucket's region; by default as the environment says.
        endpoint_url: the address of another service than Amazon's.
        profile: a profile of ``~/.aws``.
        access_key_id: a key, where environment, profile and role of the machine do not give one.
        secret_access_key: its secret.
        session_token: the token of temporary credentials.
        storage_class: of the objects of items; those of the index are always ``STANDARD``.
        server_side_encryption: ``AES256``, ``aws:kms`` or ``aws:kms:dsse``; by default as the bucket is set.
        kms_key_id: the key, for the latter two.
        tags: object tags, for cost reports and lifecycle rules.
        client: a ready boto3 client, instead of all that is about connecting.
    """

    bucket: str = ""
    region: str | None = None
    endpoint_url: str | None = None
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    storage_class: str = "STANDARD"
    server_side_encryption: str | None = None
    kms_key_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    client: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        CloudConfig.__post_init__(self)
        checked_class(self.storage_class)
        if self.server_side_encryption not in {None, *ENCRYPTIONS}:
            raise StoreConfigError(one_of("server_side_encryption", self.server_side_encryption, ENCRYPTIONS))
        if self.kms_key_id and self.server_side_encryption == "AES256":
            raise StoreConfigError("kms_key_id belongs to server_side_encryption='aws:kms'")
        if len(self.tags) > MAX_TAGS:
            raise StoreConfigError(f"S3 takes up to {MAX_TAGS} tags, not {len(self.tags)}")
        given = [name for name in ("region", "endpoint_url", "profile", "access_key_id") if getattr(self, name)]
        if self.client is not None and given:
            raise StoreConfigError(f"client is ready: {given[0]} belongs to how it was made")
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise StoreConfigError("access_key_id and secret_access_key belong together")


def checked_class(name: str) -> str:
    """Return the name of a storage class, checked.

    Raises:
        StoreConfigError: what lies in it cannot be read at once.
    """
    if name in SLOW_CLASSES:
        raise StoreConfigError(
            f"items in storage class {name} cannot be read at once: use GLACIER_IR, or a lifecycle rule"
        )
    return name


def connect(config: S3Config) -> Any:
    """Make a client of the options.

    Raises:
        StoreConfigError: they make no sense.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ProfileNotFound
    from botocore.session import get_session

    settings: dict[str, Any] = {
        "max_pool_connections": config.concurrency,
        "connect_timeout": config.connect_timeout,
        "read_timeout": config.timeout,
        "retries": {"total_max_attempts": config.retries + 1, "mode": "standard"},
        "user_agent": "truthstore",  # the client's own is put together for every request
    }
    try:
        session = boto3.Session(
            profile_name=config.profile,
            region_name=config.region,
            aws_access_key_id=config.access_key_id,
            aws_secret_access_key=config.secret_access_key,
            aws_session_token=config.session_token,
        )
        client: Any = session.client("s3", endpoint_url=config.endpoint_url, config=Config(**settings))
    except ProfileNotFound as error:  # whose message may show a secret
        name, known = str(error.kwargs["profile"]), get_session().available_profiles
        raise StoreConfigError(
            f"there is no profile {echoed(name, known)}: {nearest(name, known, 'there are')}", backend="s3"
        ) from None
    except BotoCoreError as error:
        raise StoreConfigError(f"cannot make an S3 client: {error}", backend="s3") from error
    except ValueError:  # which shows the address
        raise StoreConfigError("cannot make an S3 client: endpoint_url is no address", backend="s3") from None
    check_address("the endpoint that environment or profile name", client.meta.endpoint_url)
    if not is_amazon(client.meta.endpoint_url):
        # Other services do not know Amazon's checksum trailers, and some keep "aws-chunked" as a content encoding.
        facts = client.meta.config
        facts.request_checksum_calculation = facts.response_checksum_validation = "when_required"
    client.meta.events.register_last("before-call.s3", _send_at_once)
    return client


def is_amazon(url: str) -> bool:
    """Return True for an endpoint of Amazon's own; options, environment and profiles may name another."""
    return str(urlsplit(url).hostname).endswith(AMAZON)


def _send_at_once(model: Any, params: dict[str, Any], **_: object) -> None:
    """Send a small body with its headers: to ask for permission first doubles the time of a put."""
    body = params.get("body")
    if model.name == "PutObject" and isinstance(body, BytesIO) and body.getbuffer().nbytes <= SMALL:
        params["headers"].pop("Expect", None)


class S3Blobs(CloudBlobs):
    """The objects of a bucket below a prefix."""

    backend = "s3"
    scheme = "s3"
    needs = "boto3"

    def __init__(self, config: S3Config, prefix: str = "") -> None:
        super().__init__(config.bucket, prefix)
        self._config = config
        self._owner = os.getpid()
        self._again = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_s3_collision),
            stop=tenacity.stop_after_attempt(config.retries + 1),
            wait=tenacity.wait_random_exponential(0.1, 2),
            reraise=True,
        )
        self._arguments: dict[str, Any] = {}
        if config.server_side_encryption or config.kms_key_id:
            self._arguments["ServerSideEncryption"] = config.server_side_encryption or "aws:kms"
        if config.kms_key_id:
            self._arguments["SSEKMSKeyId"] = config.kms_key_id
        if config.tags:
            self._arguments["Tagging"] = urlencode(config.tags)
        self._class = {"StorageClass": config.storage_class} if config.storage_class != "STANDARD" else {}

    @property
    def account(self) -> str:
        """The endpoint, unless it is Amazon's, where the names of buckets are unique."""
        endpoint = str(self._client().meta.endpoint_url)
        return "" if is_amazon(endpoint) else endpoint

    def _connect(self) -> Any:
        given = self._config.client
        if given is None:
            return connect(self._config)
        if os.getpid() != self._owner:
            given.close()  # drops the connections that a fork copied; new ones are made as they are needed
        return given

    def _target(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    def get(self, key: str) -> tuple[bytes, Tag]:
        """Return the bytes and their etag: one request."""

        def read() -> tuple[bytes, Tag]:
            answer = self._client().get_object(**self._target(key))
            return answer["Body"].read(), answer["ETag"]

        return self._call("read", key, read)

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes: one request."""
        arguments = {
            **self._arguments,
            **({} if is_index(key) else self._class),
            **self._target(key),
            "Body": data,
            "ContentType": content_type(key),
        }
        if expect is ABSENT:
            arguments["IfNoneMatch"] = "*"
        elif expect is not ANY:
            arguments["IfMatch"] = expect
        answer = self._call("write", key, lambda: self._client().put_object(**arguments), expect)
        return str(answer["ETag"])

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Remove a key: two requests without a condition, because the service does not say if there was one."""
        target = self._target(key)
        if expect is ANY and not self._exists(key):
            return False
        condition = {} if expect is ANY else {"IfMatch": expect}
        try:
            self._call("remove", key, lambda: self._client().delete_object(**target, **condition), expect)
        except StoreNotFoundError:
            return False
        except StoreConflictError:
            # Some services say so of what is gone, too.
            if self._exists(key):
                raise
            return False
        return True

    def _exists(self, key: str) -> bool:
        target = self._target(key)
        try:
            self._call("remove", key, lambda: self._client().head_object(**target))
        except StoreNotFoundError:
            # The answer to HEAD is the same for a missing bucket; that to a list is not.
            self._page(target["Key"], "", None)
            return False
        return True

    def discard(self, keys: Sequence[str]) -> None:
        """Remove keys, if they are there: one request for every thousand."""
        for start in range(0, len(keys), DISCARDED):
            some = keys[start : start + DISCARDED]
            answer = self._call("remove", some[0], partial(self._delete_objects, some))
            for failed in answer.get("Errors", ()):
                meaning = s3_failure(failed.get("Code", ""), failed.get("Message", ""))
                raise error_of("s3", "remove", f"s3://{self._bucket}/{failed['Key']}", meaning)

    def _delete_objects(self, keys: Sequence[str]) -> Mapping[str, Any]:
        listed = [{"Key": self._prefix + key} for key in keys]
        answer: Mapping[str, Any] = self._client().delete_objects(
            Bucket=self._bucket, Delete={"Objects": listed, "Quiet": True}
        )
        return answer

    def _page(self, prefix: str, start: str, token: Any) -> tuple[list[str], Any]:
        arguments = {"Bucket": self._bucket, "Prefix": prefix}
        if start:
            arguments["StartAfter"] = start
        if token:
            arguments["ContinuationToken"] = token
        found = self._call("list", prefix[len(self._prefix) :], lambda: self._client().list_objects_v2(**arguments))
        return [one["Key"] for one in found.get("Contents", ())], found.get("NextContinuationToken")

    def set_class(self, key: str, name: str) -> None:
        """Copy an object onto itself in another class, within the service, unless it was written meanwhile."""
        checked_class(name)
        target = self._target(key)
        if "IfMatch" not in self._client().meta.service_model.operation_model("CopyObject").input_shape.members:
            raise StoreConfigError("to change the class of an object needs boto3 1.41 or later", backend="s3")

        def change() -> None:
            now = self._client().head_object(**target)
            if now.get("StorageClass", "STANDARD") != name:
                kept = {option: value for option, value in self._arguments.items() if option != "Tagging"}
                of = {"CopySource": target, "CopySourceIfMatch": now["ETag"], "IfMatch": now["ETag"]}
                self._client().copy_object(**target, **of, **kept, StorageClass=name, MetadataDirective="COPY")

        self._call("change", key, change, "the etag")

    def classes(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Iterate over the keys below a prefix and their storage classes."""
        pages = self._client().get_paginator("list_objects_v2")
        listed = pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
        found = self._call("list", prefix, lambda: [one for page in listed for one in page.get("Contents", ())])
        for one in found:
            yield one["Key"][len(self._prefix) :], one.get("StorageClass", "STANDARD")

    def _call(self, action: Action, key: str, request: Callable[[], R], expect: BlobExpect = ANY) -> R:
        """Make a request, again if the service asks for it, and report its failure in this library's terms."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self._again(request)
        except (BotoCoreError, ClientError) as error:
            meaning, repeated = s3_meaning(error)
            raise self._error(action, key, meaning, expect, repeated=repeated) from cause(error)


class S3Store(CloudStore[T]):
    """Keeps items in a bucket of S3, or of another service that speaks its protocol. Any number of writers at once.

    The options are those of `S3Config`, which may be handed over whole as `config`.
    """

    name: ClassVar[str] = "s3"
    config_type = S3Config
    driver_type = S3Blobs

    def __init__(
        self,
        config: S3Config | None = None,
        *,
        collection: Collection[T] = RESULTS,  # type: ignore[assignment]
        **options: Any,
    ) -> None:
        super().__init__(config, collection=collection, **options)
