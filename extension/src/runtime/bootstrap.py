# Run by PL/Python once in a session: puts the virtual environment on the path, before what Debian has.
import os, sys
lib = "python%d.%d" % sys.version_info[:2]
packages = os.path.join(venv, "lib", lib, "site-packages")
if not os.path.isdir(packages):
    plpy.error("there is no virtual environment for the Python of PL/Python",
               detail='"%s" has no directory lib/%s/site-packages, which the user of the server can read.' % (venv, lib),
               hint="Set pgml.venv to a virtual environment of pgml that was made with Python %d.%d." % sys.version_info[:2], sqlstate="58P01")
foreign = [name for name in ("torch", "transformers", "numpy") if not getattr(sys.modules.get(name), "__file__", packages).startswith(packages)]
if foreign:
    plpy.error("this session has imported Python package %s from elsewhere" % foreign[0],
               detail='"%s" is not below "%s".' % (sys.modules[foreign[0]].__file__, packages),
               hint="Open a new connection, and use pgml before other functions in PL/Python.", sqlstate="55000")
import site
before = list(sys.path)
site.addsitedir(packages)
added = [entry for entry in sys.path if entry not in before]
places = [at for at, entry in enumerate(before) if entry.endswith("-packages")]
at = places[0] if places else len(before)
sys.path[:] = before[:at] + added + before[at:]
try:
    from pgml.runtime.embedded import main
except ImportError as error:
    plpy.error("the runtime could not be imported into this session", detail="%s." % error,
               hint="Install pgml into \"%s\" with its make install, or set pgml.venv to another one." % venv, sqlstate="58P01")
import json
main.start(json.loads(options))
