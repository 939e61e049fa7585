"""`python -m tradingbot_sandbox.venues ...`: the venue commands without the rest of the sandbox. SHELL."""

from tradingbot_sandbox.venues.cli import venue

if __name__ == "__main__":
    venue(prog_name="tradingbot-sandbox venue")
