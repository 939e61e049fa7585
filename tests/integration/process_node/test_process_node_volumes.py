"""The process node with a real API server: configuration, secrets, tokens, claims, and what cannot be had yet."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

Cluster = Any
"""The class of that name in conftest.py, from which nothing can be imported in importlib mode."""

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
SHOW = "import json, os, sys, time; print(json.dumps([sys.argv[1:], dict(os.environ)]), flush=True); time.sleep(600)"


def encoded(**texts: str) -> dict[str, str]:
    return {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}


def make_secret(cluster: Cluster, name: str, **texts: str) -> None:
    cluster.create("secrets", {"metadata": {"name": name}, "data": encoded(**texts)})


def volume_folder(cluster: Cluster, pod: str, volume: str) -> Path:
    pattern = f"{cluster.namespace}_{pod}_*/.volumes/{volume}"
    return cluster.wait_for(
        f"volume {volume} of {pod}", lambda: next((cluster.node.state / "pods").glob(pattern), None)
    )


def shown(cluster: Cluster, pod: str) -> tuple[list[str], dict[str, str]]:
    arguments, environment = json.loads(cluster.wait_log(pod, "\n"))
    return arguments, environment


def test_environment_comes_from_the_pod_and_nothing_from_the_node(cluster: Cluster) -> None:
    cluster.create("configmaps", {"metadata": {"name": "settings"}, "data": {"SPEED": "fast", "DEPTH": "5"}})
    make_secret(cluster, "keys", apiKey="abc")
    env = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ROLE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['role']"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "apiKey"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "none", "optional": True}}},
        {"name": "DEEP", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "DEPTH"}}},
        {"name": "WHERE", "value": "$(POD_NAME) at $$(POD_IP) $(UNKNOWN)"},
        {"name": "STORE", "value": "/data/store.db"},
    ]
    container = {
        "env": env,
        "envFrom": [{"prefix": "CFG_", "configMapRef": {"name": "settings"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "workingDir": "/data/work",
    }
    words = (SHOW, "--listen=$(POD_IP):8080", "--store=/data/x", "/data", "/database", "$$(POD_IP)")
    pod = {
        "metadata": {"name": "shown", "labels": {"role": "trader"}},
        "spec": cluster.spec(*words, container=container, volumes=[{"name": "data", "emptyDir": {}}]),
    }
    cluster.create("pods", pod)
    arguments, environment = shown(cluster, "shown")
    cluster.wait_running("shown")
    ip = cluster.status("shown")["podIP"]
    data = str(volume_folder(cluster, "shown", "data"))
    assert arguments == [f"--listen={ip}:8080", f"--store={data}/x", data, "/database", "$(POD_IP)"]
    given = {name: environment[name] for name in ("POD_IP", "POD_NAME", "ROLE", "KEY", "DEEP", "WHERE", "STORE")}
    assert given == {
        "POD_IP": ip,
        "POD_NAME": "shown",
        "ROLE": "trader",
        "KEY": "abc",
        "DEEP": "5",
        "WHERE": "shown at $(POD_IP) $(UNKNOWN)",
        "STORE": f"{data}/store.db",
    }
    assert (environment["CFG_SPEED"], environment["CFG_DEPTH"]) == ("fast", "5")
    host, _, port = cluster.control_plane.url.removeprefix("https://").partition(":")
    assert (environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]) == (host, port)
    names = {"PATH", "HOME", "TMPDIR", "HOSTNAME", "TZ", "CFG_SPEED", "CFG_DEPTH", *given, "LC_CTYPE"}
    kubernetes = {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS"}
    assert set(environment) <= names | kubernetes
    assert Path(environment["HOME"]).is_relative_to(cluster.node.state)
    pid = cluster.pid("shown")
    assert Path(f"/proc/{pid}/cwd").readlink() == Path(data, "work")


def test_process_inherits_no_file_of_the_node(cluster: Cluster) -> None:
    code = "import os, time; print(sorted(os.listdir('/proc/self/fd')), flush=True); time.sleep(600)"
    cluster.run("bare", code)
    # 0, 1 and 2, and the descriptor of the listing itself.
    assert cluster.wait_log("bare", "]").strip() == "['0', '1', '2', '3']"


def test_container_waits_for_a_late_secret_and_starts_when_it_comes(cluster: Cluster) -> None:
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "apiKey"}}}]
    cluster.run("waiting", SHOW, container={"env": env})
    waiting = cluster.wait_for("it waits", lambda: cluster.container("waiting").get("state", {}).get("waiting"))
    assert waiting["reason"] == "CreateContainerConfigError"
    assert waiting["message"] == 'secret "late" not found'
    cluster.wait_event("waiting", "Failed", 'secret "late" not found')
    assert cluster.status("waiting")["phase"] == "Pending"
    make_secret(cluster, "late", apiKey="here")  # tried again at once: the node's own retry is 30 s here
    assert shown(cluster, "waiting")[1]["KEY"] == "here"
    assert cluster.container("waiting")["restartCount"] == 0


def test_pod_waits_for_the_secret_of_a_volume(cluster: Cluster) -> None:
    volumes = [{"name": "keys", "secret": {"secretName": "late"}}]
    cluster.run("mounting", SLEEP, volumes=volumes)
    cluster.wait_event("mounting", "FailedMount", 'volume "keys" : secret "late" not found')
    assert cluster.container("mounting")["state"]["waiting"]["reason"] == "ContainerCreating"
    make_secret(cluster, "late", apiKey="here")
    cluster.wait_ready("mounting")


def test_optional_secret_may_be_missing(cluster: Cluster) -> None:
    volumes = [{"name": "keys", "secret": {"secretName": "never", "optional": True}}]
    cluster.run("easy", SLEEP, volumes=volumes)
    cluster.wait_ready("easy")
    assert [path.name for path in volume_folder(cluster, "easy", "keys").iterdir() if path.name[0] != "."] == []


def test_changed_secret_reaches_a_running_pod_all_at_once(cluster: Cluster) -> None:
    make_secret(cluster, "keys", apiKey="old", apiSecret="old", gone="x")
    code = """
