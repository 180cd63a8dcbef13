"""What every work needs: the options, the programs, the server, and folders to write into."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cluster import Cluster
from .measure import Failed
from .options import Options
from .programs import Programs
from .sizes import Sizes


@dataclass(frozen=True)
class Bench:
    """One run of the bench."""

    options: Options
    programs: Programs
    cluster: Cluster
    sizes: Sizes
    folder: Path
    """For what the sides write; on the disk of the databases."""

    @property
    def jobs(self) -> int:
        return self.options.jobs

    @property
    def pgark(self) -> str:
        return str(self.programs.pgark)

    def client(self, program: str) -> str:
        """A client program of PostgreSQL."""
        return str(self.programs.client / program)

    def new_folder(self, name: str) -> Path:
        """A name below `folder` under which nothing stands."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def asked(self, *arguments: str | Path) -> Any:
        """What pgark answers, read from its JSON; not timed."""
        command = [self.pgark, *map(str, arguments), "--json"]
        run = subprocess.run(command, env=self.cluster.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if run.returncode:
            raise Failed(f"{' '.join(command)}: exit code {run.returncode}: {(run.stderr or run.stdout).strip()}")
        return json.loads(run.stdout)
