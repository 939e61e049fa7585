"""`python -m tradingbot_plugin`: the same as `kubectl tradingbot`."""

from tradingbot_plugin.cli import main

main()
