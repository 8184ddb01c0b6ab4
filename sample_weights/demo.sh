#!/bin/sh
# What `make demo` shows: a model whose weights do not meet what its layers declare; which of them;
# the same model put right; and a gate that has nothing to object any more.
# Usage: demo.sh WPROJ
set -eu
wproj=$1
mkdir -p build
src=sample_weights/digits_cnn.keras
dst=build/out.keras

run() {
    printf '\n$ wproj %s\n' "$*"
    "$wproj" "$@"
}

run audit "$src" --declared
run project "$src" --declared -o "$dst" --force
run project "$dst" --declared --check
printf 'exit code %s: every declared constraint is met, and nothing would change\n' "$?"
