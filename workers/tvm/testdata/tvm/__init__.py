"""A stand-in for Apache TVM: what workers/tvm/worker.py uses of it, and no more."""
