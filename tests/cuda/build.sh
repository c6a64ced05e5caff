#!/bin/sh
# Builds the stand-in for libcuda.so.1 from the kernels' source and their PTX:
#
#   build.sh OUTPUT_DIR KERNELS.cu KERNELS.ptx [MORE.ptx...] [COMPILER_FLAG...]
#
# leaves OUTPUT_DIR/libcuda.so.1 and a link libcuda.so to it, for LD_LIBRARY_PATH=OUTPUT_DIR. Which kernels and variables
# it holds is read from the PTX. The files appear at once, complete: several may build into one folder. What was built from
# the same files with the same flags stays.
#
# With sanitizers: pass -fsanitize=address,undefined -fno-sanitize=object-size -fno-sanitize-recover=undefined -g, and
# start the program, where it is not itself built with them, with
#   LD_PRELOAD="$(g++ -print-file-name=libasan.so):$(g++ -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0
# (object-size finds nothing that AddressSanitizer does not, and does not name the function.)
set -eu

[ $# -ge 3 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
output=$1
source=$(CDPATH='' cd -- "$(dirname -- "$2")" && pwd)/$(basename -- "$2")
shift 2
mkdir -p "$output"
output=$(CDPATH='' cd -- "$output" && pwd)
work=$(mktemp -d "$output/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

: >"$work/all.ptx"
while [ $# -gt 0 ]; do
  case $1 in
    *.ptx) cat -- "$1" >>"$work/all.ptx"; echo >>"$work/all.ptx"; shift ;;
    *) break ;;
  esac
done

# The generated source: the kernels, and how to call each by name. AddressSanitizer leaves out shared arrays of templates
# and inline functions unless these are local to the file, so there all are.
{
  printf '#ifdef __SANITIZE_ADDRESS__\nnamespace {\n#endif\n#include "%s"\n#ifdef __SANITIZE_ADDRESS__\n}\n#endif\n' "$source"
  sed -n 's/^.*\.entry[[:space:]]\{1,\}\([A-Za-z_$][A-Za-z0-9_$]*\).*$/TWIN_KERNEL(\1)/p' "$work/all.ptx" | sort -u
  sed -n 's/^[[:space:]]*\.visible[[:space:]]\{1,\}\.global[[:space:]].*[[:space:]]\([A-Za-z_$][A-Za-z0-9_$]*\)\(\[[0-9]*\]\)\{0,1\}\([[:space:]]*=.*\)\{0,1\};.*$/TWIN_VARIABLE(\1)/p' \
    "$work/all.ptx" | sort -u
} >"$work/kernels.cpp"
grep -q '^TWIN_KERNEL' "$work/kernels.cpp" || { echo "build.sh: the PTX has no .entry" >&2; exit 1; }

# Each product and sum rounds on its own, as in kernels compiled with --fmad=false; fmaf is the processor's.
flags="-std=c++17 -O2 -ffp-contract=off -fno-fast-math -fPIC -fvisibility=hidden -fvisibility-inlines-hidden -pthread"
case $(uname -m) in
  x86_64) flags="$flags -mfma -fcf-protection=none" ;;  # stacks are switched without a shadow stack
esac
cxx=${CXX:-g++}

# What it is built from, and how: built already, there is nothing to do.
stamp=$( { cat "$work/all.ptx" "$here"/*.h "$here"/*.cpp "$here/build.sh" "$(dirname -- "$source")"/*.cu*; "$cxx" --version
  echo "$cxx $flags $* $source"; } | sha256sum)
if [ -e "$output/libcuda.so.1" ] && [ "$(cat "$output/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
rm -f "$output/stamp"

compile() { # OUTPUT FLAG...
  object=$1
  shift
  # shellcheck disable=SC2086 # words are meant to split
  "$cxx" $flags "$@" -c -o "$work/$object"
}
# The driver is not what is being tested, and checking it for undefined behaviour doubles the time to build.
compile driver.o -Wall -Wextra "$@" -O1 -fno-sanitize=undefined "$here/driver.cpp" &
driver=$!
compile kernels.o -Wno-unknown-pragmas "$@" -I"$(dirname -- "$source")" -I"$here" -include "$here/block.h" "$work/kernels.cpp"
compile fibers.o -Wall -Wextra "$@" "$here/fibers.cpp"
wait $driver
echo 'namespace twin { extern __thread char shared_begin[16]; __thread char shared_begin[16]; }' >"$work/begin.cpp"
echo 'namespace twin { extern __thread char shared_end[16]; __thread char shared_end[16]; }' >"$work/end.cpp"
compile begin.o "$@" "$work/begin.cpp"
compile end.o "$@" "$work/end.cpp"
echo '{ global: cu*; local: *; };' >"$work/exports"
# shellcheck disable=SC2086
"$cxx" $flags "$@" -shared -Wl,-soname,libcuda.so.1 -Wl,-z,nodelete -Wl,--version-script="$work/exports" \
  -o "$work/libcuda.so.1" "$work/driver.o" "$work/begin.o" "$work/kernels.o" "$work/end.o" "$work/fibers.o" -ldl
ln -s libcuda.so.1 "$work/libcuda.so"
mv -f "$work/libcuda.so.1" "$output/libcuda.so.1"
mv -fT "$work/libcuda.so" "$output/libcuda.so"
echo "$stamp" >"$work/stamp"
mv -f "$work/stamp" "$output/stamp"
