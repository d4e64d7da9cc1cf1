#!/usr/bin/env bash
# The wheel for arm64 Linux, into dist/, made on another processor: compiled for it, and the kernels'
# tests run from it with Python and NumPy for arm64 under qemu's user-mode emulation. It installs
# nothing; what it fetches and compiles stays in build/arm64.
#   tests/arm64.sh PYTHON [arguments of pytest]
# PYTHON has scikit-build-core, cmake, ninja, pybind11, Cython and auditwheel. The tests take the time of their emulation: 10
# minutes, and the first build 3, on two cores.
set -euo pipefail
python=$(realpath -s "$1")
shift
cd "$(dirname "$0")/.."
out=$PWD/build/arm64
missing=
for tool in qemu-aarch64 aarch64-linux-gnu-g++ apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || missing+=" $tool"
done
if [ "$missing" ]; then
    echo "arm64.sh: not found:$missing" \
        "(Debian: apt-get install qemu-user g++-aarch64-linux-gnu)" >&2
    exit 1
fi

# Python of the distribution, and wheels for it; apt works on lists and a status of its own.
if [ ! -e "$out/fetched" ]; then
    rm -rf "$out"
    mkdir -p "$out"/apt/{lists/partial,cache/archives/partial} "$out/include/aarch64-linux-gnu"
    touch "$out/apt/status"
    cat >"$out/apt/conf" <<END
APT::Architecture "arm64";
APT::Architectures {"arm64";};
APT::Sandbox::User "root";
Debug::NoLocking "true";
Dir::State::lists "$out/apt/lists";
Dir::State::status "$out/apt/status";
Dir::Cache "$out/apt/cache";
END
    export APT_CONFIG=$out/apt/conf
    echo "arm64.sh: fetching Python and NumPy for arm64, 60 MB"
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends --download-only python3 libpython3-dev libstdc++6
    for package in "$out"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$out/sysroot"; done
    version=$(readlink "$out/sysroot/usr/bin/python3")
    "$python" -m pip install --quiet --target "$out/site" --only-binary=:all: \
        --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 \
        --python-version "${version#python}" numpy tqdm pytest hypothesis ml_dtypes threadpoolctl
    # pyconfig.h includes another by this name; the rest of the system's headers are the compiler's
    ln -s "$out/sysroot/usr/include/aarch64-linux-gnu/$version" "$out/include/aarch64-linux-gnu"
    echo "$version" >"$out/fetched"
fi
version=$(cat "$out/fetched")

# pip compiles for that Python when it is told its platform and suffix; the tag of the wheel also has
# the version of the Python that runs pip.
minor=${version#python3.}
if ! "$python" -c "import sys; sys.exit(sys.version_info[1] != $minor)"; then
    echo "arm64.sh: Python for arm64 is $version here, so $python must be of that version" >&2
    exit 1
fi
flags=(-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DFIRTH_WERROR=ON
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ "-DCMAKE_CXX_FLAGS=-isystem$out/include"
    "-DPYTHON_MODULE_EXTENSION=.cpython-3$minor-aarch64-linux-gnu.so"
    "-DPython_SOABI=cpython-3$minor-aarch64-linux-gnu"
    "-DPython_INCLUDE_DIR=$out/sysroot/usr/include/$version")
rm -rf "$out/wheel" "$out/site"/firth*
PATH=$(dirname "$python"):$PATH CMAKE_ARGS=${flags[*]} _PYTHON_HOST_PLATFORM=linux-aarch64 \
    SETUPTOOLS_EXT_SUFFIX=.cpython-3$minor-aarch64-linux-gnu.so "$python" -m pip wheel --quiet \
    --no-deps --no-build-isolation --config-settings=build-dir="$out/build" \
    --wheel-dir "$out/wheel" .
"$python" -m zipfile -e "$out"/wheel/firth-*.whl "$out/site"

emulated() { # CPU, arguments of Python
    PYTHONPATH=$out/site PYTHONDONTWRITEBYTECODE=1 qemu-aarch64 -cpu "$1" -L "$out/sysroot" \
        "$out/sysroot/usr/bin/$version" "${@:2}"
}
# What processors without the later instructions say, and that they are believed.
for expected in "cortex-a53 ['base']" "cortex-a76 ['dotprod', 'base']" \
    "max ['i8mm', 'dotprod', 'base']"; do
    emulated "${expected%% *}" -c "
import firth.kernels._dispatch as dispatch
assert list(dispatch.levels) == ${expected#* }, dispatch.levels"
done

tests() { # level, arguments of pytest; programs that tests start would be emulated by nobody
    FIRTH_REQUIRE=native:base,native:dotprod,native:i8mm emulated max -u -m pytest -q \
        -p no:cacheprovider -m 'not peer and not slow' -k "native:$1" "${@:2}" 2>&1 |
        sed -u "s/^/$1: /"
}
[ $# -gt 0 ] || set -- tests/kernels
(tests base "$@" && tests i8mm "$@") &
others=$!
failed=0
tests dotprod "$@" || failed=1
wait "$others" || failed=1
[ "$failed" = 0 ] || exit 1
# Its tag says which glibc it needs; nothing is put into it, since it needs no other library.
PATH=$(dirname "$python"):$PATH "$python" -m auditwheel repair --wheel-dir dist "$out"/wheel/firth-*.whl
