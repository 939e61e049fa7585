"""SHELL. Persistent volumes: the node is the provisioner of a StorageClass whose volumes are folders of its state.

```
claim, no volume yet -> first pod that uses it -> selected-node annotation -> PersistentVolume with claimRef
                                                                              -> the controller manager binds the two
claim deleted -> volume Released -> (reclaim policy Delete) volume deleted -> folder removed -> our finalizer removed
```
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from .errors import ApiError, Conflict, NotFound, StartProblem
from .events import Events
from .kube import STRATEGIC_PATCH, KubeApi, core_path
from .reflector import Change, Reflector

Json = dict[str, Any]
log = structlog.get_logger()

STORAGE_CLASS = "tradingbot-sandbox"
PROVISIONER = "tradingbot.dev/process-node"
FINALIZER = "tradingbot.dev/process-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
NODE_LABEL = "tradingbot.dev/node"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


def build_storage_class() -> Json:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def build_volume(claim: Json, node_name: str, folder: Path, reclaim_policy: str) -> Json:
    metadata, spec = claim["metadata"], claim["spec"]
    hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node_name]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(claim),
            "labels": {NODE_LABEL: node_name},
            "annotations": {PROVISIONED_BY: PROVISIONER},
            "finalizers": [FINALIZER],
        },
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}},
            "persistentVolumeReclaimPolicy": reclaim_policy,
            "storageClassName": spec.get("storageClassName"),
            "volumeMode": "Filesystem",
        },
    }


def volume_name(claim: Json) -> str:
    return f"pvc-{claim['metadata']['uid']}"


def unsupported_claim_fields(claim: Json) -> list[str]:
    spec = claim["spec"]
    found = [f"spec.{name}" for name in ("selector", "dataSource", "dataSourceRef") if spec.get(name)]
    if spec.get("volumeMode") == "Block":
        found.append("spec.volumeMode=Block")
    return found


class Claims:
    def __init__(
        self, api: KubeApi, events: Events, node_name: str, volumes: Path, on_change: Callable[[], None]
    ) -> None:
        """`on_change`: a claim has changed, and pods that wait for it should be looked at again."""
        self._api = api
        self._events = events
        self._node_name = node_name
        self._volumes = volumes
        self._on_change = on_change
        self._claims = Reflector(api, core_path("persistentvolumeclaims"), self._on_claim)
        self._released = Reflector(api, core_path("persistentvolumes"), self._on_volume)
        self._due: Callable[[Json], None] = lambda _: None

    @property
    def reflectors(self) -> tuple[Reflector, Reflector]:
        return self._claims, self._released

    def when_released(self, handle: Callable[[Json], None]) -> None:
        """`handle` gets every volume of this node that `clean_up` should see."""
        self._due = handle

    async def ensure_storage_class(self) -> None:
        try:
            await self._api.create(CLASSES, build_storage_class())
        except Conflict:
            return

    def find(self, namespace: str, name: str) -> Json | None:
        for claim in self._claims.objects.values():
            if claim["metadata"]["namespace"] == namespace and claim["metadata"]["name"] == name:
                return claim
        return None

    def folder(self, namespace: str, name: str) -> Path:
        """The folder of a bound claim; StartProblem (FailedMount) if it has none on this node."""
        claim = self.find(namespace, name)
        if claim is None:
            raise StartProblem("FailedMount", f'persistentvolumeclaim "{name}" not found')
        volume: str = claim["spec"].get("volumeName") or ""
        if (claim.get("status") or {}).get("phase") != "Bound" or not volume:
            raise StartProblem("FailedMount", f'persistentvolumeclaim "{name}" is not bound')
        folder = self._volumes / volume
        if volume != volume_name(claim) or not folder.is_dir():
            why = f"its volume {volume} is not one of this node's (storage class {STORAGE_CLASS})"
            raise StartProblem("FailedMount", f'persistentvolumeclaim "{name}" cannot be used: {why}')
        return folder

    async def provision(self, claim: Json) -> bool:
        """Gives a claim of our storage class its volume, which is then bound soon. False: it is not ours to give."""
        metadata, spec = claim["metadata"], claim["spec"]
        if spec.get("volumeName") or not spec.get("storageClassName"):
            return False
        try:
            storage_class = await self._api.get(f"{CLASSES}/{spec['storageClassName']}")
        except NotFound:
            return False
        chosen = (metadata.get("annotations") or {}).get(SELECTED_NODE, self._node_name)
        if storage_class["provisioner"] != PROVISIONER or chosen != self._node_name:
            return False
        if fields := unsupported_claim_fields(claim):
            message = f"the process node does not honour: {', '.join(fields)}"
            self._events.tell(claim, "Warning", "ProvisioningFailed", message)
            return False
        folder = self._volumes / volume_name(claim)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = core_path("persistentvolumeclaims", metadata["namespace"], metadata["name"])
        await self._api.patch(path, {"metadata": {"uid": metadata["uid"], "annotations": {SELECTED_NODE: chosen}}})
        body = build_volume(claim, self._node_name, folder, storage_class.get("reclaimPolicy", "Delete"))
        try:
            await self._api.create(core_path("persistentvolumes"), body)
        except Conflict:
            return True  # made before, and not bound yet
        name = volume_name(claim)
        self._events.tell(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")
        return True

    async def clean_up(self, volume: Json) -> None:
        """Deletes a released volume, and, when it is going away, its folder."""
        metadata, spec = volume["metadata"], volume["spec"]
        path = core_path("persistentvolumes", name=metadata["name"])
        is_deleted = spec.get("persistentVolumeReclaimPolicy") == "Delete"
        try:
            if not metadata.get("deletionTimestamp"):
                if is_deleted and (volume.get("status") or {}).get("phase") == "Released":
                    await self._api.delete(path, {"preconditions": {"uid": metadata["uid"]}})
            elif metadata.get("finalizers") == [FINALIZER]:
                if is_deleted:
                    shutil.rmtree(self._volumes / metadata["name"], ignore_errors=True)
                    log.info("volume_removed", volume=metadata["name"])
                # With the version, so that a finalizer that somebody adds at this moment is not lost.
                change = {"resourceVersion": metadata["resourceVersion"], "finalizers": None}
                await self._api.patch(path, {"metadata": change}, STRATEGIC_PATCH)
        except (NotFound, Conflict):
            return  # its next change brings it here again
        except ApiError as error:
            log.warning("volume_not_removed", volume=metadata["name"], error=str(error))

    def _on_claim(self, _change: Change, _claim: Json) -> None:
        self._on_change()

    def _on_volume(self, change: Change, volume: Json) -> None:
        if change == "set" and (volume["metadata"].get("labels") or {}).get(NODE_LABEL) == self._node_name:
            self._due(volume)
