"""A process in which only some packages can be imported."""

from collections.abc import Collection

WALL = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {allowed!r} and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"no {{name}} here", name=name)
sys.meta_path.insert(0, Wall())
"""
# What the runtime's three packages need themselves is among them; polars is not.
RUNTIME = {"runtime", "numpy", "onnxruntime", "tokenizers", "flatbuffers", "google", "packaging", "coloredlogs"}


def walled(program: str, allowed: Collection[str]) -> str:
    """The program, for `python -c`, where besides the standard library only these packages are to be found."""
    return WALL.format(allowed=sorted(allowed)) + program
