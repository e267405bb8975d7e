"""That commands on cached codes need no TensorFlow, which takes seconds to import."""

from __future__ import annotations

import subprocess
import sys


def check_light(statement: str) -> None:
    """Run a statement on `pipeline` in a process of its own; neither TensorFlow nor Keras comes."""
    program = (
        f"import sys, pipeline; {statement}; "
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False False", done.stderr
