"""The page of the settings: what pg_settings knows of them."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row
from tools.reference.markdown import code, prose, table

HEAD = """# Settings

Where a setting is changed follows from who may change it:

- **server**: in `postgresql.conf` or by `ALTER SYSTEM`; `SELECT pg_reload_conf();` makes it count, for all sessions.
- **superuser**: there too, and by `ALTER DATABASE … SET`, `ALTER ROLE … SET`, or `SET` in a superuser's session.
- **user**: there too, and by everybody's `SET`.

A misspelt name is an error. Before a session has used pgml, its settings are known only if `shared_preload_libraries`
holds `pgml`; elsewhere begin with `LOAD 'pgml';`.

"""
SETTINGS = """
SELECT name, short_desc, extra_desc, vartype, unit, boot_val, min_val, max_val, enumvals, context
FROM pg_settings WHERE name LIKE 'pgml.%%' ORDER BY name
"""
WHO = {"postmaster": "server, at its start", "sighup": "server", "superuser": "superuser", "user": "user"}
UNITS = {"MB": [("GB", 1024), ("MB", 1)], "s": [("days", 86400), ("h", 3600), ("min", 60), ("s", 1)]}
LARGEST = "2147483647"


@dataclass
class Setting:
    """A setting as pg_settings shows it."""

    name: str
    short_desc: str
    extra_desc: str
    vartype: str
    unit: str | None
    boot_val: str | None
    min_val: str | None
    max_val: str | None
    enumvals: list[str] | None
    context: str


# pg_settings leaves it out, because everybody may read that view.
SECRET = Setting(
    "pgml.hub_token",
    "Access token of the Hub, where a call and the role's own secret have none.",
    "Set per role or database, it stands in pg_db_role_setting, which every role can read; pgml.set_secret keeps it "
    "from them. Only superusers see its value, and pg_settings leaves it out.",
    *("string", None, None, None, None, None, "superuser"),
)


def page(connection: psycopg.Connection) -> str:
    """The text of the page."""
    connection.execute("LOAD 'pgml'")
    with connection.cursor(row_factory=class_row(Setting)) as cursor:
        found = cursor.execute(SETTINGS, ()).fetchall()
    settings = sorted([*found, SECRET], key=lambda setting: setting.name)
    rows = [[f"[`{one.name}`](#{_anchor(one)})", _default(one), WHO[one.context]] for one in settings]
    return "".join([HEAD, table(["setting", "default", "who"], rows), *map(_described, settings)])


def _described(setting: Setting) -> str:
    text = f"\n## {setting.name}\n\n{prose(setting.short_desc)} {prose(setting.extra_desc)}\n\n"
    facts = [f"Default: {_default(setting)}", f"Type: {_kind(setting)}", f"Who: {WHO[setting.context]}"]
    return text + " · ".join(facts) + "\n"


def _kind(setting: Setting) -> str:
    if setting.enumvals:
        return "one of " + ", ".join(map(code, setting.enumvals))
    unit = f", in {setting.unit} if no unit is given" if setting.unit else ""
    if setting.min_val is None:
        return setting.vartype
    most = "" if setting.max_val == LARGEST else f" to {setting.max_val}"
    return f"{setting.vartype} from {setting.min_val}{most}{unit}"


def _default(setting: Setting) -> str:
    if not setting.boot_val:
        return "empty"
    for unit, size in UNITS.get(setting.unit or "", []):
        if int(setting.boot_val) and int(setting.boot_val) % size == 0:
            return f"{int(setting.boot_val) // size} {unit}"
    return code(setting.boot_val)


def _anchor(setting: Setting) -> str:
    return setting.name.replace(".", "")
