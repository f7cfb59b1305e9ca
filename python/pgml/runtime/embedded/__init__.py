"""The runtime inside a backend, where no process may be started: PL/Python calls the functions of `main`."""
