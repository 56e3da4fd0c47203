"""The copy program that vmferry sends to both hosts of a copy: standard library only, Python 3.6 and newer.

Nothing is installed: `vmferry.adapters.ssh_program` sends the text of these modules over ssh, and a few lines on the
remote command line run it. So nothing here may import anything of vmferry but its own neighbours, nor use what Python
3.6 (`/usr/libexec/platform-python` of RHEL 8) does not know: annotations that it could not evaluate are quoted.
"""
