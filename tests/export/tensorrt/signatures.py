"""Runs export.tensorrt.builder against the real classes of TensorRT's Python bindings, without its libraries.

    python tests/export/tensorrt/signatures.py BINDINGS LIBRARIES REPOSITORY

BINDINGS holds tensorrt_bindings, LIBRARIES empty libraries under the names that it loads. Objects are stand-ins for
those of the real classes: a name that a class lacks, an argument that no signature of the method has, and one of
another class are errors. What TensorRT would compute is not tried here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NATIVE = {"bool": True, "int": 0, "str": "", "capsule": object(), "typing_extensions.CapsuleType": object()}
PYTHON = {"str": str, "int": int, "bool": (bool, int), "typing.SupportsInt": int, "buffer": bytes}
PYTHON |= {"typing_extensions.Buffer": bytes, "capsule": object, "typing_extensions.CapsuleType": object}
RENAMED = {"nvonnxparser::IParserError": "ParserError"}


class Api:
    """The module, with stand-ins for what it makes."""

    def __init__(self, real: Any) -> None:
        self.real, self.calls, self.refuse = real, [], False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if isinstance(found, type) and "__members__" not in vars(found):  # enums are as they are
            return Class(self, found)
        if callable(found) and not isinstance(found, type):
            return lambda *given, **named: self.call(found, name, None, given, named)
        return found

    def call(self, method: Any, name: str, owner: Any, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Check the arguments against the method's signatures and make what it returns."""
        self.calls.append(name)
        problems = []
        for parameters, result in signatures(method.__doc__, name):
            problem = self.misfit(parameters[1:] if owner else parameters, given, named)
            if problem is None:
                return self.answer(name, result)
            problems.append(problem)
        raise TypeError(f"{name}{given}{named}: {'; '.join(problems) or 'it has no signature'}")

    def answer(self, name: str, result: str) -> Any:
        if name == "get_creator":
            return None  # nothing is registered yet
        return False if self.refuse and name == "parse" else self.made(result)

    def misfit(self, parameters: list[str], given: tuple[Any, ...], named: dict[str, Any]) -> str | None:
        names = [p.split(":")[0].strip() for p in parameters]
        kinds = {n: p.split(":", 1)[1].split(" = ")[0].strip() for n, p in zip(names, parameters, strict=True)}
        needed = {n for n, p in zip(names, parameters, strict=True) if " = " not in p}
        if len(given) > len(names):
            return f"takes {names}"
        bound = dict(zip(names, given, strict=False)) | named
        if not needed <= set(bound) <= set(names):
            return f"takes {names}, needs {needed}"
        wrong = [n for n, value in bound.items() if not self.fits(kinds[n], value)]
        return f"{wrong} must be {[kinds[n] for n in wrong]}" if wrong else None

    def fits(self, kind: str, value: Any) -> bool:
        if kind in PYTHON:
            return isinstance(value, PYTHON[kind])  # type: ignore[arg-type]
        wanted = self.named(kind)
        if wanted is self.real.Dims:
            return isinstance(value, tuple) and all(isinstance(k, int) for k in value)
        cls = value.cls if isinstance(value, Instance) else type(value)
        return issubclass(cls, wanted)

    def made(self, result: str) -> Any:
        if result in NATIVE or result == "None":
            return NATIVE.get(result)
        if "plugin_registry" in result or "accessor" in result:
            return Instance(self, self.real.IPluginRegistry)
        return Instance(self, self.named(result))

    def named(self, kind: str) -> Any:
        found = self.real
        for part in RENAMED.get(kind, re.sub(r"^tensorrt_bindings\.tensorrt\.", "", kind)).split("."):
            found = getattr(found, part)
        return found


class Class:
    """A class of the module."""

    def __init__(self, api: Api, real: type) -> None:
        self._api, self._real = api, real

    def __call__(self, *given: Any, **named: Any) -> Any:
        self._api.call(self._real.__init__, "__init__", self._real, given, named)  # type: ignore[misc]
        return Instance(self._api, self._real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Instance:
    """An object of a class."""

    def __init__(self, api: Api, cls: type) -> None:
        self.api, self.cls = api, cls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.cls, name)  # raises for a name that the class lacks
        if isinstance(found, property):
            return 1  # num_errors
        return lambda *given, **named: self.api.call(found, name, self.cls, given, named)

    def __bytes__(self) -> bytes:
        if self.cls is not self.api.real.IHostMemory:
            raise TypeError(f"{self.cls} gives no bytes")
        return b"stand-in"


def signatures(text: str, name: str) -> list[tuple[list[str], str]]:
    """(parameters, result) of each way to call what a docstring of pybind11 describes."""
    found = re.findall(rf"^(?:\d+\. )?{re.escape(name)}\((.*)\) -> (.*)$", text, re.MULTILINE)
    return [(re.split(r", (?=\w+: )", inner) if inner else [], result.strip()) for inner, result in found]


def raises(kind: type[Exception], work: Callable[[], Any]) -> None:
    try:
        work()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


def main(bindings: Path, libraries: Path, repository: Path) -> None:
    import ctypes

    for library in sorted(libraries.iterdir()):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(bindings))
    import tensorrt_bindings

    from export.tensorrt import builder
    from export.tensorrt.plans import write_plans

    api = Api(tensorrt_bindings)
    builder.load_tensorrt = lambda: api  # type: ignore[assignment]
    builder.compute_capability = lambda: (9, 0)  # type: ignore[assignment]
    plans = write_plans(repository)
    plugin = repository / "libprcnn_plugin.so"
    plugin.write_bytes(b"")
    written = builder.build_engines(plans, plugin, repository / "cache")
    for path in written:
        assert path.read_bytes() == (path.parent / "model.plan").read_bytes() == b"stand-in"
    raises(TypeError, lambda: api.Builder("no logger"))
    raises(AttributeError, lambda: api.Builder(api.Logger()).no_such_method)
    api.refuse = True
    raises(builder.BuildFailed, lambda: builder.build(api, api.Logger(api.Logger.WARNING), plans[0]))
    print(tensorrt_bindings.__version__, [path.name for path in written], sorted(set(api.calls)))


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:]))
