"""`python -m tradingbot_sandbox`: the same as the command tradingbot-sandbox."""

from __future__ import annotations

from tradingbot_sandbox.cli import main

if __name__ == "__main__":
    main(prog_name="tradingbot-sandbox")
