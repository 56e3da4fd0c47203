"""Whole machines: complete Debian systems with a kernel of their own, under user-mode Linux."""
