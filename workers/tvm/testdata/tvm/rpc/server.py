"""Records what a worker sets up; checks that it does so as TVM's own server does."""
from . import record


def _server_env(load_library, work_path=None):
    work_path.libs = []  # TVM keeps the libraries there
    record.add("server_env", load_library=load_library, relpath=work_path.relpath("lib.so"))
    return work_path
