"""SHELL. From a container's spec to the command that is run: program, arguments, environment, folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .container import Launch
from .environment import Lookup, build_arguments, build_environment, rewrite_environment
from .images import Images
from .mounts import Mount, normal_mount_path, rewrite_value
from .pod_folder import PodFolder
from .process import Command

Json = dict[str, Any]
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
DEFAULT_TERMINATION_PATH = "/dev/termination-log"


def prepare_launch(
    container: Json,
    pod: Json,
    *,
    pod_ip: str,
    run: int,
    folder: PodFolder,
    volume_mounts: Sequence[Mount],
    images: Images,
    lookup: Lookup,
    services: Mapping[str, str],
    extra: Mapping[str, str],
) -> Launch:
    """StartProblem if the image is unknown or something that the environment needs is missing."""
    name = container["name"]
    program = images.resolve(container["image"], (container.get("command") or [""])[0])
    termination_file = folder.container(name) / "termination-log"
    termination_path = normal_mount_path(container.get("terminationMessagePath") or DEFAULT_TERMINATION_PATH)
    mounts = [*volume_mounts, Mount(termination_path, str(termination_file))]
    variables = build_environment(container, pod, pod_ip, lookup, services)
    home = folder.scratch(name, "home")
    temporary = rewrite_value("/tmp", mounts)  # noqa: S108  the container's, not the machine's
    scratch = folder.scratch(name, "tmp")
    # Nothing of the node's own environment: it may hold the secrets of whoever started it.
    base = {
        "PATH": f"{images.bin_folder}:{SYSTEM_PATH}",
        "HOME": str(home),
        "TMPDIR": str(scratch) if temporary == "/tmp" else temporary,  # noqa: S108
        "HOSTNAME": pod["metadata"]["name"][:63],
        "TZ": "UTC",  # a container knows nothing of the machine's time zone
        **extra,
    }
    working_folder = home
    if asked := container.get("workingDir"):
        working_folder = type(home)(rewrite_value(normal_mount_path(asked), mounts))
        working_folder.mkdir(parents=True, exist_ok=True)
    termination_file.write_bytes(b"")
    command = Command(
        argv=[str(program), *build_arguments(container, variables, mounts)],
        environment=base | rewrite_environment(variables, mounts),
        folder=working_folder,
        no_new_privileges=(container.get("securityContext") or {}).get("allowPrivilegeEscalation") is False,
    )
    return Launch(command, mounts, scratch, folder.log(name, run), termination_file)
