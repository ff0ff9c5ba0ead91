"""Removes from the image's virtual environment what no training or serving run opens; prints what each rule saves.

Called once, by the Dockerfile's build stage, with the virtual environment's Python. What TensorFlow opens by name
when it sees a GPU stays, whether or not anything is linked to it: the CUDA libraries, ptxas, libdevice.
"""

import shutil
import sysconfig
from pathlib import Path

# Patterns under site-packages, and why nothing is missed.
UNUSED = {
    "tensorflow/include": "C++ headers, for compiling custom operations",
    "tensorflow/xla_aot_runtime_src": "C++ sources, for compiling models ahead of time",
    "nvidia/*/include": "CUDA's C headers",
    "nvidia/*/lib/*.a": "static libraries, for linking CUDA programs",
    "nvidia/cusolver/lib/libcusolverMg.so.*": "dense solvers over several GPUs: TensorFlow does not open it",
    "nvidia/cublas/lib/libnvblas.so.*": "a replacement of the BLAS of C programs: TensorFlow does not open it",
    "nvidia/cufft/lib/libcufftw.so.*": "FFTW's interface for C programs: TensorFlow does not open it",
    "plotly/labextension": "plotly's part in notebooks",
    "plotly/package_data/widgetbundle.js": "the same",
    "clang": "the C compiler's library, for TensorFlow Lite's converter of C headers",
    "pip": "installs packages; nothing is installed any more",
    "setuptools": "builds packages; nothing is built any more",
    "**/tests": "the packages' own tests",
}


def main() -> None:
    """Remove what is unused; print each rule with the MB that it saves."""
    packages = Path(sysconfig.get_path("purelib"))
    total = 0
    for pattern, reason in UNUSED.items():
        saved = sum(_remove(path) for path in sorted(packages.glob(pattern)))
        total += saved
        print(f"{saved / 1e6:8.1f} MB  {pattern}: {reason}")
    print(f"{total / 1e6:8.1f} MB  in all")


def _remove(path: Path) -> int:
    # A folder that holds another match was removed with it.
    if not path.exists():
        return 0
    if path.is_file():
        size = path.stat().st_size
        path.unlink()
        return size
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    shutil.rmtree(path)
    return size


if __name__ == "__main__":
    main()
