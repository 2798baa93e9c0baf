"""A local server of S3, and what an object store holds."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Serve S3 from memory on a free port; yields the environment variables by which clients find it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": host,
            # Nothing of the machine's own account.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.stop()


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def objects(url: str) -> dict[str, str]:
    """SHA-256 of every object below an address, by name."""
    fs, root = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    return {str(path).removeprefix(f"{root}/"): hashlib.sha256(fs.cat_file(path)).hexdigest() for path in fs.find(root)}


def build(manifest: str, url: str, variables: dict[str, str]) -> None:
    """Ingest into an object store, task after task: what a test kills. A forked child has an older environment."""
    from epizarr.ingest import ingest_manifest

    os.environ.update(variables)
    ingest_manifest(manifest, url, n_threads=1)
