"""The fault matrix on real libvirt: each phase of a move × each fault, proved from both hosts and the guest's beat."""
