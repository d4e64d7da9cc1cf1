#!/usr/bin/env bash
# The kernels' tests for arm64 on another processor: Python, NumPy and firth for arm64 under qemu's
# user-mode emulation. It installs nothing; what it fetches and compiles stays in build/arm64.
#   tests/arm64.sh PYTHON [arguments of pytest]
# PYTHON has cmake, ninja, pybind11 and Cython. The tests take the time of their emulation: 10
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

export PATH=$(dirname "$python"):$PATH
cmake -S . -B "$out/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFIRTH_WERROR=ON \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_CXX_FLAGS="-isystem $out/include" \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" -DPYTHON_MODULE_EXTENSION=.so \
    -DPython_EXECUTABLE="$python" -DPython_INCLUDE_DIR="$out/sysroot/usr/include/$version" >/dev/null
cmake --build "$out/build"
rm -rf "$out/site/firth"
cp -r python/firth "$out/site/firth"
rm -f "$out"/site/firth/*.so
cp "$out"/build/*.so "$out/site/firth"

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
exit "$failed"
