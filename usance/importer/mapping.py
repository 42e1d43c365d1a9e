"""From a row of a file to a usage event: which field comes from which column, which is the same for all rows.

    --map eventTimestamp=TIMESTAMP             the field is read from that column
    --map eventProperties.tokens=ContextTokens
    --set customerAlias=acme                   the field has that value in every row
    --set eventProperties.model=atlas

A column that already has a field's name is taken without being mapped, and so is `eventProperties.x` or
`eventProperties#x`. A cell that is a number in its shortest plain form is sent as a number; every other cell as the
text it is. Values of NDJSON keep their JSON type.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import msgspec

from usance.importer import timestamp

FIELDS = ("customerEventId", "customerAlias", "eventType", "eventTimestamp")
REQUIRED = ("customerAlias", "eventType", "eventTimestamp")
PROPERTIES = "eventProperties"

# Numbers whose text is their only text, so that sending them as numbers loses nothing: no 007, no 1.50.
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,19})(?:\.\d{0,17}[1-9])?")
_NOT_NUMBERS = frozenset({"-0"})


class MappingError(Exception):
    """The mapping does not fit the file; nothing was sent."""

    code: ClassVar[str] = "BAD_MAPPING"


class RowError(Exception):
    """A row that cannot become an event."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FieldMap(msgspec.Struct, frozen=True):
    """Field -> column and field -> constant; properties under their own names."""

    columns: dict[str, str] = {}
    constants: dict[str, str] = {}
    property_columns: dict[str, str] = {}
    property_constants: dict[str, Any] = {}
    zone: ZoneInfo | None = None
    # NDJSON's values have types of their own, and its rows may bring an object `eventProperties`.
    is_typed: bool = False

    @property
    def takes_ids_from_file(self) -> bool:
        return "customerEventId" in self.columns


def parse(maps: Sequence[str], sets: Sequence[str], *, zone: ZoneInfo | None = None) -> FieldMap:
    """The mapping that the options `--map` and `--set` describe."""
    columns = dict(_split(text, "--map", "COLUMN") for text in maps)
    constants = dict(_split(text, "--set", "VALUE") for text in sets)
    if len(columns) + len(constants) < len(maps) + len(sets) or columns.keys() & constants.keys():
        raise MappingError("A field is given twice; each field has one --map or one --set.")
    if "customerEventId" in constants:
        raise MappingError("customerEventId cannot be the same for all rows: the second row would replace the first.")
    return FieldMap(
        columns={field: column for field, column in columns.items() if field in FIELDS},
        constants={field: value for field, value in constants.items() if field in FIELDS},
        property_columns={_property(f): column for f, column in columns.items() if f not in FIELDS},
        property_constants={_property(f): number_or_text(value) for f, value in constants.items() if f not in FIELDS},
        zone=zone,
    )


def complete(fields: FieldMap, header: Sequence[str], *, is_typed: bool = False) -> FieldMap:
    """The mapping with what the header says by itself, checked against the file's columns."""
    wanted = [*fields.columns.values(), *fields.property_columns.values()]
    missing = [column for column in dict.fromkeys(wanted) if column not in header]
    if missing:
        raise MappingError(_missing_columns(missing, header))
    # An id may turn up in any row of NDJSON, whatever the first rows look like.
    present = {*header, "customerEventId"} if is_typed else {*header}
    columns = {f: f for f in FIELDS if f in present and f not in fields.constants} | fields.columns
    own = {} if is_typed else {_property(column): column for column in header if _is_property(column)}
    properties = {name: c for name, c in own.items() if name not in fields.property_constants} | fields.property_columns
    _check_required(columns.keys() | fields.constants.keys(), header)
    return msgspec.structs.replace(fields, columns=columns, property_columns=properties, is_typed=is_typed)


def event(fields: FieldMap, row: Mapping[str, Any], *, row_id: str) -> tuple[dict[str, Any], bool]:
    """The usage event of one row, and whether its time had no zone. Raises RowError."""
    values: dict[str, Any] = dict(fields.constants)
    for field, column in fields.columns.items():
        value = lookup(row, column)
        if value not in (None, ""):
            values[field] = value if isinstance(value, str) else str(value)
        elif column != "customerEventId":
            raise RowError("MISSING_VALUE", f"{column} is empty, and {field} comes from it.")
    values.setdefault("customerEventId", row_id)
    try:
        stamp = timestamp.parse(values["eventTimestamp"], fields.zone)
    except timestamp.TimestampError as exc:
        raise RowError(exc.code, str(exc)) from exc
    values["eventTimestamp"] = stamp.text
    properties = _properties(fields, row)
    if properties:
        values[PROPERTIES] = properties
    return values, stamp.zoneless


def number_or_text(cell: str) -> Any:
    """A number where the cell is one in its shortest plain form, else the text."""
    if _NUMBER.fullmatch(cell) and cell not in _NOT_NUMBERS:
        return Decimal(cell) if "." in cell else int(cell)
    return cell


def lookup(row: Mapping[str, Any], column: str) -> Any:
    """A column's value; in NDJSON a dotted name also reaches into objects. None where there is none."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _split(text: str, option: str, what: str) -> tuple[str, str]:
    field, sign, value = text.partition("=")
    field, value = field.strip(), value.strip()
    if not sign or not field or not value:
        raise MappingError(f"{option} {text}: write {option} FIELD={what}.")
    if field not in FIELDS and not (_is_property(field) and len(field) > len(PROPERTIES) + 1):
        known = [*FIELDS, f"{PROPERTIES}.NAME"]
        raise MappingError(
            f"{option} {text}: '{field}' is no field of a usage event.{_did_you_mean(field, known)} "
            f"Fields: {', '.join(known)}."
        )
    return field, value


def _is_property(name: str) -> bool:
    return name.startswith((f"{PROPERTIES}.", f"{PROPERTIES}#"))


def _property(field: str) -> str:
    return field[len(PROPERTIES) + 1 :]


def _missing_columns(missing: Sequence[str], header: Sequence[str]) -> str:
    said = " ".join(f"The file has no column '{column}'.{_did_you_mean(column, header)}" for column in missing)
    return f"{said} Its columns: {', '.join(header) or '(none)'}."


def _check_required(given: Iterable[str], header: Sequence[str]) -> None:
    missing = [field for field in REQUIRED if field not in set(given)]
    if missing:
        raise MappingError(
            f"Nothing says where {' and '.join(missing)} come{'s' if len(missing) == 1 else ''} from: "
            f"add --map {missing[0]}=COLUMN, or --set {missing[0]}=VALUE for all rows. "
            f"The file's columns: {', '.join(header) or '(none)'}."
        )


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    lower = {item.lower(): item for item in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f" Did you mean '{lower[close[0]]}'?" if close else ""


def _properties(fields: FieldMap, row: Mapping[str, Any]) -> dict[str, Any]:
    properties = dict(fields.property_constants)
    if fields.is_typed and row.get(PROPERTIES) is not None:
        if not isinstance(row[PROPERTIES], Mapping):
            raise RowError("WRONG_TYPE", f"{PROPERTIES} is not an object.")
        properties |= row[PROPERTIES]
    for name, column in fields.property_columns.items():
        value = lookup(row, column)
        if fields.is_typed and value is not None:
            properties[name] = value
        elif value:
            properties[name] = number_or_text(value)
    return properties
