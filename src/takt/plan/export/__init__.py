"""A chosen plan as something that runs: launch lines, manifests for Kubernetes and its stacks, and JSON of everything.

    export_plan(plan_set, "out")                    all files of the winner, in a folder
    launch_commands(server, Settings())             the lines of one pool, checked against the tool's own list of arguments
    document_of(plan_set), plan_set_of(document)    the JSON, both ways

arguments  what a tool's command line may say    servers   what serves a pool       vllm, sglang, trtllm  their words
routers    what stands before the replicas       launch    the script               pods, kubernetes, stacks  manifests
document   JSON of everything                    write     the files               folder  where they go

Does not know how plans are found, nor what they cost.
"""

from .arguments import check_argv
from .document import document_of, json_of, plan_set_of
from .folder import check_folder
from .kubernetes import Scaling
from .launch import launch_commands
from .servers import ENGINES, Server, Unserved, servers_of
from .settings import Settings
from .stacks import STACKS
from .write import export_plan

__all__ = [
    "ENGINES",
    "STACKS",
    "Scaling",
    "Server",
    "Settings",
    "Unserved",
    "check_argv",
    "check_folder",
    "document_of",
    "export_plan",
    "json_of",
    "launch_commands",
    "plan_set_of",
    "servers_of",
]
