"""Arrays and kernels: solvers that know no VM, no host and no file."""
