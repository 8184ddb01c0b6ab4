#!/bin/sh
# What `make demo` shows: a real checkpoint projected, and projected again without a change.
# Usage: demo.sh WPROJ
set -eu
wproj=$1
mkdir -p build
src=sample_weights/digits_cnn.h5
dst=build/digits_cnn_constrained.h5

say() { printf '\n$ wproj %s\n' "$*"; }

say "project $src -r 'conv*/kernel max_norm=1 axis=in' -r 'hidden/kernel max_norm=2 axis=in' -o $dst"
"$wproj" project "$src" -r 'conv*/kernel max_norm=1 axis=in' \
    -r 'hidden/kernel max_norm=2 axis=in' -o "$dst" --force

say "project $dst -r 'conv*/kernel max_norm=1 axis=in' -r 'hidden/kernel max_norm=2 axis=in' --check"
"$wproj" project "$dst" -r 'conv*/kernel max_norm=1 axis=in' \
    -r 'hidden/kernel max_norm=2 axis=in' --check
printf 'exit code %s: what is inside stays byte for byte as it is\n' "$?"
