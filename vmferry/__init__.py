"""vmferry moves virtual machines between plain KVM/libvirt hosts: everything that is not Prefect."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("vmferry")
except PackageNotFoundError:  # a checkout pulled by a Prefect worker is not installed
    __version__ = "0+checkout"
