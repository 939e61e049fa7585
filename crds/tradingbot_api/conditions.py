"""PURE. Condition types, their reasons, and Events' reasons: the vocabulary of `kubectl describe`."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Ready, Reconciling and Stalled as kstatus defines them; the others are ours."""

    READY = "Ready"
    """The bot does what its accepted spec asks for, within its permit."""
    RECONCILING = "Reconciling"
    """The operator or the trader is still working towards the spec."""
    STALLED = "Stalled"
    """The spec cannot be carried out until a person changes something; the last good configuration is in force."""
    TRADER_AVAILABLE = "TraderAvailable"
    """A trader pod is up and reports."""
    LIVE_ELIGIBLE = "LiveEligible"
    """Everything that live trading requires has been shown; its message says what is missing."""
    HALTED = "Halted"
    """A stop is latched. Not the trading state of the same name."""
    CREDENTIALS_READY = "CredentialsReady"
    """A live pod has an exchange key in force. Live bots alone."""
    PREFLIGHT_PASSED = "PreflightPassed"
    """A live pod has passed what it checks before it may trade. Live bots alone."""
    RECONCILED = "Reconciled"
    """Ledger and venue agreed when they were last compared. Live bots alone."""
    CONFIG_DRIFT = "ConfigDrift"
    """The pod that runs is another than the spec asks for now; the message says what its replacement waits for."""


class Reason(StrEnum):
    """Why a condition is what it is."""

    # Ready, Reconciling
    TRADING = "Trading"
    STARTING = "Starting"
    SUSPENDED = "Suspended"
    KILL_SWITCH = "KillSwitch"
    NOT_TRADING = "NotTrading"
    UP_TO_DATE = "UpToDate"
    APPLYING = "Applying"
    WAITING_FOR_TRADER = "WaitingForTrader"
    SWAPPING_POD = "SwappingPod"
    DRAINING = "Draining"
    """The trader takes no new risk and its orders are being cancelled, before its pod goes."""
    DELETING = "Deleting"
    # Stalled
    NOT_STALLED = "NotStalled"
    INVALID_SPEC = "InvalidSpec"
    UNKNOWN_SYMBOL = "UnknownSymbol"
    UNKNOWN_STRATEGY = "UnknownStrategy"
    INVALID_STRATEGY_PARAMETERS = "InvalidStrategyParameters"
    UNSUPPORTED_EXCHANGE = "UnsupportedExchange"
    LIMITS_BELOW_VENUE_MINIMUM = "LimitsBelowVenueMinimum"
    OWNERSHIP_CONFLICT = "OwnershipConflict"
    APPLY_REFUSED = "ApplyRefused"
    STORE_MISMATCH = "StoreMismatch"
    # TraderAvailable
    AVAILABLE = "Available"
    UNAVAILABLE = "Unavailable"
    SILENT = "Silent"
    # LiveEligible
    NOT_REQUESTED = "NotRequested"
    TEST_NETWORK = "TestNetwork"
    MAINNET_NOT_SUPPORTED = "MainnetNotSupported"
    ACCOUNT_UNKNOWN = "AccountUnknown"
    """The trader has not reported which account of the venue its keys are for."""
    ACCOUNT_IN_USE = "AccountInUse"
    """Another live bot trades on the same account of the venue: balances belong to one bot alone."""
    POLICIES_NOT_IN_FORCE = "PoliciesNotInForce"
    """A request that the admission policies must deny was let through: who asks and who may is not proved."""
    CREDENTIALS_TOO_OLD = "CredentialsTooOld"
    """The key is older than `credentials.maxAge`. Of LiveEligible and of CredentialsReady."""
    # CredentialsReady, PreflightPassed, Reconciled, where the trader gives none
    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    # CredentialsReady, where the trader cannot know
    NOT_LIVE = "NotLive"
    """A paper pod mounts no key, whether one is there or not."""
    WAITING_FOR_SECRET = "WaitingForSecret"  # noqa: S105  a word, no password
    """External Secrets has not said anything about the ExternalSecret yet: it takes a second, if it runs."""
    EXTERNAL_SECRET_NOT_READY = "ExternalSecretNotReady"  # noqa: S105  a word, no password
    """External Secrets cannot make the Secret; the message is the store's own."""
    EXTERNAL_SECRETS_NOT_INSTALLED = "ExternalSecretsNotInstalled"
    """The cluster has no `external-secrets.io/v1`: install External Secrets, or name a Secret."""
    CREDENTIALS_EXPIRING = "CredentialsExpiring"
    """The key is still in force, and will soon be older than `credentials.maxAge`: rotate it."""
    # ConfigDrift
    NO_DRIFT = "NoDrift"
    """The pod that runs is the one that the spec asks for."""
    WAITING_UNTIL_FLAT = "WaitingUntilFlat"
    """updatePolicy WhenFlat: the pod is replaced as soon as nothing is held and no order is open."""
    WAITING_FOR_APPROVAL = "WaitingForApproval"
    """updatePolicy Manual: a person has to set the annotation `tradingbot.dev/roll-out`, or suspend the bot."""
    WAITING_FOR_DRAIN = "WaitingForDrain"
    """The live pod takes no new risk and cancels its orders; then it is replaced."""
    # Halted
    NOT_HALTED = "NotHalted"
    LATCHED = "Latched"


class ConfigReason(StrEnum):
    """`status.trader.config.reason`: why the trader did or did not take the spec."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    UNKNOWN_SYMBOL = "UnknownSymbol"
    UNKNOWN_STRATEGY = "UnknownStrategy"
    INVALID_STRATEGY_PARAMETERS = "InvalidStrategyParameters"
    UNSUPPORTED_EXCHANGE = "UnsupportedExchange"
    LIMITS_BELOW_VENUE_MINIMUM = "LimitsBelowVenueMinimum"
    EXCHANGE_CHANGED = "ExchangeChanged"
    """The pod trades another venue than the spec asks for now; the operator replaces it."""
    STORE_MISMATCH = "StoreMismatch"
    """The volume cannot be used: it belongs to another bot, or a newer trader wrote it."""
    WAITING_FOR_VENUE = "WaitingForVenue"
    """The venue has to be asked about the symbols, and does not answer; the trader keeps asking."""


class TradingState(StrEnum):
    """What may leave the trader; the strictest that any source asks for."""

    ACTIVE = "Active"
    REDUCE_ONLY = "ReduceOnly"
    HALTED = "Halted"


class LatchState(StrEnum):
    """How far a stop has come."""

    ARMED = "Armed"
    """Nothing is latched."""
    STOPPING = "Stopping"
    """Latched: no new risk leaves; orders are being cancelled."""
    STOPPED = "Stopped"
    """Latched, and what the action asked for has been done and proved."""