import os, sys, time
folder, seen = sys.argv[1], None
while True:
    place = os.path.join(folder, os.readlink(os.path.join(folder, "..data")))
    try: texts = [open(os.path.join(place, name)).read() for name in ("apiKey", "apiSecret")]
    except FileNotFoundError: continue
    if texts != seen: print(*texts, flush=True)
    seen = texts
    time.sleep(0.01)
"""
    container = {"volumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": True}]}
    volumes = [{"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o440}}]
    cluster.run("rotated", code, "/keys", container=container, volumes=volumes)
    cluster.wait_log("rotated", "old old")
    folder = volume_folder(cluster, "rotated", "keys")
    assert (folder / "apiKey").readlink() == Path("..data/apiKey")
    assert stat.S_IMODE((folder / "apiKey").stat().st_mode) == 0o440
    cluster.merge("secrets", "keys", {"data": {**encoded(apiKey="new", apiSecret="new"), "gone": None}})
    assert cluster.wait_log("rotated", "new") == "old old\nnew new\n"
    cluster.wait_for("the removed key is gone", lambda: not (folder / "gone").is_symlink())
    assert cluster.container("rotated")["restartCount"] == 0


def test_projected_volume_and_downward_api_hold_what_they_promise(cluster: Cluster) -> None:
    cluster.create("configmaps", {"metadata": {"name": "rules"}, "data": {"a": "1", "b": "2"}})
    make_secret(cluster, "keys", apiKey="abc")
    labels = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    sources = [
        {"configMap": {"name": "rules", "items": [{"key": "a", "path": "deep/a", "mode": 0o400}]}},
        {"secret": {"name": "keys"}},
        {"downwardAPI": {"items": [labels]}},
    ]
    volumes = [{"name": "all", "projected": {"sources": sources, "defaultMode": 0o640}}]
    pod = {"metadata": {"name": "all", "labels": {"app": "x"}}, "spec": cluster.spec(SLEEP, volumes=volumes)}
    cluster.create("pods", pod)
    cluster.wait_ready("all")
    folder = volume_folder(cluster, "all", "all")
    assert (folder / "deep/a").read_text() == "1"
    assert stat.S_IMODE((folder / "deep/a").stat().st_mode) == 0o400
    assert stat.S_IMODE((folder / "apiKey").stat().st_mode) == 0o640
    assert not (folder / "b").exists()
    assert (folder / "labels").read_text() == 'app="x"'
    cluster.merge("pods", "all", {"metadata": {"labels": {"app": "y"}}})
    cluster.wait_for("the file follows the label", lambda: (folder / "labels").read_text() == 'app="y"')


def test_service_account_token_is_bound_to_the_pod_works_and_is_renewed(cluster: Cluster) -> None:
    code = """
import json, ssl, sys, time, os, urllib.request
folder, seen = sys.argv[1], None
context = ssl.create_default_context(cafile=os.path.join(folder, "ca.crt"))
url = "https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}/apis/authentication.k8s.io/v1/selfsubjectreviews"
while True:
    token = open(os.path.join(folder, "token")).read()
    if token != seen:
        body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode()
        request = urllib.request.Request(url.format(**os.environ), body,
            {"Authorization": "Bearer " + token, "Content-Type": "application/json"})
        print(json.dumps(json.load(urllib.request.urlopen(request, context=context))["status"]["userInfo"]), flush=True)
        seen = token
    time.sleep(0.05)
