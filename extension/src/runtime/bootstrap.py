# Run by PL/Python once in a session, which defines plpy, and after `venv, options = …`: puts the virtual environment on
# the path, before the packages of the system, and starts the runtime.
import json
import os
import site
import sys

version = f"{sys.version_info.major}.{sys.version_info.minor}"
packages = os.path.join(venv, "lib", f"python{version}", "site-packages")
if not os.path.isdir(packages):
    plpy.error(
        "there is no virtual environment for the Python of PL/Python",
        detail=f'"{venv}" has no directory lib/python{version}/site-packages, or the server may not read it.',
        hint=f"Set pgml.venv to a virtual environment of pgml that was made with Python {version}.",
        sqlstate="58P01",
    )

for name in ("torch", "transformers", "numpy"):
    origin = getattr(sys.modules.get(name), "__file__", packages)
    if not origin.startswith(packages):
        plpy.error(
            f"this session has imported Python package {name} from elsewhere",
            detail=f'"{origin}" is not below "{packages}".',
            hint="Open a new connection, and use pgml before other functions in PL/Python.",
            sqlstate="55000",
        )

before = list(sys.path)
site.addsitedir(packages)
added = [entry for entry in sys.path if entry not in before]
systems = [place for place, entry in enumerate(before) if entry.endswith("-packages")]
first = systems[0] if systems else len(before)
sys.path[:] = before[:first] + added + before[first:]

try:
    from pgml.runtime.embedded import main
except ImportError as error:
    plpy.error(
        "the runtime could not be imported into this session",
        detail=f"{error}.",
        hint=f'Install pgml into "{venv}" with its make install, or set pgml.venv to another one.',
        sqlstate="58P01",
    )
main.start(json.loads(options))
