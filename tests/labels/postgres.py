"""A PostgreSQL server for a test, from the system's packages, in a temporary folder."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

# PostgreSQL does not run as root. The first is the user of Debian's package.
UNPRIVILEGED = ("postgres", "nobody")
SECONDS = 60  # for the server to start or stop


def programs() -> Path:
    """Folder of initdb and postgres; skips the test if there is none."""
    pytest.importorskip("psycopg", reason="needs psycopg (pip install 'rlhf[postgres]')")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    folders += [Path(on_path).parent] if on_path else []
    installed = [folder for folder in folders if (folder / "initdb").exists()]
    if not installed:
        pytest.skip("needs PostgreSQL (apt-get install postgresql)")
    return installed[0]


def server_user() -> str | None:
    """The user to run the server as: an unprivileged one for root, otherwise the current one."""
    if os.getuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in UNPRIVILEGED if name in users)


@contextmanager
def running() -> Iterator[sa.URL]:
    """A server on a socket in a temporary folder, which is deleted afterwards."""
    where, user = programs(), server_user()
    folder = Path(tempfile.mkdtemp(prefix="rlhf-pg-"))  # other users cannot read pytest's folders
    if user is not None:
        shutil.chown(folder, user)
    data = ["-D", str(folder / "data")]
    initdb = [where / "initdb", *data, "-U", "rlhf", "-A", "trust", "-E", "UTF8", "--locale=C"]
    subprocess.run([*initdb, "--no-sync"], user=user, cwd=folder, check=True, capture_output=True)
    settings = {"fsync": "off", "listen_addresses": "", "unix_socket_directories": str(folder)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (folder / "log").open("w") as log:
        command = [where / "postgres", *data, *options]
        server = subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log)
    url = sa.URL.create("postgresql+psycopg", "rlhf", database="postgres")
    url = url.set(query={"host": str(folder)})
    try:
        wait_for(url, server, folder / "log")
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown, without waiting for clients
        server.wait(SECONDS)
        shutil.rmtree(folder)


def wait_for(url: sa.URL, server: subprocess.Popen, log: Path) -> None:
    """Return when the server accepts connections."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            with sa.create_engine(url).connect():
                return
        except sa.exc.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)


def new_schema(server: sa.URL, name: str) -> str:
    """URL of an empty schema; a separate database would take 7 MB."""
    with sa.create_engine(server).begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    return server.update_query_dict({"options": f"-csearch_path={name}"}).render_as_string()
