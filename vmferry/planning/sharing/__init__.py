"""What has to be done on each host to share images over NFS, and what stands against it; pure."""

from vmferry.planning.sharing.edits import edited
from vmferry.planning.sharing.problems import share_problems
from vmferry.planning.sharing.steps import plan_share

__all__ = ["edited", "plan_share", "share_problems"]
