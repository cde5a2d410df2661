"""A portable bundle on a CPU without VNNI: the slower kernels are forced, by hiding what is newer than AVX2."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export.int8.recipe import PORTABLE_PAIR_LIMIT
from tests.conftest import ROOT, SAMPLES

pytestmark = pytest.mark.skipif(
    "cpuid_fault" not in Path("/proc/cpuinfo").read_text() or "avx512_vnni" not in Path("/proc/cpuinfo").read_text(),
    reason="needs a CPU with VNNI whose CPUID can be made to fault",
)

# The integer product of two matrices, as the bundle has it.
PRODUCT = """
import sys
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

given = np.load(sys.argv[1])
inputs = ["a", "b", "scale", "scale", "zero"]
node = helper.make_node("MatMulIntegerToFloat", inputs, ["c"], domain="com.microsoft")
constants = [
    numpy_helper.from_array(given["weights"], "b"),
    numpy_helper.from_array(np.float32(1), "scale"),
    numpy_helper.from_array(np.uint8(0), "zero"),
]
a = helper.make_tensor_value_info("a", TensorProto.UINT8, given["activations"].shape)
graph = helper.make_graph([node], "product", [a], [helper.make_empty_tensor_value_info("c")], constants)
opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
np.save(sys.argv[2], session.run(None, {"a": given["activations"]})[0])
"""

ANSWERS = """
import json
import sys
from pathlib import Path
from export.evaluation import read_rows
from runtime import Answerer

rows = [(row.question, row.context) for row in read_rows(Path(sys.argv[2]))]
print(json.dumps([(found.text, found.start) for found in Answerer.load(sys.argv[1]).answer(rows)]))
"""


def python(code: str, *arguments: object, avx2: bool) -> str:
    """What a program prints, on this CPU or on what is left of it."""
    launcher = [sys.executable, "-m", "benchmarks.avx2"] if avx2 else []
    command = [*launcher, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def product(folder: Path, weights: np.ndarray, activations: np.ndarray, *, avx2: bool) -> np.ndarray:
    np.savez(folder / "given.npz", weights=weights, activations=activations)
    python(PRODUCT, folder / "given.npz", folder / "found.npy", avx2=avx2)
    return np.asarray(np.load(folder / "found.npy"))


def test_the_launcher_hides_what_is_newer_than_avx2() -> None:
    names = "['AVX2', 'AVX512F', 'AVX512VNNI']"
    code = f"from numpy._core._multiarray_umath import __cpu_features__ as f; print(*[f[name] for name in {names}])"
    assert python(code, avx2=False).split() == ["True", "True", "True"]
    assert python(code, avx2=True).split() == ["True", "False", "False"]


@pytest.mark.parametrize("tokens", [1, 2, 7, 33])
def test_pairs_within_the_limit_multiply_alike_on_every_cpu(tmp_path: Path, tokens: int) -> None:
    """Weights whose pairs keep to the limit give exact products with and without VNNI."""
    random = np.random.default_rng(tokens)
    first = random.integers(0, PORTABLE_PAIR_LIMIT, (48, 40))
    pairs = np.stack([first, PORTABLE_PAIR_LIMIT - first], 1).clip(0, 127) * random.choice([-1, 1], (48, 1, 40))
    weights = pairs.reshape(96, 40).astype(np.int8)
    activations = np.full((tokens, 96), 255, np.uint8)
    exact = activations.astype(np.int64) @ weights.astype(np.int64)
    for avx2 in (False, True):
        np.testing.assert_array_equal(product(tmp_path, weights, activations, avx2=avx2), exact)


def test_wider_neighbours_do_not(tmp_path: Path) -> None:
    weights, activations = np.full((96, 40), 127, np.int8), np.full((7, 96), 255, np.uint8)
    exact = activations.astype(np.int64) @ weights.astype(np.int64)
    np.testing.assert_array_equal(product(tmp_path, weights, activations, avx2=False), exact)
    assert np.all(product(tmp_path, weights, activations, avx2=True) < 0.6 * exact)


def test_answers_are_those_of_a_cpu_with_vnni_but_for_near_ties(int8_bundle: Path) -> None:
    """Softmax adds up in another order, and the last bit of that is what an activation's rounding may turn on."""
    here, there = (json.loads(python(ANSWERS, int8_bundle, SAMPLES, avx2=avx2)) for avx2 in (False, True))
    assert sum(one == other for one, other in zip(here, there, strict=True)) >= 0.97 * len(here)
