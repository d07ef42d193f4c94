"""The whole of the System page as data: for the API and for the file that goes with a question to support.

It holds no secret: variables that are secret are hidden where they are read, and nothing here asks for others.
"""

from dataclasses import asdict
from typing import Any, Final

from controlplane.common.env import variables
from controlplane.system.selfcheck import Look
from controlplane.system.versions import versions

# Of those that the schedule of people has, and of tables.
TABLES_TOLD: Final = 200


def system_report(look: Look) -> dict[str, Any]:
    """Everything, as plain values. About twenty-five queries, whatever the size of the fleet."""
    findings = look.findings
    return {
        "at": look.now,
        "versions": asdict(versions()),
        "up_since": look.up_since,
        "findings": [asdict(each) for each in findings],
        "processes": [asdict(each) for each in look.processes],
        "servers": [asdict(each) for each in look.reaches],
        "jobs": [asdict(each) for each in look.jobs],
        "tables": [asdict(each) for each in look.growth[:TABLES_TOLD]],
        "disks": [asdict(each) | {"free_share": round(each.free_share, 4)} for each in look.disks],
        "retention": [asdict(each) for each in look.kept],
        "configuration": [asdict(each) for each in variables()],
    }
