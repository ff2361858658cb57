"""Programs in a process of their own."""

from __future__ import annotations

import subprocess
import sys


def run(program: str, *arguments: str) -> list[float]:
    """Runs a Python program; the numbers that it prints."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True)
    return [float(number) for number in done.stdout.split()]
