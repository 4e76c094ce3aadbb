#!/bin/sh
# Moves the debugging information of target/release/tomoflow into tomoflow.debug beside it: four fifths of the file are
# names and line numbers, which only a backtrace reads. A backtrace finds them by the link that is left behind.
set -eu
program=${1:-target/release/tomoflow}
if ! command -v objcopy > /dev/null; then
    echo "objcopy is not there (package binutils): $program keeps its debugging information"
    exit 0
fi
# A program that was moved out before has none.
if ! readelf -S -W "$program" | grep -q '\.debug_line'; then
    exit 0
fi
# Copies, since cargo keeps the program as a link to another file.
objcopy --only-keep-debug --compress-debug-sections=zlib "$program" "$program.debug.new"
objcopy --strip-all "$program" "$program.new"
mv "$program.debug.new" "$program.debug"
(cd "$(dirname "$program")" && objcopy --add-gnu-debuglink="$(basename "$program").debug" "$(basename "$program").new")
mv "$program.new" "$program"
