"""A real Kubernetes control plane as local processes: found or built, certified, started, observed, stopped."""
