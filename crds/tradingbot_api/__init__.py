"""The API of tradingbot.dev as Python types: what a user may ask for, and what the programs answer.

Both programs import it; it imports neither, and of other libraries pydantic alone.
"""

GROUP = "tradingbot.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
