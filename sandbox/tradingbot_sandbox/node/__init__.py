"""The process node: a Kubernetes node whose containers are processes of this machine.

```
API server -> reflector (list, watch) -> agent -> binder            binds pods that no scheduler has placed
                                           |---> claims             provisions volumes, removes them
                                           `---> worker, one a pod: spec_check -> volumes -> lifecycle -> process
                                                                    -> probes -> status -> API server
```

What a pod finds here, and what it does not:

- The image's last path component names a console script that is installed beside the Python that runs the node.
- There are no mounts: arguments and environment values that equal a mountPath, or lie under one, are rewritten to the
  folder behind it (`mounts.py`). A program must take every path as an argument or from its environment.
- There are no network namespaces: each pod has its own address in 127.0.0.0/8 as `status.podIP` and listens on it.
- Services are objects only: nothing routes a ClusterIP, there is no cluster DNS, and the endpoints controller cannot
  publish loopback addresses (the API server refuses them), so a Service has no endpoints. Programs are reached at their
  pod's address. Of the service variables only the `KUBERNETES_*` ones are given, with the real address of the API
  server.
- There is one user: what a security context asks for is checked for fields that would loosen it, and the tightening
  ones are named in one event a pod (`NotEnforced`). Memory and CPU limits are not enforced.
- Everything that a pod asks for and this node does not do is refused by an event that names it (`spec_fields.py`).
- `kubectl logs` works (`log_server.py`); exec, attach and port-forward are refused with a sentence.
"""
