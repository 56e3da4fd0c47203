"""What has to be done on each host to share images over NFS, and what stands against it; pure."""

from vmferry.planning.sharing.edits import edited
from vmferry.planning.sharing.problems import share_problems
from vmferry.planning.sharing.steps import plan_share
from vmferry.planning.sharing.words import act_words, plan_lines

__all__ = ["act_words", "edited", "plan_lines", "plan_share", "share_problems"]
