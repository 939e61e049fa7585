"""When a bot was last heard by the API server, from that server's own audit log. For tests alone."""

from __future__ import annotations

import json

from support.stop_matrix.bots import Bot
from support.stop_matrix.verdict import as_ns
from tradingbot_sandbox.control_plane.components import Layout


def last_contact_ns(bot: Bot) -> int:
    """Its last read of its object, and of the halts right after: a pair of reads is what counts as contact."""
    user = f"system:serviceaccount:{bot.live.desk}:{bot.name}-trader"
    found = 0
    with Layout(bot.common.stack.state, {}).audit_log.open() as log:
        for line in log:
            if user in line and '"verb":"get"' in line and f"tradingbots/{bot.name}" in line:
                event = json.loads(line)
                if event["user"]["username"] == user and event["stage"] == "ResponseComplete":
                    found = max(found, as_ns(event["requestReceivedTimestamp"]))
    assert found, f"the API server has never heard of {bot.name}"
    return found
