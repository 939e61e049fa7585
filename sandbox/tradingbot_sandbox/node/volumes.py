"""SHELL. The volumes of one pod, as folders: made before its containers start, kept up to date while they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .atomic_folder import write_folder
from .claims import Claims
from .clock import Clock
from .errors import StartProblem
from .mounts import Mount, normal_mount_path
from .payload import TokenRequest, build_files, holds_files, token_requests
from .pod_folder import PodFolder
from .references import References
from .tokens import Tokens

Json = dict[str, Any]


class Volumes:
    def __init__(
        self, folder: PodFolder, *, tokens: Tokens, references: References, claims: Claims, clock: Clock
    ) -> None:
        self._folder = folder
        self._tokens = tokens
        self._references = references
        self._claims = claims
        self._clock = clock
        self._real: dict[str, Path] = {}

    async def sync(self, pod: Json, pod_ip: str) -> None:
        """Brings every volume up to date; at the first that cannot be: StartProblem (FailedMount), naming it."""
        for volume in pod["spec"].get("volumes") or []:
            try:
                self._real[volume["name"]] = await self._sync_one(volume, pod, pod_ip)
            except StartProblem as problem:
                message = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {problem.message}'
                raise StartProblem("FailedMount", message) from problem
            except OSError as error:
                message = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                raise StartProblem("FailedMount", message) from error

    def mounts(self, container: Json) -> list[Mount]:
        mounts = container.get("volumeMounts") or []
        return [Mount(normal_mount_path(one["mountPath"]), str(self._real[one["name"]])) for one in mounts]

    async def _sync_one(self, volume: Json, pod: Json, pod_ip: str) -> Path:
        namespace = pod["metadata"]["namespace"]
        if claim := volume.get("persistentVolumeClaim"):
            return self._claims.folder(namespace, claim["claimName"])
        folder = self._folder.volume(volume["name"])
        if not holds_files(volume):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return folder
        values: dict[TokenRequest, str] = {}
        for request in token_requests(volume):
            values[request] = await self._tokens.get(pod, request)

        def lookup(kind: str, name: str) -> Json | None:
            return self._references.lookup(kind, namespace, name)

        files = build_files(volume, pod, pod_ip, lookup, values.__getitem__)
        write_folder(folder, files, self._clock.now_ns())
        return folder
