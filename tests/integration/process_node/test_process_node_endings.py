"""The process node with a real API server: how pods and the node end, and what is left then."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tradingbot_sandbox.node.kube import STRATEGIC_PATCH

Cluster = Any
RunningNode = Any
"""The classes of these names in conftest.py, from which nothing can be imported in importlib mode."""

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
POLITE = """
import signal, sys, time
def end(*_): print("terminated", flush=True); time.sleep(0.3); print("done", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True: time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
print("up", flush=True)
while True: time.sleep(600)
"""
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_deleted_pod_gets_sigterm_and_the_time_to_end(cluster: Cluster) -> None:
    cluster.run("polite", POLITE)
    cluster.wait_log("polite", "up")
    cluster.delete("pods", "polite")
    cluster.wait_gone("polite")
    assert cluster.log("polite") == "up\nterminated\ndone\n"
    cluster.wait_event("polite", "Killing", "Stopping container main")


def test_stubborn_pod_is_killed_after_its_grace_period(cluster: Cluster) -> None:
    cluster.run("stubborn", STUBBORN, terminationGracePeriodSeconds=1)
    cluster.wait_log("stubborn", "up")
    pid = cluster.pid("stubborn")
    started = time.monotonic()
    cluster.delete("pods", "stubborn")
    cluster.wait_log("stubborn", "no")
    cluster.wait_gone("stubborn")
    assert time.monotonic() - started >= 1
    assert not cluster.is_alive(pid)


def test_shorter_grace_period_of_a_second_delete_counts(cluster: Cluster) -> None:
    cluster.run("hurried", STUBBORN, terminationGracePeriodSeconds=600)
    cluster.wait_log("hurried", "up")
    cluster.delete("pods", "hurried")
    cluster.wait_log("hurried", "no")
    cluster.delete("pods", "hurried", grace_seconds=1)
    cluster.wait_gone("hurried")


def test_forced_deletion_kills_the_process_at_once(cluster: Cluster) -> None:
    cluster.run("forced", STUBBORN, terminationGracePeriodSeconds=600)
    cluster.wait_log("forced", "up")
    pid = cluster.pid("forced")
    cluster.delete("pods", "forced", grace_seconds=0)
    cluster.wait_for("its process is gone", lambda: not cluster.is_alive(pid))
    assert cluster.log("forced") == "up\n"


def test_pod_that_was_forced_away_unseen_is_killed_when_the_node_learns_of_it(
    make_node: Callable[..., RunningNode], make_cluster: Callable[[RunningNode], Cluster]
) -> None:
    node = make_node().start()
    cluster = make_cluster(node)
    cluster.run("unseen", STUBBORN, terminationGracePeriodSeconds=600)
    cluster.wait_log("unseen", "up")
    pid = cluster.pid("unseen")
    node.process.send_signal(signal.SIGSTOP)
    cluster.delete("pods", "unseen", grace_seconds=0)
    cluster.wait_gone("unseen")
    assert cluster.is_alive(pid)
    node.process.send_signal(signal.SIGCONT)
    cluster.wait_for("its process is gone", lambda: not cluster.is_alive(pid))


def test_late_status_of_a_former_pod_cannot_reach_its_successor(cluster: Cluster) -> None:
    cluster.run("twin", SLEEP)
    cluster.wait_ready("twin")
    body = {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}, "status": {"message": "from another life"}}
    path = cluster.path("pods", "twin") + "/status"
    kind = "application/strategic-merge-patch+json"
    answer = cluster.control_plane.admin.request("PATCH", path, body, content_type=kind)
    assert answer.status == 422, answer.body  # what the node relies on: it sends the uid with every status


def test_pre_stop_hook_runs_before_sigterm(cluster: Cluster) -> None:
    hook = "import sys; open(sys.argv[1], 'a').write('hook ')"
    container = {
        "lifecycle": {"preStop": {"exec": {"command": ["program", hook, "/data/order"]}}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    code = """
import signal, sys, time
def end(*_): open(sys.argv[1], "a").write("term "); print(open(sys.argv[1]).read(), flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True: time.sleep(600)
"""
    volumes = [{"name": "data", "emptyDir": {}}]
    cluster.run("hooked", code, "/data/order", container=container, volumes=volumes)
    cluster.wait_log("hooked", "up")
    cluster.delete("pods", "hooked")
    cluster.wait_gone("hooked")
    assert cluster.log("hooked") == "up\nhook term \n"


def test_container_ends_with_everything_that_it_started(cluster: Cluster) -> None:
    cluster.run("family", FAMILY)
    child = int(cluster.wait_log("family", "\n"))
    assert cluster.is_alive(child)
    cluster.delete("pods", "family")
    cluster.wait_gone("family")
    assert not cluster.is_alive(child)


def test_recreate_rollouts_never_have_two_processes_at_once(cluster: Cluster) -> None:
    code = """
import fcntl, os, signal, sys, time
def end(*_): time.sleep(0.4); sys.exit(0)
signal.signal(signal.SIGTERM, end)
lock = open(sys.argv[1] + "/lock", "a")
try: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError: open(sys.argv[1] + "/overlap", "a").write(sys.argv[2])
open(sys.argv[1] + "/runs", "a").write(sys.argv[2] + " ")
while True: time.sleep(600)
"""
    resources = {"requests": {"storage": "1Gi"}}
    claim = {"metadata": {"name": "shared"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}}
    cluster.create("persistentvolumeclaims", claim)
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}]

    def spec(version: int) -> Any:
        return cluster.spec(code, "/data", str(version), container=container, volumes=volumes)

    def runs() -> str:
        bound = cluster.get("persistentvolumeclaims", "shared")["spec"].get("volumeName", "none")
        file = cluster.node.state / "volumes" / bound / "runs"
        return file.read_text() if file.exists() else ""

    cluster.deploy("single", spec(1))
    for version in (1, 2, 3):
        if version > 1:
            cluster.merge("deployments", "single", {"spec": {"template": {"spec": spec(version)}}})
        cluster.wait_for(f"version {version} runs", lambda v=version: f"{v} " in runs())
    assert runs() == "1 2 3 "
    volume = cluster.get("persistentvolumeclaims", "shared")["spec"]["volumeName"]
    assert not (cluster.node.state / "volumes" / volume / "overlap").exists()


def test_killed_node_leaves_nothing_running_and_its_successor_recovers(
    make_node: Callable[..., RunningNode], make_cluster: Callable[[RunningNode], Cluster]
) -> None:
    node = make_node().start()
    cluster = make_cluster(node)
    cluster.run("worker", SLEEP)
    cluster.run("family", FAMILY)
    cluster.run("done", "print('once')", restartPolicy="Never")
    cluster.run("lost", SLEEP, restartPolicy="Never")
    for name in ("worker", "family", "lost"):
        cluster.wait_ready(name)
    cluster.wait_for("it succeeded", lambda: cluster.status("done").get("phase") == "Succeeded")
    grandchild = int(cluster.wait_log("family", "\n"))
    pids = {name: cluster.pid(name) for name in ("worker", "family", "lost")}
    address = cluster.status("worker")["podIP"]
    node.kill()
    for name, pid in pids.items():
        cluster.wait_for(f"{name} died with the node", lambda p=pid: not cluster.is_alive(p))
    assert cluster.status("worker")["phase"] == "Running"  # nobody has told the API server
    node.start()
    for name in ("worker", "family"):
        cluster.wait_for(f"{name} was restarted", lambda n=name: cluster.container(n)["restartCount"] == 1)
        ended = cluster.container(name)["lastState"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (255, "Unknown")
    # The kernel ends the containers' own processes with the node; what they had started is found by their session.
    cluster.wait_for("the orphan is gone", lambda: not cluster.is_alive(grandchild))
    cluster.wait_ready("worker")
    assert cluster.status("worker")["podIP"] == address
    cluster.wait_for("it failed", lambda: cluster.status("lost")["phase"] == "Failed")
    assert cluster.status("done")["phase"] == "Succeeded"
    assert cluster.log("done", run=1) == ""


def test_stopped_node_ends_its_pods_in_order_and_takes_them_up_again(
    make_node: Callable[..., RunningNode], make_cluster: Callable[[RunningNode], Cluster]
) -> None:
    node = make_node().start()
    cluster = make_cluster(node)
    cluster.run("polite", POLITE)
    cluster.wait_log("polite", "up")
    assert node.stop() == 0
    assert cluster.log("polite") == "up\nterminated\ndone\n"
    node.start()
    cluster.wait_for("it was restarted", lambda: cluster.container("polite")["restartCount"] == 1)


def test_pods_that_were_deleted_while_the_node_was_down_are_cleaned_up(
    make_node: Callable[..., RunningNode], make_cluster: Callable[[RunningNode], Cluster]
) -> None:
    node = make_node().start()
    cluster = make_cluster(node)
    for name in ("forced", "asked"):
        cluster.run(name, SLEEP, volumes=[{"name": "data", "emptyDir": {}}])
        cluster.wait_ready(name)
    node.kill()
    cluster.delete("pods", "forced", grace_seconds=0)
    cluster.delete("pods", "asked")
    node.start()
    cluster.wait_gone("asked")
    cluster.wait_for("no volume is left", lambda: not list((node.state / "pods").glob("*/.volumes")))
    cluster.wait_for("no record is left", lambda: not list((node.state / "pods").glob("*/pod.json")))


def test_node_whose_folder_was_lost_goes_on_from_what_the_api_server_knows(
    make_node: Callable[..., RunningNode], make_cluster: Callable[[RunningNode], Cluster]
) -> None:
    node = make_node().start()
    cluster = make_cluster(node)
    cluster.run("worker", SLEEP)
    cluster.wait_ready("worker")
    node.kill()
    for record in (node.state / "pods").glob("*/pod.json"):
        record.unlink()
    node.start()
    cluster.wait_for("it was restarted", lambda: cluster.container("worker")["restartCount"] == 1)
    cluster.wait_ready("worker")


def test_node_ends_with_its_parent_and_so_do_its_pods(
    make_node: Callable[..., RunningNode], make_cluster: Callable[[RunningNode], Cluster]
) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    node = make_node(options=[f"--parent-pid={parent.pid}"]).start()
    cluster = make_cluster(node)
    cluster.run("family", FAMILY)
    grandchild = int(cluster.wait_log("family", "\n"))
    pid = cluster.pid("family")
    parent.kill()
    parent.wait()
    assert node.process.wait(timeout=60) == 1
    cluster.wait_for("its pod is gone", lambda: not cluster.is_alive(pid) and not cluster.is_alive(grandchild))


def test_second_node_in_the_same_folder_is_refused(node: RunningNode) -> None:
    second = subprocess.run(node.command(), capture_output=True, text=True, timeout=90, check=False)
    assert second.returncode == 1
    assert f"another process node works in {node.state}" in second.stderr


def test_node_that_somebody_deleted_registers_again(
    make_node: Callable[..., RunningNode], make_cluster: Callable[[RunningNode], Cluster]
) -> None:
    node = make_node().start()
    admin = node.control_plane.admin
    path = f"/api/v1/nodes/{node.name}"
    uid = admin.get(path).body["metadata"]["uid"]
    assert admin.delete(path).is_success
    cluster = make_cluster(node)
    cluster.wait_for("it is there again", lambda: admin.get(path).is_success)
    assert admin.get(path).body["metadata"]["uid"] != uid
    lease = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node.name}"
    cluster.wait_for("it has a Lease", lambda: admin.get(lease).is_success)
    cluster.run("after", SLEEP)
    cluster.wait_ready("after")


def test_node_goes_on_when_the_api_server_was_away(
    make_node: Callable[..., RunningNode], make_cluster: Callable[[RunningNode], Cluster]
) -> None:
    node = make_node().start()
    cluster = make_cluster(node)
    cluster.run("worker", SLEEP)
    cluster.wait_ready("worker")
    pid = cluster.pid("worker")
    cluster.control_plane.kill("kube-apiserver")
    os.kill(pid, signal.SIGKILL)  # a container that ends meanwhile is restarted, with or without an API server
    second = cluster.wait_for(
        "it has a new process", lambda: cluster.pid("worker") not in (None, pid) and cluster.pid("worker")
    )
    cluster.control_plane.resume("kube-apiserver")
    cluster.wait_for("its restart is told", lambda: cluster.container("worker")["restartCount"] == 1)
    assert cluster.pid("worker") == second
    cluster.run("after", SLEEP)
    cluster.wait_ready("after")


def test_pod_is_ready_again_when_the_controller_of_nodes_has_said_that_it_is_not(cluster: Cluster) -> None:
    """What it does to all pods of a node that it has not heard of for too long, and never takes back."""
    cluster.run("silent", SLEEP)
    cluster.wait_ready("silent")
    pid, path = cluster.pid("silent"), f"/api/v1/namespaces/{cluster.namespace}/pods/silent/status"
    not_ready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    for _ in range(3):
        admin = cluster.control_plane.admin
        assert admin.request("PATCH", path, not_ready, content_type=STRATEGIC_PATCH).is_success
        cluster.wait_ready("silent")
    assert (cluster.pid("silent"), cluster.container("silent")["restartCount"]) == (pid, 0)


def test_logs_are_only_for_the_api_server(cluster: Cluster) -> None:
    cluster.run("private", SLEEP)
    cluster.wait_log("private", "up")
    node = cluster.control_plane.admin.get(f"/api/v1/nodes/{cluster.node.name}").body
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    path = f"/containerLogs/{cluster.namespace}/private/main"
    assert ask(port, path) is None
    admin = cluster.control_plane.admin.tls
    assert ask(port, path, admin.certificate, admin.key) == 200
    # A certificate of the same authority whose user may do nothing.
    pki = admin.certificate.parent
    assert ask(port, path, pki / "controller-manager.crt", pki / "controller-manager.key") == 403


def ask(port: int, path: str, certificate: Path | None = None, key: Path | None = None) -> int | None:
    """The status; None when the connection is refused."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (ssl.SSLError, OSError):
        return None
    finally:
        connection.close()
