"""The README's commands do what it says."""

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from tests.server import CLIENT_ID, SECRET

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


async def test_the_first_event_of_the_readme_is_accepted(server: Any) -> None:
    (command,) = [block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if block.startswith("curl")]
    key = {"USANCE_CLIENT_ID": CLIENT_ID, "USANCE_CLIENT_SECRET": SECRET}
    script = command.replace("http://127.0.0.1:8080", server.url).replace("curl ", "curl --silent --show-error ")

    process = await asyncio.create_subprocess_shell(script, stdout=asyncio.subprocess.PIPE, env=os.environ | key)
    reply, _ = await process.communicate()

    assert msgspec.json.decode(reply)["customerEventId"] == "e-1"
    assert await server.aggregate() == 1


def test_every_room_stands_on_the_map() -> None:
    rooms = {path.parent.name for path in Path(__file__).parent.parent.glob("*/__init__.py")}

    on_the_map = set(re.findall(r"^\| `(\w+)/` \|", README, re.MULTILINE))

    assert on_the_map == rooms
