"""SHELL. Imports one exchange of ccxt without the hundred others.

`import ccxt.pro` runs three package files that import every exchange there is: 119 MB and 3.6 s, where one exchange
needs 69 MB and 0.7 s (ccxt 4.5.90, CPython 3.11). Here, packages that import an exchange when it is first asked for
stand in for the three. Nothing of ccxt is changed or copied: the modules that run are the package's own files. When
anything is not as expected, the stand-ins are removed and ccxt is imported whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog

_log = structlog.get_logger(__name__)
_ROOT = "ccxt"
_PACKAGES = (_ROOT, "ccxt.async_support", "ccxt.pro")


@dataclass(frozen=True, slots=True)
class Ccxt:
    """What the trader uses of ccxt."""

    exchange_class: type[Any]
    errors: Any
    """The module of its exceptions."""
    is_slim: bool


def load(exchange_id: str, import_whole: Callable[[], Any]) -> Ccxt:
    """One exchange's streaming class. `import_whole` answers with `ccxt.pro`, and is the way that always works."""
    if isinstance(sys.modules.get(_ROOT), _StandIn | None):  # never beside a real one that somebody has imported
        try:
            return _load_slim(exchange_id)
        except Exception as error:  # noqa: BLE001  whatever ccxt changed: the whole import does not depend on it
            _forget()
            _log.warning("ccxt is imported whole", exchange=exchange_id, reason=repr(error))
    pro = import_whole()
    return Ccxt(getattr(pro, exchange_id), importlib.import_module("ccxt.base.errors"), is_slim=False)


class _StandIn(ModuleType):
    """In the place of a package that would import everything: imports what it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            module = importlib.import_module(f"{self.__name__}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(f"module {self.__name__} has no attribute {name}") from error
        value = getattr(module, name, module)  # an exchange is a class in a module of its own name
        setattr(self, name, value)  # over the module, which the importer has left here
        return value


def _load_slim(exchange_id: str) -> Ccxt:
    if _ROOT not in sys.modules:
        _stand_in()
    exchange_class = getattr(sys.modules["ccxt.pro"], exchange_id)
    if not isinstance(exchange_class, type):
        raise TypeError(f"ccxt.pro.{exchange_id} is {exchange_class!r}")
    return Ccxt(exchange_class, importlib.import_module("ccxt.base.errors"), is_slim=True)


def _stand_in() -> None:
    spec = importlib.util.find_spec(_ROOT)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("ccxt is not installed", name=_ROOT)
    folder = Path(spec.submodule_search_locations[0])
    for name in _PACKAGES:
        package = _StandIn(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)
    # What the modules of an exchange take from the root package itself.
    root = sys.modules[_ROOT]
    vars(root)["Exchange"] = importlib.import_module("ccxt.base.exchange").Exchange
    errors = importlib.import_module("ccxt.base.errors")
    vars(root).update({name: value for name, value in vars(errors).items() if isinstance(value, type)})


def _forget() -> None:
    for name in [name for name in sys.modules if name == _ROOT or name.startswith(f"{_ROOT}.")]:
        del sys.modules[name]
