"""What a test may do with accounts and keys from outside, and the ground truth with which it compares. PURE.

Flow: server -> `answer_control` -> accounts and trading desk. JSON in, JSON out; amounts are strings:

    POST /sandbox/accounts                     {"balances": {"USDT": "1000"}, "paysInBnb": false}  -> the account
    GET  /sandbox/accounts                     every account
    GET  /sandbox/accounts/UID                 balances, transfers, orders, trades, accepted orders by client id
    POST /sandbox/accounts/UID/keys            {"permissions": {"enableWithdrawals": true}, "addresses": []}
    POST /sandbox/accounts/UID/transfers       {"asset": "USDT", "amount": "-50"}   a deposit, or a withdrawal
    POST /sandbox/accounts/UID/orders          {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", ...}  by hand
    POST /sandbox/keys/revoke                  {"apiKey": "..."}
    POST /sandbox/keys/permissions             {"apiKey": "...", "permissions": {...}}
    GET  /sandbox/requests                     REST requests that came, by method and path
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from tradingbot_sandbox.venues.binance import reports
from tradingbot_sandbox.venues.binance.accounts import Account, KeyPermissions
from tradingbot_sandbox.venues.binance.errors import ApiError
from tradingbot_sandbox.venues.binance.exchange import Exchange
from tradingbot_sandbox.venues.binance.order_request import ResponseType, parse_order
from tradingbot_sandbox.venues.binance.query import Query
from tradingbot_sandbox.venues.binance.rest import Answer
from tradingbot_sandbox.venues.binance.text import decimal_text

CONTROL_PATHS = (
    "/sandbox/accounts",
    r"/sandbox/accounts/{uid:\d+}",
    r"/sandbox/accounts/{uid:\d+}/{what:keys|transfers|orders}",
    "/sandbox/keys/{what:revoke|permissions}",
    "/sandbox/requests",
)
_HAND = "web_"
"""How the client id of an order begins that a person places on the website."""


def answer_control(exchange: Exchange, method: str, path: str, body: str, now_ns: int) -> Answer:
    """One request under `/sandbox/`."""
    try:
        given = json.loads(body) if body else {}
        if not isinstance(given, dict):
            return Answer(400, {"error": "expected a JSON object"})
        return _answer(exchange, method, path.removeprefix("/sandbox/").split("/"), given, now_ns)
    except ApiError as error:
        return Answer(error.http_status, error.body)
    except KeyError as error:
        return Answer(404, {"error": f"{error.args[0]}: unknown, or missing in the request"})
    except (ValueError, InvalidOperation) as error:
        return Answer(400, {"error": str(error)})


def _answer(exchange: Exchange, method: str, path: list[str], given: Mapping[str, object], now_ns: int) -> Answer:
    accounts = exchange.accounts
    match (method, *path):
        case ("GET", "requests"):
            return Answer(200, dict(exchange.requests))
        case ("GET", "accounts"):
            return Answer(200, {"accounts": [account_truth(account) for account in accounts.all]})
        case ("POST", "accounts"):
            balances = {asset: _amount(amount) for asset, amount in _mapping(given, "balances").items()}
            account = accounts.open(balances, pays_in_bnb=given.get("paysInBnb") is True)
            return Answer(200, account_truth(account))
        case ("GET", "accounts", uid):
            return Answer(200, account_truth(accounts[int(uid)]))
        case ("POST", "accounts", uid, "keys"):
            return _issue_key(exchange, accounts[int(uid)], given, now_ns)
        case ("POST", "accounts", uid, "transfers"):
            account = accounts[int(uid)]
            exchange.desk.transfer(account, str(given["asset"]), _amount(given["amount"]), now_ns)
            return Answer(200, account_truth(account))
        case ("POST", "accounts", uid, "orders"):
            return Answer(200, trade_by_hand(exchange, accounts[int(uid)], given, now_ns))
        case ("POST", "keys", "revoke"):
            accounts.revoke(str(given["apiKey"]))
            return Answer(200, {})
        case ("POST", "keys", "permissions"):
            permissions = KeyPermissions.parse(_mapping(given, "permissions"))
            accounts.set_permissions(str(given["apiKey"]), permissions)
            return Answer(200, permissions.wire)
        case _:
            return Answer(404, {"error": f"there is no {method} /sandbox/{'/'.join(path)}"})


def trade_by_hand(
    exchange: Exchange, account: Account, parameters: Mapping[str, object], now_ns: int
) -> dict[str, object]:
    """A person places an order on the website, on the same account. Raises ApiError."""
    pairs = [(name, str(value)) for name, value in parameters.items()]
    if "newClientOrderId" not in parameters:
        pairs.append(("newClientOrderId", f"{_HAND}{len(account.orders):032d}"))
    query = Query(pairs, exchange.symbols)
    request = parse_order(query)
    query.check_all_read()
    placed = exchange.desk.place(account, request, now_ns)
    return reports.placed_body(placed.order, placed.trades, ResponseType.FULL)


def account_truth(account: Account) -> dict[str, object]:
    """Everything about an account, but its keys."""
    balances = account.balances
    return {
        "uid": account.uid,
        "balances": {
            asset: {"free": decimal_text(balances.free(asset)), "locked": decimal_text(balances.locked(asset))}
            for asset in balances.assets
        },
        "transfers": [{"asset": asset, "amount": decimal_text(amount)} for asset, amount in account.transfers],
        "orders": [reports.order_body(order) for order in account.orders],
        "trades": [reports.trade_row(trade) for trade in account.trades],
        "acceptedByClientId": dict(account.accepted),
    }


def _issue_key(exchange: Exchange, account: Account, given: Mapping[str, object], now_ns: int) -> Answer:
    addresses = given.get("addresses") or []
    if not isinstance(addresses, list):
        raise ValueError("addresses: expected a list")
    key = exchange.accounts.issue_key(
        account,
        permissions=KeyPermissions.parse(_mapping(given, "permissions")),
        addresses=[str(address) for address in addresses],
        now_ns=now_ns,
    )
    return Answer(200, {"apiKey": key.api_key, "apiSecret": key.api_secret})


def _mapping(given: Mapping[str, object], name: str) -> dict[str, object]:
    value = given.get(name) or {}
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected an object")
    return value


def _amount(value: object) -> Decimal:
    if not isinstance(value, str):
        raise ValueError(f'{value}: an amount is a string, like "1.5"')
    amount = Decimal(value)
    if not amount.is_finite():
        raise ValueError(f"{value}: an amount is a number")
    return amount
