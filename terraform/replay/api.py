"""An AWS that is a process of this machine: moto's server, started on a free port of 127.0.0.1 and ended with the block."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request

import boto3
from botocore.config import Config

REGION = "eu-central-1"


@contextlib.contextmanager
def server():
    """Yields a function that makes clients: client("s3")."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    # Nothing of the caller's: no profile, no proxy, no credentials that anybody but moto would take.
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url)

        def client(service):
            return boto3.client(
                service, endpoint_url=url, region_name=REGION, aws_access_key_id="moto", aws_secret_access_key="moto",
                config=Config(proxies={}, connect_timeout=5, read_timeout=120, retries={"max_attempts": 0},
                              s3={"addressing_style": "path"}))

        yield client
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _wait(process, url):
    """Returns once the server answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    ends = time.monotonic() + 120
    while True:
        try:
            opener.open(url + "/moto-api/", timeout=30).close()
            return
        except OSError as e:
            if process.poll() is not None or time.monotonic() > ends:
                raise SystemExit(f"moto does not answer ({e}): {process.stderr.read()[-2000:] if process.poll() is not None else ''}")
            time.sleep(0.1)
