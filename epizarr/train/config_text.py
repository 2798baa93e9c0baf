"""Training configs as TOML text: named ones, files and ``--set`` overrides, read with every problem named; written in full."""

import dataclasses
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from epizarr.errors import ConfigError, InputNotFoundError, nearest_match, raise_all
from epizarr.train.config import TrainConfig
from epizarr.train.config_checks import check_config
from epizarr.train.named_configs import NAMED_CONFIGS


def load_config(name_or_path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a named configuration or a TOML file, apply overrides and check everything.

    Parameters
    ----------
    name_or_path
        Key of :data:`NAMED_CONFIGS`, or a TOML file with sections ``data``, ``target``, ``splits``, ``network``,
        ``training``, ``discriminator``, ``execution``. A file may begin with ``base = "NAME"`` and then only needs what differs
        from it.
    overrides
        ``"section.key=value"`` each, the value in TOML syntax; text needs no quotes.

    Raises
    ------
    InputNotFoundError
        If there is neither such a name nor such a file.
    ConfigError
        If the file is no TOML, or a key is unknown or a value of the wrong type or out of range; all problems at once.

    Examples
    --------
    >>> load_config("small", ["training.epochs=3", "data.tracks=['CTCF']"]).training.epochs
    3
    """
    origin = f"config {str(name_or_path)!r}"
    tables: list[Mapping[str, Any]] = []
    problems: list[str] = []
    if str(name_or_path) in NAMED_CONFIGS:
        tables.append(NAMED_CONFIGS[str(name_or_path)])
    else:
        raw = _read_toml(Path(name_or_path))
        base = raw.pop("base", None)
        if base is not None and base not in NAMED_CONFIGS:
            problems.append(
                f"base {base!r} is not a named config; there are {', '.join(NAMED_CONFIGS)}"
                f".{nearest_match(str(base), list(NAMED_CONFIGS))}"
            )
        tables.extend([NAMED_CONFIGS.get(str(base), {}), raw])
    for text in overrides:
        parsed, wrong = _parse_override(text)
        tables.append(parsed)
        problems += wrong
    values: dict[str, dict[str, Any]] = {}
    for table in tables:
        problems += _merge(values, table)
    raise_all(ConfigError, origin, problems)
    return check_config(_build(values), origin)


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputNotFoundError(
            f"config {str(path)!r}: no such file, and not one of the named configs {', '.join(NAMED_CONFIGS)}."
            f"{nearest_match(str(path), list(NAMED_CONFIGS))}"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {str(path)!r} is not TOML: {error}.") from error


def _parse_override(text: str) -> tuple[dict[str, Any], list[str]]:
    """``a.b=value`` as a nested table; text that is no TOML value counts as a string."""
    key, equals, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or len(parts) < 2 or not all(parts):
        return {}, [f"override {text!r} is not of the form section.key=value"]
    try:
        parsed: Any = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for part in reversed(parts):
        parsed = {part: parsed}
    return parsed, []


def _sections() -> dict[str, type]:
    return {f.name: typing.get_type_hints(TrainConfig)[f.name] for f in dataclasses.fields(TrainConfig)}


def _merge(values: dict[str, dict[str, Any]], table: Mapping[str, Any]) -> list[str]:
    """Put a table's entries into ``values``, converted to the fields' types; returns the problems."""
    problems = []
    sections = _sections()
    for section, entries in table.items():
        if section not in sections:
            problems.append(
                f"no section [{section}]; there are {', '.join(sections)}.{nearest_match(section, list(sections))}"
            )
            continue
        if not isinstance(entries, Mapping):
            problems.append(f"[{section}] must be a table, not {entries!r}")
            continue
        hints = typing.get_type_hints(sections[section])
        for key, value in entries.items():
            if key not in hints:
                problems.append(f"no key {section}.{key}.{nearest_match(key, list(hints))}")
                continue
            converted = _convert(value, hints[key])
            if converted is _WRONG:
                problems.append(f"{section}.{key} = {value!r}: needs {_type_name(hints[key])}")
            elif isinstance(converted, dict):
                values.setdefault(section, {}).setdefault(key, {}).update(converted)
            else:
                values.setdefault(section, {})[key] = converted
    return problems


_WRONG = object()


def _convert(value: Any, hint: Any) -> Any:
    """Return the value in the field's type, or :data:`_WRONG`. Numbers are not rounded and bool is no number."""
    if hint in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return _WRONG if hint is int and not isinstance(value, int) else hint(value)
    if hint in (bool, str):
        return value if isinstance(value, hint) else _WRONG
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        items = [_convert(item, args[0]) for item in value]
        return _WRONG if _WRONG in items else tuple(items)
    if typing.get_origin(hint) is dict and isinstance(value, Mapping):
        table = {str(name): _convert(item, args[1]) for name, item in value.items()}
        return _WRONG if _WRONG in table.values() else table
    return _WRONG


def _type_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if hint in names:
        return names[hint]
    inner = typing.get_args(hint)
    return (
        f"a list of {'texts' if inner[0] is str else 'whole numbers'}" if inner[-1] is Ellipsis else "a table of texts"
    )


def _build(values: Mapping[str, Mapping[str, Any]]) -> TrainConfig:
    return TrainConfig(**{name: section(**values.get(name, {})) for name, section in _sections().items()})


def config_toml(config: TrainConfig) -> str:
    """Write a config as TOML text with every field explicit; :func:`config_from_toml` reads it back exactly."""
    return tomli_w.dumps(dataclasses.asdict(config))


def config_from_toml(text: str, origin: str) -> TrainConfig:
    """Read what :func:`config_toml` wrote, of a run that has begun or a network that is trained.

    Raises
    ------
    ConfigError
        As :func:`load_config`; ``origin`` is named in the message.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin} is not TOML: {error}.") from error
    values: dict[str, dict[str, Any]] = {}
    raise_all(ConfigError, origin, _merge(values, raw))
    return check_config(_build(values), origin, is_trained=True)