"""
    cluster.create("serviceaccounts", {"metadata": {"name": "robot"}})
    # The node renews after 0.3 % of a token's life here, and 600 s is the shortest life that can be asked for.
    token = {"path": "token", "expirationSeconds": 600}
    sources = [{"serviceAccountToken": token}, {"configMap": {"name": "kube-root-ca.crt"}}]
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    container = {"volumeMounts": [{"name": "account", "mountPath": account, "readOnly": True}]}
    volumes = [{"name": "account", "projected": {"sources": sources}}]
    spec = cluster.spec(code, account, container=container, volumes=volumes, serviceAccountName="robot")
    pod = cluster.create("pods", {"metadata": {"name": "robot"}, "spec": spec})
    cluster.wait_for("two tokens were used", lambda: cluster.log("robot").count("\n") >= 2)
    for line in cluster.log("robot").splitlines():
        user = json.loads(line)
        assert user["username"] == f"system:serviceaccount:{cluster.namespace}:robot"
        assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]
    assert cluster.container("robot")["restartCount"] == 0


def test_default_service_account_volume_is_what_programs_expect(cluster: Cluster) -> None:
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    code = """
import os, sys
print(sorted(name for name in os.listdir(sys.argv[1]) if name[0] != "."))
print(open(sys.argv[1] + "/namespace").read())
"""
    cluster.run("default", code, account, automountServiceAccountToken=True, restartPolicy="Never")
    cluster.wait_for("it succeeded", lambda: cluster.status("default").get("phase") == "Succeeded")
    assert cluster.log("default") == f"['ca.crt', 'namespace', 'token']\n{cluster.namespace}\n"


def claim(name: str, mode: str = "ReadWriteOncePod") -> dict[str, Any]:
    resources = {"requests": {"storage": "1Gi"}}
    return {"metadata": {"name": name}, "spec": {"accessModes": [mode], "resources": resources}}


def test_data_of_a_claim_survives_its_pods_and_goes_with_the_claim(cluster: Cluster) -> None:
    code = "import sys; file = open(sys.argv[1], 'a+'); file.write('x'); file.seek(0); print(len(file.read()))"
    container = {"volumeMounts": [{"name": "data", "mountPath": "/var/lib/store"}]}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "store"}}]
    fields = {"container": container, "volumes": volumes, "restartPolicy": "Never"}
    cluster.create("persistentvolumeclaims", claim("store"))
    for number in (1, 2):
        cluster.run(f"writer-{number}", code, "/var/lib/store/file", **fields)
        cluster.wait_for("it is done", lambda n=number: cluster.status(f"writer-{n}").get("phase") == "Succeeded")
        assert cluster.log(f"writer-{number}") == f"{number}\n"
        cluster.delete("pods", f"writer-{number}")
        cluster.wait_gone(f"writer-{number}")
    bound = cluster.get("persistentvolumeclaims", "store")
    assert bound["status"]["phase"] == "Bound"
    assert bound["spec"]["storageClassName"] == "tradingbot-sandbox"
    folder = cluster.node.state / "volumes" / bound["spec"]["volumeName"]
    assert (folder / "file").read_text() == "xx"
    cluster.delete("persistentvolumeclaims", "store")
    cluster.wait_for("its folder is removed", lambda: not folder.exists())
    path = f"/api/v1/persistentvolumes/{bound['spec']['volumeName']}"
    cluster.wait_for("its volume is removed", lambda: cluster.control_plane.admin.get(path).status == 404)


def test_claim_for_one_pod_keeps_the_second_pod_waiting(cluster: Cluster) -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "mine"}}]
    cluster.create("persistentvolumeclaims", claim("mine"))
    cluster.run("holder", SLEEP, volumes=volumes)
    cluster.wait_ready("holder")
    cluster.run("second", SLEEP, volumes=volumes)
    cluster.wait_event("second", "FailedScheduling", 'ReadWriteOncePod claim "mine" is in use by another pod')
    cluster.delete("pods", "holder")
    cluster.wait_ready("second")


def test_pod_waits_for_a_claim_that_is_made_later(cluster: Cluster) -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "late"}}]
    cluster.run("early", SLEEP, volumes=volumes)
    cluster.wait_event("early", "FailedScheduling", 'persistentvolumeclaim "late" not found')
    cluster.create("persistentvolumeclaims", claim("late", mode="ReadWriteOnce"))
    cluster.wait_ready("early")


def test_claim_that_the_node_cannot_give_is_refused_by_name(cluster: Cluster) -> None:
    body = claim("blocks", mode="ReadWriteOnce")
    body["spec"]["volumeMode"] = "Block"
    cluster.create("persistentvolumeclaims", body)
    cluster.run("user", SLEEP, volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "blocks"}}])
    cluster.wait_event("blocks", "ProvisioningFailed", "spec.volumeMode=Block")
    cluster.wait_event("user", "FailedScheduling", '"blocks" is not bound')


def test_secrets_leave_the_disk_with_the_pod_and_its_log_stays(cluster: Cluster) -> None:
    make_secret(cluster, "keys", apiKey="abc")
    cluster.run("brief", SLEEP, volumes=[{"name": "keys", "secret": {"secretName": "keys"}}])
    cluster.wait_log("brief", "up")
    folder = volume_folder(cluster, "brief", "keys")
    cluster.delete("pods", "brief")
    cluster.wait_for("the secret is off the disk", lambda: not folder.exists())
    assert cluster.log("brief") == "up\n"
