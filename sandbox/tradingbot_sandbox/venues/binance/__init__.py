"""Binance spot, its public side: REST under `/api/v3`, streams under `/ws` and `/stream`. Market data only, so far.

Flow: pump -> world (market and boards) -> publisher -> subscriptions -> connections; requests -> rest -> boards.
"""
