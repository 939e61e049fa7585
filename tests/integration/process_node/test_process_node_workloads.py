"""The process node with a real API server and controller manager: pods run, become ready, restart, end."""

from __future__ import annotations

import itertools
import subprocess
from typing import Any

Cluster = Any
"""The class of that name in conftest.py, from which nothing can be imported in importlib mode."""

SERVE = """
import http.server, os, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        bad = pathlib.Path(sys.argv[1], self.path.strip("/")).exists()
        self.send_response(503 if bad else 200); self.end_headers()
    def log_message(self, *words): pass
host, _, port = sys.argv[2].rpartition(":")
server = http.server.HTTPServer((host, int(port)), Handler)
print("serving", flush=True)
server.serve_forever()
"""
"""Answers 503 for /NAME while there is a file NAME in the folder."""
SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def serving(**fields: Any) -> dict[str, Any]:
    return {
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "volumeMounts": [{"name": "switches", "mountPath": "/switches"}],
        **fields,
    }


SWITCHES = [{"name": "switches", "emptyDir": {}}]


def http_probe(path: str, **fields: Any) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": 1,
        "timeoutSeconds": 10,
        "failureThreshold": 1,
        **fields,
    }


def switch(cluster: Cluster, pod: str, name: str, *, on: bool) -> None:
    folder = next((cluster.node.state / "pods").glob(f"{cluster.namespace}_{pod}_*/.volumes/switches"))
    (folder / name).touch() if on else (folder / name).unlink()


