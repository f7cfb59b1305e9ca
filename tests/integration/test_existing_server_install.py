"""`make install` and `make uninstall` by an ordinary user, into a PostgreSQL of his own. Cargo's part is left out."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cluster import PG_CONFIG, make_database, throwaway
from tests.relocated import Installation, relocated_postgresql

from pgml import __version__

ROOT = Path(__file__).parents[2]
USER = os.environ.get("PGML_CLUSTER_USER", pwd.getpwuid(os.getuid()).pw_name)
NEEDED = ("tools", "sql", "python", "packaging", "extension/pgml.control", "pyproject.toml", "constraints.txt")
CLASSIFY = """SELECT pgml.transform('{"model": "bert-classifier"}'::jsonb, inputs => ARRAY['a joy'])"""


@dataclass
class Visitor:
    """An ordinary user with a checkout, a PostgreSQL and an old runtime of his own."""

    home: Path
    installation: Installation

    @property
    def venv(self) -> Path:
        return self.home / "venv"

    @property
    def packages(self) -> Path:
        return self.venv / "lib/python3.11/site-packages"

    def run(self, tool: str, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {
            "HOME": str(self.home),
            "PATH": f"{self.home}/bin",  # everything but sudo and apt-get
            "PG_CONFIG": str(self.installation.pg_config),
            "PGML_VENV": str(self.venv),
            "PGHOST": str(self.home),
        }
        as_user = {"user": USER, "extra_groups": []} if os.getuid() == 0 else {}
        return subprocess.run(
            [self.home / "checkout/tools" / tool],
            env=known | environment,
            check=False,
            capture_output=True,
            text=True,
            **as_user,
        )


def own(path: Path) -> None:
    """Directories only: files of the runtime are hard links to those of the tests."""
    for directory in [path, *(entry for entry in path.rglob("*") if entry.is_dir() and not entry.is_symlink())]:
        shutil.chown(directory, USER)


def make_checkout(checkout: Path, library: Path) -> None:
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, checkout / name)
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    (checkout / "target/release").mkdir(parents=True)
    shutil.copy(library, checkout / "target/release/libpgml.so")
    (checkout / ".cache").mkdir()
    (checkout / ".cache/uv").symlink_to(ROOT / ".cache/uv")


def make_runtime(venv: Path) -> None:
    """The runtime of the tests, whose package is a link to the sources, as if it had been installed there long ago."""
    source = Path(os.environ["PGML_PYTHON"]).parents[1]
    subprocess.run(["cp", "-al", source, venv], check=True)
    done = (source / ".packages").read_text().split()[0]
    for name in (".packages", ".pgml", ".lock"):  # written in place
        (venv / name).unlink(missing_ok=True)
    (venv / ".packages").write_text(f"{done} runtime\n")
    shutil.chown(venv / ".packages", USER)


@pytest.fixture(scope="module")
def visitor():
    # Beside the runtime of the tests, so that it can be linked.
    home = Path(tempfile.mkdtemp(prefix=".visitor-", dir=Path(os.environ["PGML_PYTHON"]).parents[2]))
    home.chmod(0o755)
    try:
        with relocated_postgresql() as installation:
            make_checkout(home / "checkout", Installation(Path(PG_CONFIG)).libraries / "pgml.so")
            make_runtime(home / "venv")
            (home / "bin").mkdir()
            for program in Path("/usr/bin").iterdir():
                if program.name not in ("sudo", "apt-get"):
                    (home / "bin" / program.name).symlink_to(program)
            installation.remove_extension()
            for path in (home, installation.libraries, installation.extensions):
                own(path)
            yield Visitor(home, installation)
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def installed(visitor):
    """What the steps of `make install` after cargo print."""
    assert (visitor.packages / "pgml.pth").exists()
    said = []
    for step in ("setup-system", "install-extension", "install"):
        done = visitor.run(step)
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    return said[-1]


def test_it_says_what_is_left_to_do_and_what_the_doctor_finds(visitor, installed):
    for line in (
        "  shared_preload_libraries = 'pgml' ",
        f"  pgml.python = '{visitor.venv}/bin/python'",
        "Restart the server, then, in a database:  CREATE EXTENSION pgml;",
    ):
        assert line in installed
    doctor = installed.partition("How things stand now")[2]
    assert "problem  connection: " in doctor
    assert "to mend: Start the server, or name another one" in doctor


def test_the_old_package_became_a_copy(visitor, installed):
    assert not (visitor.packages / "pgml.pth").exists()
    assert (visitor.packages / "pgml/__init__.py").read_text() == (ROOT / "python/pgml/__init__.py").read_text()
    assert [path.name for path in visitor.packages.glob("pgml-*.dist-info")] == [f"pgml-{__version__}.dist-info"]
    assert not list((visitor.home / "checkout/python").rglob("*.egg-info"))


def test_what_was_installed_runs(visitor, installed, model_directory):
    settings = {"pgml.python": f"{visitor.venv}/bin/python", "shared_preload_libraries": "pgml"}
    with throwaway(model_directory, visitor.installation.pg_config, **settings) as cluster:
        database = make_database(cluster)
        assert "label" in database.value(CLASSIFY)[0]
        doctor = subprocess.run(
            [visitor.venv / "bin/python", "-m", "pgml.cli", "doctor", "--database-url", cluster.url(database.name)],
            check=False,
            capture_output=True,
            text=True,
        )
    assert doctor.returncode == 0, doctor.stdout
    assert f"ok       pgml.python: {visitor.venv}/bin/python runs" in doctor.stdout


def test_a_second_time_nothing_is_done(visitor, installed):
    files = {path: path.stat().st_mtime_ns for path in visitor.installation.extension_files()}
    assert len(files) >= 4
    assert visitor.run("install-extension").stderr == ""
    assert {path: path.stat().st_mtime_ns for path in visitor.installation.extension_files()} == files


def test_a_directory_that_is_not_writable_is_named_with_its_owner(visitor, installed):
    extensions = visitor.installation.extensions
    owner = extensions.stat()
    (extensions / "pgml.control").unlink()
    extensions.chmod(0o555)
    os.chown(extensions, os.getuid(), os.getgid())
    try:
        done = visitor.run("install-extension")
    finally:
        os.chown(extensions, owner.st_uid, owner.st_gid)
        extensions.chmod(0o755)
    assert done.returncode == 1
    assert f"pgml: {USER} may not write to {extensions}, which belongs to" in done.stderr
    assert "run make as that user, or name other directories: make install PG_CONFIG=… VENV=…" in done.stderr


def test_a_relative_directory_for_the_runtime_is_refused(visitor):
    done = visitor.run("install", PGML_VENV="venv")
    assert done.returncode == 1
    assert "VENV=venv is not an absolute path" in done.stderr


def test_uninstall_takes_everything_away(visitor, installed):
    assert visitor.run("uninstall").returncode == 0
    assert visitor.installation.extension_files() == []
    assert not visitor.venv.exists()
    assert visitor.run("uninstall").returncode == 0
