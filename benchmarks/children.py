"""Programs in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys


def run(program: str, *arguments: str) -> list[float]:
    """Runs a Python program, whose bytecode is kept as it is on most machines; the numbers that it prints."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return [float(number) for number in done.stdout.split()]