def test_pod_of_a_deployment_runs_and_becomes_ready_with_its_own_address(cluster: Cluster) -> None:
    container = serving(readinessProbe=http_probe("/readyz"))
    spec = cluster.spec(SERVE, "/switches", "$(POD_IP):8080", container=container, volumes=SWITCHES)
    cluster.deploy("web", spec)
    available = cluster.wait_for(
        "the Deployment is available",
        lambda: (cluster.get("deployments", "web") or {}).get("status", {}).get("availableReplicas") == 1,
    )
    assert available
    pod = cluster.pods()[0]
    status = pod["status"]
    assert pod["spec"]["nodeName"] == cluster.node.name
    assert status["phase"] == "Running"
    assert {item["type"]: item["status"] for item in status["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "PodScheduled": "True",
        "Initialized": "True",
        "ContainersReady": "True",
        "Ready": "True",
    }
    assert status["podIP"].startswith("127.")
    assert status["podIP"] != "127.0.0.1"
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status["qosClass"] == "BestEffort"
    container_status = status["containerStatuses"][0]
    assert container_status["started"]
    assert container_status["ready"]
    assert container_status["restartCount"] == 0
    assert container_status["containerID"].startswith("process://")
    name = pod["metadata"]["name"]
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        cluster.wait_event(name, reason)


def test_two_pods_have_different_addresses(cluster: Cluster) -> None:
    cluster.run("one", SLEEP)
    cluster.run("two", SLEEP)
    cluster.wait_ready("one")
    cluster.wait_ready("two")
    assert cluster.status("one")["podIP"] != cluster.status("two")["podIP"]


def test_kubectl_logs_follows_and_tails_and_shows_the_previous_run(cluster: Cluster) -> None:
    code = """
import pathlib, sys, time
first = not pathlib.Path(sys.argv[1]).exists()
pathlib.Path(sys.argv[1]).touch()
print("run", "one" if first else "two", flush=True)
for number in range(3): print("line", number, flush=True)
if first: sys.exit(3)
time.sleep(1.0); print("end", flush=True); time.sleep(600)
"""
    container = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    cluster.run("talker", code, "/data/seen", container=container, volumes=[{"name": "data", "emptyDir": {}}])
    cluster.wait_for("it was restarted", lambda: cluster.container("talker").get("restartCount") == 1)
    cluster.wait_log("talker", "line 2", run=1)
    command = [cluster.kubectl_path, f"--kubeconfig={cluster.control_plane.kubeconfig}", "-n", cluster.namespace]
    with subprocess.Popen([*command, "logs", "-f", "talker"], stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        followed = [follower.stdout.readline().strip() for _ in range(5)]
        follower.terminate()
    assert followed == ["run two", "line 0", "line 1", "line 2", "end"]
    assert cluster.kubectl("logs", "talker", "--tail=2").stdout == "line 2\nend\n"
    assert cluster.kubectl("logs", "talker", "--previous").stdout == "run one\nline 0\nline 1\nline 2\n"
    since = cluster.kubectl("logs", "talker", "--since=1m")
    assert "sinceSeconds is not supported" in since.stderr


def test_what_the_node_cannot_serve_is_refused_with_a_sentence(cluster: Cluster) -> None:
    cluster.run("plain", SLEEP)
    cluster.wait_running("plain")
    assert "exec is not supported on a process node" in cluster.kubectl("exec", "plain", "--", "true").stderr
    assert "portForward is not supported" in cluster.kubectl("port-forward", "plain", "0:80").stderr
    assert cluster.kubectl("logs", "plain", "--previous").returncode == 1


def test_crashing_container_backs_off_and_tells_how_it_ended(cluster: Cluster) -> None:
    code = "import sys, time; open(sys.argv[1], 'w').write('out of luck'); print(time.time(), flush=True); sys.exit(7)"
    cluster.run("crasher", code, "/dev/termination-log")
    cluster.wait_for("it was restarted three times", lambda: cluster.container("crasher").get("restartCount", 0) >= 3)
    cluster.wait_for(
        "it backs off",
        lambda: cluster.container("crasher")["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff",
    )
    crashed = cluster.container("crasher")
    ended = crashed["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (7, "Error", "out of luck")
    assert ended["startedAt"] <= ended["finishedAt"]
    assert cluster.status("crasher")["phase"] == "Running"
    assert not cluster.is_ready("crasher")
    cluster.wait_event("crasher", "BackOff", "Back-off restarting failed container=main")
    starts = [float(cluster.log("crasher", run=run)) for run in range(4)]
    pauses = [later - sooner for sooner, later in itertools.pairwise(starts)]
    # At once, then after 0.3 s, then after 0.6 s (the node's settings here); lower bounds, for the machine may be slow.
    assert pauses[1] >= 0.3
    assert pauses[2] >= 0.6


def test_last_lines_of_the_log_are_the_message_when_the_pod_asks_for_it(cluster: Cluster) -> None:
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    cluster.run("sad", "print('the reason'); raise SystemExit(1)", container=container, restartPolicy="Never")
    cluster.wait_for("it failed", lambda: cluster.status("sad").get("phase") == "Failed")
    assert cluster.container("sad")["state"]["terminated"]["message"] == "the reason\n"


def test_signal_that_ended_a_container_is_told(cluster: Cluster) -> None:
    cluster.run("victim", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", restartPolicy="Never")
    cluster.wait_for("it failed", lambda: cluster.status("victim").get("phase") == "Failed")
    ended = cluster.container("victim")["state"]["terminated"]
    assert (ended["exitCode"], ended["signal"]) == (139, 11)


def test_failing_liveness_probe_restarts_the_container(cluster: Cluster) -> None:
    container = serving(livenessProbe=http_probe("/healthz", initialDelaySeconds=1, failureThreshold=2))
    cluster.run("frail", SERVE, "/switches", "$(POD_IP):8080", container=container, volumes=SWITCHES)
    cluster.wait_log("frail", "serving")
    first = cluster.wait_for("it has a process", lambda: cluster.pid("frail"))
    switch(cluster, "frail", "healthz", on=True)
    cluster.wait_event("frail", "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 503")
    cluster.wait_event("frail", "Killing", "failed liveness probe, will be restarted")
    switch(cluster, "frail", "healthz", on=False)
    cluster.wait_for("it was restarted", lambda: cluster.container("frail")["restartCount"] >= 1)
    assert not cluster.is_alive(first)
    assert cluster.container("frail")["lastState"]["terminated"]["exitCode"] == 143


def test_readiness_probe_takes_the_pod_in_and_out(cluster: Cluster) -> None:
    container = serving(readinessProbe=http_probe("/readyz"))
    cluster.run("moody", SERVE, "/switches", "$(POD_IP):8080", container=container, volumes=SWITCHES)
    cluster.wait_ready("moody")
    switch(cluster, "moody", "readyz", on=True)
    cluster.wait_for("it is not ready", lambda: cluster.conditions("moody")["Ready"] == "False")
    assert cluster.conditions("moody")["ContainersReady"] == "False"
    switch(cluster, "moody", "readyz", on=False)
    cluster.wait_ready("moody")
    assert cluster.container("moody")["restartCount"] == 0


def test_startup_probe_holds_the_other_probes_back(cluster: Cluster) -> None:
    container = serving(startupProbe=http_probe("/startup", failureThreshold=60), livenessProbe=http_probe("/healthz"))
    code = "import pathlib, sys\nfor name in ('startup', 'healthz'): pathlib.Path(sys.argv[1], name).touch()\n" + SERVE
    cluster.run("slow", code, "/switches", "$(POD_IP):8080", container=container, volumes=SWITCHES)
    cluster.wait_log("slow", "serving")
    cluster.wait_event("slow", "Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 503")
    assert cluster.container("slow")["started"] is False
    assert not [message for _, message in cluster.events("slow") if "Liveness" in message]
    switch(cluster, "slow", "healthz", on=False)
    switch(cluster, "slow", "startup", on=False)
    cluster.wait_ready("slow")
    assert cluster.container("slow")["started"] is True


def test_exec_and_tcp_probes_ask_inside_the_pod(cluster: Cluster) -> None:
    script = "import pathlib, sys; sys.exit(0 if pathlib.Path(sys.argv[1]).exists() else 'not yet')"
    command = ["program", script, "/switches/ready"]
    probe = {"exec": {"command": command}, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 1}
    container = serving(
        readinessProbe=probe, livenessProbe={"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 60}
    )
    cluster.run("asked", SERVE, "/switches", "$(POD_IP):8080", container=container, volumes=SWITCHES)
    cluster.wait_event("asked", "Unhealthy", "Readiness probe failed: not yet")
    switch(cluster, "asked", "ready", on=True)
    cluster.wait_ready("asked")
    assert cluster.container("asked")["restartCount"] == 0


def test_init_containers_run_in_order_before_the_others(cluster: Cluster) -> None:
    mounts = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    append = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + ' ')"
    init = [
        {"name": "first", "image": "program", "args": [append, "/data/order", "first"], **mounts},
        {"name": "second", "image": "program", "args": [append, "/data/order", "second"], **mounts},
    ]
    cluster.run(
        "ordered",
        "import sys; print(open(sys.argv[1]).read())",
        "/data/order",
        container=mounts,
        initContainers=init,
        volumes=[{"name": "data", "emptyDir": {}}],
        restartPolicy="Never",
    )
    cluster.wait_for("it succeeded", lambda: cluster.status("ordered").get("phase") == "Succeeded")
    assert cluster.log("ordered") == "first second \n"
    assert [item["state"]["terminated"]["reason"] for item in cluster.status("ordered")["initContainerStatuses"]] == [
        "Completed",
        "Completed",
    ]


def test_failing_init_container_keeps_the_others_from_starting(cluster: Cluster) -> None:
    init = [{"name": "never", "image": "program", "args": ["raise SystemExit(1)"]}]
    cluster.run("stuck", SLEEP, initContainers=init)
    cluster.wait_for("it was tried again", lambda: cluster.container("stuck", "never").get("restartCount", 0) >= 1)
    assert cluster.status("stuck")["phase"] == "Pending"
    assert cluster.container("stuck")["state"]["waiting"]["reason"] == "PodInitializing"
    assert cluster.conditions("stuck")["Initialized"] == "False"


def test_job_runs_to_completion_and_retries_under_on_failure(cluster: Cluster) -> None:
    code = """
import pathlib, sys
if not pathlib.Path(sys.argv[1]).exists():
    pathlib.Path(sys.argv[1]).touch(); sys.exit(1)
"""
    mounts = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes = [{"name": "data", "emptyDir": {}}]
    spec = cluster.spec(code, "/data/seen", container=mounts, volumes=volumes, restartPolicy="OnFailure")
    cluster.create("jobs", {"metadata": {"name": "work"}, "spec": {"template": {"spec": spec}}})
    cluster.wait_for(
        "the Job is complete", lambda: (cluster.get("jobs", "work") or {}).get("status", {}).get("succeeded") == 1
    )
    assert cluster.pods()[0]["status"]["containerStatuses"][0]["restartCount"] == 1


def test_pod_past_its_deadline_is_ended(cluster: Cluster) -> None:
    cluster.run("late", SLEEP, activeDeadlineSeconds=1)
    cluster.wait_for("it failed", lambda: cluster.status("late").get("reason") == "DeadlineExceeded")
    assert cluster.status("late")["phase"] == "Failed"
    assert cluster.pid("late") is None


def test_changed_image_restarts_the_container_in_place(cluster: Cluster) -> None:
    cluster.run("updated", SLEEP)
    cluster.wait_ready("updated")
    containers = [{"name": "main", "image": "other/program:2"}]
    answer = cluster.control_plane.admin.request(
        "PATCH",
        cluster.path("pods", "updated"),
        {"spec": {"containers": containers}},
        content_type="application/strategic-merge-patch+json",
    )
    assert answer.is_success, answer.body
    cluster.wait_event("updated", "Killing", "definition changed")
    cluster.wait_for("it was restarted", lambda: cluster.container("updated")["restartCount"] == 1)
    assert cluster.container("updated")["image"] == "other/program:2"


def test_node_log_has_one_json_line_a_decision(cluster: Cluster) -> None:
    cluster.run("logged", SLEEP)
    cluster.wait_ready("logged")
    lines = [line for line in cluster.node.log_lines() if line.get("pod") == f"{cluster.namespace}/logged"]
    assert [line["event"] for line in lines if line["event"] != "status"] == ["started"]
