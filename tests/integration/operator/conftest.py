"""The API's CRDs on the real API server, bots on it, and the operator as a real process with the rights that it lists."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tradingbot_sandbox.control_plane.api import ApiClient
from tradingbot_sandbox.control_plane.audit import AuditEvent, AuditLog
from tradingbot_sandbox.control_plane.control_plane import ControlPlane

Raw = dict[str, Any]
ROOT = Path(__file__).parents[3]
APPLY = "application/apply-patch+yaml"
STATUS_MANAGER = "tradingbot-trader"
DEADLINE_SECONDS = 30.0
USER = "system:serviceaccount:operator-test:operator"

# What the operator may do: the table in tradingbot_operator/kube.py, as a ClusterRole.
_CHILD = ["get", "list", "watch", "create", "patch"]
RULES: list[Raw] = [
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots/status"], "verbs": ["get", "patch"]},
    {"apiGroups": ["tradingbot.dev"], "resources": ["tradingbots/finalizers"], "verbs": ["update"]},
    {"apiGroups": [""], "resources": ["serviceaccounts", "services", "persistentvolumeclaims"], "verbs": _CHILD},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": _CHILD},
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": _CHILD},
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings"], "verbs": [*_CHILD, "delete"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "list", "create", "patch", "update"],
    },
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
]
CLUSTER_RULES: list[Raw] = [
    {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["list", "watch"]}
]

PATHS = {
    "TradingBot": "/apis/tradingbot.dev/v1alpha1/namespaces/{}/tradingbots",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
}
CHILDREN = tuple(kind for kind in PATHS if kind != "TradingBot")
_BOT: Raw = {
    "apiVersion": "tradingbot.dev/v1alpha1",
    "kind": "TradingBot",
    "metadata": {"name": "btc"},
    "spec": {
        "exchange": {"id": "binance", "network": "Sandbox"},
        "symbols": ["BTC/USDT"],
        "strategy": {"name": "sma-cross", "timeframe": "1s", "parameters": {"fast": 5, "slow": "20"}},
        "capital": {
            "currency": "USDT",
            "stage": "micro",
            "stages": [{"name": "micro", "limit": "50"}, {"name": "small", "limit": "100"}],
        },
        "risk": {"maxOrderNotional": "20"},
    },
}


def until[T](what: str, look: Callable[[], T | None], *, seconds: float = DEADLINE_SECONDS) -> T:
    """The first answer that is neither None nor false."""
    end = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)
