"""Runs the sandbox's parts as processes: starts, watches, restarts and stops them, and lets nothing outlive it."""
