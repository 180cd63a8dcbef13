"""One run of a program: wall time until its files are on the disk, processor time and peak memory of the client's processes."""

import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

# A metric's name ends with its unit. What one run gave:
Sample = dict[str, float]


class Failed(Exception):
    """A program failed; the text is its command and what it said."""


def timed(command: list[str], environment: dict[str, str], synced: Path) -> tuple[Sample, str]:
    """Runs to a successful end, syncs the file system of `synced`, and gives the sample and what the program printed.

    `cpu_s` is user and system time of the program and of the children that it waited for, thus not the server's. `peak_mib` is the
    largest resident memory of any one of them; it is missing where it was less than the bench's own, which a new process starts with.
    """
    os.sync()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        begin = time.monotonic()
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=complaints)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        subprocess.run(["sync", "-f", synced], check=True)
        wall = time.monotonic() - begin
        said.seek(0)
        complaints.seek(0)
        if process.returncode:
            raise Failed(
                f"{' '.join(command)}: exit code {process.returncode}: {complaints.read().decode(errors='replace')[-2000:].strip()}"
            )
        output = said.read().decode(errors="replace")
    sample = {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime}
    if usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        sample["peak_mib"] = usage.ru_maxrss / 1024
    return sample, output


def bytes_below(folder: Path) -> int:
    """The bytes of all files below a folder, without the file system's rounding."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
