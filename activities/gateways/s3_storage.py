"""Files in a bucket of anything that speaks S3. The SDK blocks, so it works in threads."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from activities.gateways.storage import CHUNK, Kept, Missing, StorageAway

AT_ONCE = 8  # requests to the bucket at the same time
GONE = ("NoSuchKey", "404", "NotFound")
Result = TypeVar("Result")


class S3Storage:
    def __init__(
        self,
        *,
        bucket: str,
        region: str,
        access_key: str | None,
        secret_key: str | None,
        endpoint: str | None,
    ) -> None:
        """Without keys the SDK looks for those of the machine's own role."""
        self._bucket = bucket
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3")
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(
                connect_timeout=5,
                read_timeout=20,
                retries={"mode": "standard", "total_max_attempts": 3},
                max_pool_connections=AT_ONCE,
                # Others than AWS know no trailing checksums yet; the content has its own tags.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                # A bucket's name as a host wants DNS; those of other makers have it in the path.
                s3={"addressing_style": "path"} if endpoint else {},
            ),
        )

    async def put(self, name: str, content: Iterable[bytes]) -> None:
        body = b"".join(content)  # one request makes it whole or not at all
        await self._ask(lambda: self._client.put_object(Bucket=self._bucket, Key=name, Body=body))

    async def get(self, name: str) -> AsyncIterator[bytes]:
        answer = await self._ask(lambda: self._client.get_object(Bucket=self._bucket, Key=name))
        body = answer["Body"]
        try:
            while part := await self._ask(lambda: body.read(CHUNK)):
                yield part
        finally:
            body.close()

    async def delete(self, name: str) -> None:
        await self._ask(lambda: self._client.delete_object(Bucket=self._bucket, Key=name))

    async def under(self, prefix: str) -> AsyncIterator[Kept]:
        more: dict[str, str] = {}
        while True:
            page = await self._ask(
                lambda more=more: self._client.list_objects_v2(  # type: ignore[misc]
                    Bucket=self._bucket, Prefix=prefix, **more
                )
            )
            for found in page.get("Contents", ()):
                yield Kept(found["Key"], found["LastModified"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def aclose(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def _ask(self, question: Callable[[], Result]) -> Result:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, question)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in GONE:
                raise Missing from None
            raise StorageAway(error.response.get("Error", {}).get("Code", "")) from None
        except (BotoCoreError, OSError) as error:
            raise StorageAway(type(error).__name__) from None
