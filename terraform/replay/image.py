"""Whether the image and the binary in it are what the task definition takes them for."""

import pathlib
import re
import socket
import subprocess

from storage import same

ROOT = pathlib.Path(__file__).parents[2]


def _run(leat, *arguments):
    return subprocess.run([leat, *arguments], env={"HOME": "/nonexistent"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def takes(container, leat):
    """Asks the binary for its settings, given a container's command, and for an agent's health; compares with the Dockerfile."""
    first, *arguments = container["command"]
    same(first, "agent", "command")
    asked = _run(leat, "config", *arguments)
    if asked.returncode:
        raise SystemExit(f"leat refuses {arguments}: {asked.stderr}")
    found = {line.split()[0]: line.split()[1] for line in asked.stdout.splitlines()[1:]}
    for argument in arguments:
        name, value = argument.removeprefix("--").split("=", 1)
        if not name.startswith("cache-"):  # which are printed in other units
            same(found[name], value, f"what leat makes of {argument}")
    same(found["name"], '""', "name")

    with socket.socket() as s:  # bound and not listening: whoever asks is refused
        s.bind(("127.0.0.1", 0))
        kind, binary, *check = container["healthCheck"]["command"]
        asked = _run(leat, *(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{s.getsockname()[1]}", a) for a in check))
    same((kind, asked.returncode, "refused" in asked.stderr), ("CMD", 1, True), f"health check: {asked.stderr}")

    # agent/drain.go bounds how long an agent takes to stop.
    drain = re.search(r"^\s*endTime\s*= (\d+) \* time\.Second", (ROOT / "agent/drain.go").read_text(encoding="utf-8"), re.M)
    if not drain or container["stopTimeout"] < int(drain[1]) + 5:
        raise SystemExit(f"stopTimeout {container['stopTimeout']} is not well above endTime in agent/drain.go")

    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for line in (f'ENTRYPOINT ["{binary}"]', f"USER {container['user']}"):
        if line not in dockerfile.splitlines():
            raise SystemExit(f"the Dockerfile has no line {line}")
    for mount in container["mountPoints"]:
        if not re.search(rf"^COPY .*--chown={container['user']} \S+ {mount['containerPath']}$", dockerfile, re.M):
            raise SystemExit(f"the Dockerfile has no folder {mount['containerPath']} of {container['user']}")
