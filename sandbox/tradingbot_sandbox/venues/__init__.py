"""Exchange simulators: each speaks one venue's own protocol over a market of `tradingbot_sandbox.market`."""
