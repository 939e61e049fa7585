"""Binance spot: REST under `/api/v3` and `/sapi/v1`, streams under `/ws` and `/stream`, user data under `/ws-api/v3`.

Flow: pump -> world (market and boards) -> publisher -> subscriptions -> connections; signed requests -> rest -> desk ->
matching -> balances and user streams. `faults` may stand at each of these doors.
"""
